"""WorkOS Directory Sync: the people of whatever directory or HR system is behind WorkOS, whole and signed.

Set-up at WorkOS: Dashboard > Webhooks > Create webhook, URL ``https://HOST/hooks/NAME``, events
``dsync.user.created``, ``dsync.user.updated``, ``dsync.user.deleted``, ``dsync.group.user_added`` and
``dsync.group.user_removed``. The endpoint's signing secret, taken as the text that it is, goes into ``secrets``.

Rotation: list both secrets while WorkOS changes from the old one to the new one (a second endpoint with the same URL
and its own secret does it without a gap: an event that comes by both is seen as one), and take the old one out when
``gatepost check`` says that nobody used it for a week.

It promises that the body is unchanged and was sent within 180 seconds, either way; a repeat is seen by its id. It does
not promise order: a retry may be older than what came before it, so events count by ``updated_at``, a deletion by its
own time. Each record is whole. A field that the update before still had is cleared; what WorkOS merely leaves out is
not. Attributes that have no field of ours are kept under ``custom``.

``state`` decides: a deactivation comes as ``dsync.user.updated`` with ``inactive`` or, from old environments,
``suspended``; new environments send ``dsync.user.deleted`` instead. All three are leavers. ``dsync.user.updated`` of an
active person is a mover; one whose ``previous_attributes`` say that the person was not active is a joiner. A state that
is none of these is set aside for a human. Membership of a group says only "look again": name a ``directory`` where
groups grant anything. ``dsync.deleted``, which tears down a whole directory, never makes anybody a leaver.

The person's id is ``idp_id``, the id in the directory behind WorkOS: it stays when WorkOS makes a new record of the
same person, so a rehire finds the old account. It is unique within a directory only. An environment with several needs
``directory_ids``, one source for each, or ``external_id = "id"``, the id of the WorkOS record.

WorkOS wants 200 and tries again for up to three days after anything else.

https://workos.com/docs/events/data-syncing/webhooks
https://workos.com/docs/directory-sync/understanding-events
https://github.com/workos/workos-python (src/workos/webhooks/_verification.py, for the signature)
"""

import hmac
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from lifecycle.errors import Unreadable
from lifecycle.event import Event, Kind, Profile
from service.sources.base import (
    ORDINARY_BYTES,
    Assurance,
    Notice,
    OwnOptions,
    Reading,
    Setup,
    no_greeting,
    no_keys,
    ok,
    problem,
)
from service.sources.documents import Part, Told, entry, made, parsed, profile
from service.sources.proofs import decimal_time, proven, recent, the_hex_hmac

BODY_BYTES_MIN = ORDINARY_BYTES
HEADER = "workos-signature"
SIGNATURE = re.compile(r"t=([0-9]{1,14}), ?v1=([0-9a-f]{64})")
TOLERANCE = timedelta(seconds=180)
"""The default of WorkOS's own libraries."""

UPDATED, DELETED = "dsync.user.updated", "dsync.user.deleted"
ACTIVE, GONE = "active", ("inactive", "suspended")

# WorkOS tells of a leave by the state in an event of another name, so its state is part of our word for it.
KINDS = {
    "dsync.user.created": Kind.JOINER,
    "dsync.user.created:inactive": Kind.LEAVER,
    "dsync.user.created:suspended": Kind.LEAVER,
    UPDATED: Kind.MOVER,
    f"{UPDATED}:reactivated": Kind.JOINER,
    f"{UPDATED}:inactive": Kind.LEAVER,
    f"{UPDATED}:suspended": Kind.LEAVER,
    DELETED: Kind.LEAVER,
    "dsync.group.user_added": Kind.CHANGED,
    "dsync.group.user_removed": Kind.CHANGED,
}
EVENTS = frozenset(word for word in KINDS if ":" not in word)
MEMBERSHIPS = frozenset(word for word, kind in KINDS.items() if kind is Kind.CHANGED)

# Standard, predefined and once top-level attributes; the first that is there counts.
ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "user_name": ("username",),
    "email": ("email",),
    "given_name": ("first_name",),
    "family_name": ("last_name",),
    "display_name": ("display_name", "name"),
    "title": ("job_title",),
    "department": ("department_name", "department"),
    "division": ("division_name", "division"),
    "cost_center": ("cost_center_name", "cost_center"),
    "organization": ("organization",),
    "employee_number": ("employee_number",),
    "manager": ("manager_email",),
    "user_type": ("employee_type",),
    "start_at": ("employment_start_date",),
}
KNOWN = frozenset(name for names in ATTRIBUTES.values() for name in names) | {"emails"}

greet, keys_at, answer, refuse = no_greeting, no_keys, ok, problem


class Options(OwnOptions):
    """Whose events count, and by which id a person is known."""

    external_id: Literal["idp_id", "id"] = "idp_id"
    """``idp_id``, the person's id in the directory behind WorkOS, or ``id``, that of the WorkOS record."""
    directory_ids: list[str] | None = None
    """The directories whose events are carried, as in ``directory_01E1X1B89NH8Z3SDFJR4H7RGX7``; absent: all."""


