"""Okta event hooks: a secret in the Authorization header, one GET challenge when the hook is set up.

Set-up at Okta: Workflow > Event Hooks, URL ``https://HOST/hooks/NAME``, authentication field ``Authorization`` with the
secret (32 random bytes or more; Okta adds no scheme), subscribe to the kinds below, then Verify.

Rotation: list the new secret before the old one in ``secrets``, change the authentication field at Okta, and take the
old one out when ``gatepost check`` says that nobody used it for a week. Okta never tries again after a 4xx, so a secret
that is changed without this overlap loses events.

It cannot promise that a body is unchanged, or recent: nothing is signed. With ``directory``, which belongs to every
productive set-up, whatever a hook claims is read at Okta before it acts, and a forged one is a refresh and no more. Its
events are thin (a user's id, login and display name), come in any order, and a user who is deleted after the
deactivation is told of by the System Log alone, which is polled where the directory is Okta's.

Okta waits 3 seconds for the answer, 204, tries once more after a timeout or a 5xx, and drops what fails twice: the
poll finds that too. Of actions that failed, nothing is carried.

https://developer.okta.com/docs/concepts/event-hooks/
https://developer.okta.com/docs/reference/api/event-types/
"""

import json
from datetime import datetime
from typing import Any

from pydantic import AwareDatetime

from lifecycle.errors import Malformed, Unreadable, Unsupported
from lifecycle.event import Event, Kind, Profile
from service.sources.base import (
    ORDINARY_BYTES,
    Answer,
    Assurance,
    Counts,
    Greeting,
    Notice,
    OwnOptions,
    Reading,
    Setup,
    header_secrets,
    no_keys,
    problem,
)
from service.sources.documents import Part, entry, event_id, parsed, profile, read_each, source_time
from service.sources.proofs import proven, the_secret

BODY_BYTES_MIN = ORDINARY_BYTES
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


class _Target(Part):
    id: str
    type: str
    alternateId: str | None = None  # noqa: N815 - Okta's spelling
    displayName: str | None = None  # noqa: N815 - Okta's spelling


class _Outcome(Part):
    result: str


class _Head(Part):
    eventType: str  # noqa: N815 - Okta's spelling
    outcome: _Outcome | None = None


class _LogEvent(_Head):
    uuid: str
    published: AwareDatetime
    target: list[_Target] | None = None


class _Data(Part):
    events: list[Any]


class _Hook(Part):
    data: _Data


Options = OwnOptions
check, keys_at, refuse = header_secrets, no_keys, problem


def assurance(setup: Setup) -> Assurance:  # noqa: ARG001 - Okta can do no more
    """Return that the sender knows a secret."""
    return Assurance.SHARED_SECRET


def greet(notice: Notice, setup: Setup, now: datetime) -> Greeting | None:  # noqa: ARG001 - the secret may not come with it
    """Answer the one-time challenge, the only GET that Okta ever sends."""
    if notice.method == "POST":
        return None
    if notice.method != "GET":
        words = "Okta sends POST, and GET once to verify"
        raise Unsupported(words, reason="method_not_allowed", allowed=("GET", "POST"))
    challenge = notice.headers.get(CHALLENGE, "")
    if not 0 < len(challenge) <= CHALLENGE_CHARS_MAX:
        raise Malformed(f"a GET without {CHALLENGE} verifies nothing", reason="challenge_missing")
    return Greeting(Answer(200, json.dumps({"verification": challenge}).encode(), "application/json"))


def verify(notice: Notice, setup: Setup, now: datetime) -> str:  # noqa: ARG001 - Okta signs no time
    """Compare the Authorization header with each live secret."""
    given = notice.headers.get("authorization", "")
    return proven(the_secret(given, setup.secrets), "the Authorization header")


def read(notice: Notice, setup: Setup, now: datetime) -> Reading:
    """Return the events of a hook; kinds that we do not carry and actions that failed are left out."""
    return read_each(parsed(_Hook, notice.body).data.events, lambda found: _event(found, setup, now))


def answer(counts: Counts) -> Answer:  # noqa: ARG001 - Okta wants an empty body
    """Answer 204: Okta takes 200 or 204 with an empty body."""
    return Answer(204)


def sign(notice: Notice, setup: Setup, now: datetime) -> Notice:  # noqa: ARG001 - nothing is signed
    """Send the secret, as Okta does."""
    sent = {"authorization": setup.secrets[0], "content-type": "application/json"}
    return notice._replace(headers={**notice.headers, **sent})


def _event(found: object, setup: Setup, now: datetime) -> Event | str:
    head = entry(_Head, found)
    if head.eventType not in KINDS or not (head.outcome is None or head.outcome.result == SUCCESS):
        return head.eventType
    told = entry(_LogEvent, found)
    # Targets come in no promised order; the actor is who did it, not whom it is about.
    user = next((target for target in told.target or () if target.type == "User"), None)
    if user is None or not user.id:
        raise Unreadable(f"{told.eventType}: no target of type User", reason="person_unnamed")
    return Event(
        id=event_id(told.uuid),
        source=setup.name,
        kind=KINDS[told.eventType],
        person=user.id,
        profile=_profile(user),
        occurred_at=source_time(told.published, now),
        received_at=now,
        vendor_kind=told.eventType,
    )


def _profile(user: _Target) -> Profile:
    # alternateId is the login; the text "unknown" stands for none.
    login = user.alternateId if user.alternateId != "unknown" else None
    return profile(
        external_id=user.id,
        user_name=login,
        email=login if login and "@" in login else None,
        display_name=user.displayName if user.displayName != "unknown" else None,
    )
