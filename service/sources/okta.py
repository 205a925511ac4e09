"""Okta event hooks: a secret in the Authorization header, one GET challenge when the hook is set up.

Set-up at Okta: Workflow > Event Hooks, URL ``https://HOST/hooks/NAME``, authentication field ``Authorization`` with the
secret (32 random bytes or more; Okta adds no scheme), subscribe to the kinds below, then Verify.

It cannot promise that a body is unchanged: nothing is signed. Its events are thin: a user's id, login and display name.
Okta waits 3 seconds, tries once more after a timeout or a 5xx, and never after a 4xx.

https://developer.okta.com/docs/concepts/event-hooks/
https://developer.okta.com/docs/reference/api/event-types/
"""

import json
from collections.abc import Sequence
from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from lifecycle.errors import Malformed, Unauthentic, Unreadable, Unsupported
from lifecycle.event import EVENTS_MAX, Event, Kind, Profile
from service.sources.base import (
    Answer,
    Assurance,
    Counts,
    Notice,
    Reading,
    event_id,
    same_secret,
    source_time,
    unreadable,
)

ASSURANCE = Assurance.SHARED_SECRET
CHALLENGE = "x-okta-verification-challenge"
CHALLENGE_CHARS_MAX = 1_024
SUCCESS = "SUCCESS"

# The kinds that are eligible for hooks; the catalogue marks the others, such as user.lifecycle.delete.completed.
KINDS = {
    "user.lifecycle.create": Kind.JOINER,
    "user.lifecycle.activate": Kind.JOINER,
    "user.lifecycle.reactivate": Kind.JOINER,
    "user.lifecycle.unsuspend": Kind.JOINER,
    "user.lifecycle.deactivate": Kind.LEAVER,
    "user.lifecycle.suspend": Kind.LEAVER,
    "user.lifecycle.delete.initiated": Kind.LEAVER,
    "user.account.update_profile": Kind.CHANGED,
    "group.user_membership.add": Kind.CHANGED,
    "group.user_membership.remove": Kind.CHANGED,
}


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class _Target(_Part):
    id: str
    type: str
    alternateId: str | None = None  # noqa: N815 - Okta's spelling
    displayName: str | None = None  # noqa: N815 - Okta's spelling


class _Outcome(_Part):
    result: str


class _LogEvent(_Part):
    uuid: str
    published: AwareDatetime
    eventType: str  # noqa: N815 - Okta's spelling
    outcome: _Outcome | None = None
    target: list[_Target] | None = None


class _Data(_Part):
    events: list[_LogEvent] = Field(max_length=EVENTS_MAX)


class _Hook(_Part):
    data: _Data


def check(secrets: Sequence[str]) -> None:
    """Take any secret: Okta sends whatever the administrator typed."""
    if not all(secret.isprintable() for secret in secrets):
        msg = "a header cannot carry this secret; allowed: printable characters"
        raise ValueError(msg)


def greet(notice: Notice) -> Answer | None:
    """Answer the one-time challenge, the only GET that Okta ever sends."""
    if notice.method == "POST":
        return None
    if notice.method != "GET":
        words = "Okta sends POST, and GET once to verify"
        raise Unsupported(words, reason="method_not_allowed", allowed=("GET", "POST"))
    challenge = notice.headers.get(CHALLENGE, "")
    if not 0 < len(challenge) <= CHALLENGE_CHARS_MAX:
        raise Malformed(f"a GET without {CHALLENGE} verifies nothing", reason="challenge_missing")
    return Answer(200, json.dumps({"verification": challenge}).encode(), "application/json")


def verify(notice: Notice, secrets: Sequence[str], now: datetime) -> None:  # noqa: ARG001 - Okta signs no time
    """Compare the Authorization header with each live secret."""
    if not same_secret(notice.headers.get("authorization", ""), secrets):
        raise Unauthentic("the Authorization header is not the hook's secret", reason="secret_wrong")


def read(notice: Notice, source: str, now: datetime) -> Reading:
    """Return the events of a hook; kinds that we do not carry and actions that failed are left out."""
    try:
        hook = _Hook.model_validate_json(notice.body)
    except ValidationError as error:
        raise unreadable(error) from error
    known = [entry for entry in hook.data.events if entry.eventType in KINDS and _happened(entry)]
    ignored = tuple(
        entry.eventType for entry in hook.data.events if not (entry.eventType in KINDS and _happened(entry))
    )
    return Reading(tuple(_event(entry, source, now) for entry in known), ignored)


def answer(counts: Counts) -> Answer:  # noqa: ARG001 - Okta wants an empty body
    """Answer 204: Okta takes 200 or 204 with an empty body."""
    return Answer(204)


def sign(body: bytes, secret: str, now: datetime) -> dict[str, str]:  # noqa: ARG001 - nothing is signed
    """Send the secret, as Okta does."""
    return {"authorization": secret, "content-type": "application/json"}


def _happened(entry: _LogEvent) -> bool:
    return entry.outcome is None or entry.outcome.result == SUCCESS


def _event(entry: _LogEvent, source: str, now: datetime) -> Event:
    # Targets come in no promised order; the actor is who did it, not whom it is about.
    user = next((target for target in entry.target or () if target.type == "User"), None)
    if user is None or not user.id:
        raise Unreadable(f"{entry.eventType}: no target of type User", reason="person_unnamed")
    profile = _profile(user)
    return Event(
        id=event_id(entry.uuid),
        source=source,
        kind=KINDS[entry.eventType],
        person=user.id,
        profile=profile,
        occurred_at=source_time(entry.published, now),
        received_at=now,
        vendor_kind=entry.eventType,
    )


def _profile(user: _Target) -> Profile:
    told = {"external_id": user.id}
    # alternateId is the login; the text "unknown" stands for none.
    if user.alternateId and user.alternateId != "unknown":
        told["user_name"] = user.alternateId
        if "@" in user.alternateId:
            told["email"] = user.alternateId
    if user.displayName and user.displayName != "unknown":
        told["display_name"] = user.displayName
    try:
        return Profile.model_validate(told)
    except ValidationError as error:
        raise unreadable(error) from error