class _Head(Part):
    event: str


class _Webhook(_Head):
    id: str
    created_at: datetime
    data: dict[str, Any]
    context: Any = None


class _User(Part):
    state: str | None = None
    updated_at: datetime | None = None


def assurance(setup: Setup) -> Assurance:  # noqa: ARG001 - WorkOS always signs
    """Return that body and time are signed."""
    return Assurance.SIGNED_BODY_WITH_TIME


def check(setup: Setup) -> None:
    """Check that each secret is a text that WorkOS could have made. Raises ValueError."""
    if not setup.secrets or not all(secret.isprintable() for secret in setup.secrets):
        msg = "one secret at least, each of printable characters, as the dashboard shows it"
        raise ValueError(msg)


def verify(notice: Notice, setup: Setup, now: datetime) -> str:
    """Check the signature over time and raw body, by any of the live secrets."""
    found = SIGNATURE.fullmatch(notice.headers.get(HEADER, ""))
    stamp, given = found.groups() if found else ("", "")
    secret = proven(the_hex_hmac(given, _signed(stamp, notice.body), setup.secrets), f"the header {HEADER}")
    recent(decimal_time(stamp, milliseconds=True), now, TOLERANCE)
    return secret


def read(notice: Notice, setup: Setup, now: datetime) -> Reading:
    """Return the one event of a webhook; what is not about a person is left out."""
    told = _event(notice.body, setup, now)
    return Reading((told,)) if isinstance(told, Event) else Reading((), (told,))


def sign(notice: Notice, setup: Setup, now: datetime) -> Notice:
    """Sign as WorkOS does: each attempt anew."""
    stamp = str(int(now.timestamp() * 1000))
    digest = hmac.new(setup.secrets[0].encode(), _signed(stamp, notice.body), "sha256").hexdigest()
    sent = {HEADER: f"t={stamp}, v1={digest}", "content-type": "application/json"}
    return notice._replace(headers={**notice.headers, **sent})


def _signed(stamp: str, body: bytes) -> bytes:
    return stamp.encode() + b"." + body


def _event(body: bytes, setup: Setup, now: datetime) -> Event | str:
    head = parsed(_Head, body)
    if head.event not in EVENTS:
        return head.event
    told = parsed(_Webhook, body)
    directories = setup.options.directory_ids
    if directories is not None and told.data.get("directory_id") not in directories:
        return f"{head.event}:other_directory"
    if head.event in MEMBERSHIPS:
        found = _identified(_mapping(told.data.get("user")), setup)
        return made(Told(told.id, told.event, found, told.created_at), KINDS, setup, now)
    user = entry(_User, told.data)
    before = _before(told)
    word = _word(told.event, user.state, before)
    moment = told.created_at if word == DELETED else user.updated_at or told.created_at
    return made(Told(told.id, word, _profile(told.data, before, setup), moment), KINDS, setup, now)


def _word(event: str, state: str | None, before: Mapping[str, Any]) -> str:
    if event == DELETED:
        return event
    if state == ACTIVE:
        return f"{event}:reactivated" if event == UPDATED and before.get("state") in GONE else event
    if state not in GONE:
        raise Unreadable(f"{event}: state is none of {ACTIVE}, {', '.join(GONE)}", reason="state_unknown")
    return f"{event}:{state}"


def _before(told: _Webhook) -> Mapping[str, Any]:
    """Return what the update changed, as it was; it has stood in two places."""
    inner = _mapping(told.data.get("previous_attributes"))
    return inner or _mapping(_mapping(told.context).get("previous_attributes"))


def _identified(user: Mapping[str, Any], setup: Setup) -> Profile:
    """Return the names of a member: the rest of the record is as old as the person's last change."""
    now = _flat(user)
    return profile(
        external_id=user.get(setup.options.external_id), user_name=now.get("username"), email=now.get("email")
    )


def _profile(user: Mapping[str, Any], before: Mapping[str, Any], setup: Setup) -> Profile:
    now, was = _flat(user), _flat(before)
    name = setup.options.external_id
    told: dict[str, Any] = {"external_id": user[name]} if user.get(name) else {}
    for ours, theirs in ATTRIBUTES.items():
        value = next((now[name] for name in theirs if name in now), None)
        if value is not None or any(name in was for name in theirs):
            told[ours] = value
    others = {**dict.fromkeys(_others(before)), **_others(user)}
    return entry(Profile, {**told, "custom": others} if others else told)


def _flat(user: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record's attributes that have a value, wherever they stand."""
    found = {**_mapping(user.get("custom_attributes")), **{name: user[name] for name in KNOWN if user.get(name)}}
    emails = found.get("emails")
    if not found.get("email") and isinstance(emails, list):
        found["email"] = next((each.get("value") for each in map(_mapping, emails) if each.get("primary")), None)
    return {name: value for name, value in found.items() if value not in (None, "")}


def _others(user: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in _mapping(user.get("custom_attributes")).items() if name not in KNOWN}


def _mapping(found: object) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}
