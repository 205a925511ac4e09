"""What every source module is made of: a notice in, events out, no I/O.

**Add a source:** capture one request per kind as ``tests/service/sources/fixtures/NAME/KIND.http`` with what must come
out beside it as ``KIND.json``; write ``service/sources/NAME.py`` with the names of ``Source`` below, copying the
nearest neighbour (shared secret: ``okta``; signed body with time: ``standard_webhooks``); add one line to
``SOURCES``. The contract test then runs for it and says what is missing.
"""

import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from pydantic import ValidationError

from lifecycle.errors import Unreadable, Unsupported
from lifecycle.event import EVENT_ID_CHARS_MAX, Event, Kind, Profile

NOTES_MAX = 5
AHEAD_MAX = timedelta(minutes=5)


class Assurance(StrEnum):
    """How far a verified notice can be believed, so that the contract test knows which attacks must fail."""

    SHARED_SECRET = "shared_secret"  # noqa: S105 - the name of a scheme
    SIGNED_BODY_WITH_TIME = "signed_body_with_time"


class Notice(NamedTuple):
    """One HTTP request from a source, as bytes; header names in lower case."""

    method: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class Answer(NamedTuple):
    """What a source is answered."""

    status: int
    body: bytes = b""
    media_type: str | None = None


class Reading(NamedTuple):
    """What a notice says: the events we carry, and the vendor's words for those we do not."""

    events: tuple[Event, ...]
    ignored: tuple[str, ...] = ()


class Counts(NamedTuple):
    """What became of a notice's events, for the answer."""

    accepted: int
    duplicates: int
    ignored: int


class Source(Protocol):
    """The names that a source module has."""

    @property
    def KINDS(self) -> Mapping[str, Kind]:  # noqa: N802 - a constant of the module
        """The vendor's words and ours."""

    @property
    def ASSURANCE(self) -> Assurance:  # noqa: N802 - a constant of the module
        """How far a verified notice can be believed."""

    def check(self, secrets: Sequence[str]) -> None:
        """Raise ValueError when a configured secret can not be one of this source."""

    def greet(self, notice: Notice) -> Answer | None:
        """Answer a handshake; None when the notice is none. Raises Rejected for a handshake that asks nothing."""

    def verify(self, notice: Notice, secrets: Sequence[str], now: datetime) -> None:
        """Raise Unauthentic unless the notice is from the source, by any of the live secrets, in constant time."""

    def read(self, notice: Notice, source: str, now: datetime) -> Reading:
        """Return what a verified notice says. Raises Unreadable, and nothing else, whatever the bytes."""

    def answer(self, counts: Counts) -> Answer:
        """Return the source's own kind of 2xx."""

    def sign(self, body: bytes, secret: str, now: datetime) -> dict[str, str]:
        """Return the headers that the vendor would send with this body, for samples and tests."""


def no_greeting(notice: Notice) -> Answer | None:
    """Greet nobody: a source without a handshake sends POST only."""
    if notice.method != "POST":
        raise Unsupported("this source sends POST only", reason="method_not_allowed")
    return None


def same_secret(given: str, secrets: Sequence[str]) -> bool:
    """Compare with every live secret in constant time, without an early exit."""
    # Header bytes were decoded as latin-1; this gives them back as they came.
    came = given.encode("latin-1", "replace")
    found = False
    for secret in secrets:
        found |= hmac.compare_digest(came, secret.encode())
    return found


def unreadable(error: ValidationError) -> Unreadable:
    """Turn pydantic's faults into ours: where and what, never the value, which may be personal."""
    faults = error.errors(include_input=False, include_url=False, include_context=False)
    lines = [
        f"{'.'.join(str(part) for part in fault['loc']) or 'body'}: {fault['msg']}" for fault in faults[:NOTES_MAX]
    ]
    return Unreadable("; ".join(lines), reason="unreadable")


def event_id(found: str | None) -> str:
    """Check the length of an event's id. Raises Unreadable: a key of Redis must not grow without bound."""
    if not found or len(found) > EVENT_ID_CHARS_MAX:
        raise Unreadable(f"an event id has 1 to {EVENT_ID_CHARS_MAX} characters", reason="event_id")
    return found


def person_key(profile: Profile) -> str:
    """Return whom a profile is about. Raises Unreadable when it names nobody."""
    key = profile.key()
    if key is None:
        raise Unreadable("person needs external_id, user_name or email", reason="person_unnamed")
    return key


def source_time(moment: datetime, now: datetime) -> datetime:
    """Return the source's time in UTC; one that is more than a little ahead of ours is wrong, and ours is taken.

    A wrong clock must not outrank all else.
    """
    found = in_utc(moment)
    return found if found <= now + AHEAD_MAX else now


def effect(told: date | None) -> dict[str, Any]:
    """Return the fields of an event that say when it takes effect: without a zone it stays a local date or time."""
    if told is None:
        return {"effective_at": None}
    if isinstance(told, datetime) and told.tzinfo is not None:
        return {"effective_at": in_utc(told)}
    return {"effective_on": told.isoformat()}


def in_utc(moment: datetime) -> datetime:
    """Bring a moment to UTC. Raises Unreadable at the edges of the calendar, where that is not possible."""
    try:
        return moment.astimezone(UTC)
    except (OverflowError, ValueError) as error:
        raise Unreadable("a moment is outside the calendar", reason="time") from error
