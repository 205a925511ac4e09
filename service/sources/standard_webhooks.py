"""Standard Webhooks, ``v1``: the canonical notice for an HRIS, an iPaaS or a script of one's own.

Set-up: a secret ``whsec_`` and base64 of 24 to 64 random bytes on both sides; POST the notice to ``/hooks/NAME`` with
``webhook-id``, ``webhook-timestamp`` and ``webhook-signature``. Any library of the standard signs it.

Body: ``{"type": "person.left", "timestamp": ..., "data": {"id": ..., "effective_at": ..., "person": {...}}}`` with
``type`` one of ``person.joined``, ``person.moved``, ``person.left``, ``person.changed``. ``data.id`` falls back to
``webhook-id``, ``effective_at`` to now. A mover carries only what changed; an explicit null clears.

``effective_at`` is a moment, or a date, or a moment without a zone; the last two are read in the person's own time
zone, else in the one configured for the source. ``timestamp`` without a zone is UTC.

It promises that the body is unchanged and recent; a repeat is seen by its id.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Annotated
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from lifecycle import signature
from lifecycle.event import Event, Kind, Profile
from service.sources.base import (
    Answer,
    Assurance,
    Counts,
    Notice,
    Reading,
    effect,
    event_id,
    no_greeting,
    person_key,
    source_time,
    unreadable,
)

ASSURANCE = Assurance.SIGNED_BODY_WITH_TIME

KINDS = {
    "person.joined": Kind.JOINER,
    "person.moved": Kind.MOVER,
    "person.left": Kind.LEAVER,
    "person.changed": Kind.CHANGED,
}

DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
# A number is seconds since 1970. No event takes effect so early; 20260306 is a day of which the hyphens were left out.
SECONDS_MIN = datetime(1973, 1, 1, tzinfo=UTC)

greet = no_greeting


def _day_or_moment(found: object, parse: ValidatorFunctionWrapHandler) -> date | datetime:
    moment: datetime = parse(found)
    if not isinstance(found, str):
        found = str(found)
    if DAY.fullmatch(found):
        return moment.date()
    if "-" not in found[1:] and moment < SECONDS_MIN:
        msg = "a day is written as in 2026-03-06"
        raise ValueError(msg)
    return moment


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True, hide_input_in_errors=True)


class _Data(_Part):
    id: str | None = None
    effective_at: Annotated[datetime, WrapValidator(_day_or_moment)] | None = None
    person: Profile


class _Head(_Part):
    type: str


class _Body(_Head):
    timestamp: datetime
    data: _Data


def check(secrets: Sequence[str]) -> None:
    """Raise ValueError unless each secret is whsec_ with strict base64 of 24 to 64 bytes."""
    for secret in secrets:
        signature.key(secret)


def verify(notice: Notice, secrets: Sequence[str], now: datetime) -> None:
    """Check the signature over id, time and raw body, by any of the live secrets."""
    signature.verify([signature.key(secret) for secret in secrets], dict(notice.headers), notice.body, now)


def read(notice: Notice, source: str, now: datetime) -> Reading:
    """Return the one event of a canonical notice; a type that is not ours is left out."""
    try:
        body = _Body.model_validate_json(notice.body)
    except ValidationError as error:
        # A type that is not ours may have data of any shape.
        if (vendor_kind := _type(notice.body)) and vendor_kind not in KINDS:
            return Reading((), (vendor_kind,))
        raise unreadable(error) from error
    if body.type not in KINDS:
        return Reading((), (body.type,))
    event = Event(
        id=event_id(body.data.id or notice.headers.get("webhook-id")),
        source=source,
        kind=KINDS[body.type],
        person=person_key(body.data.person),
        profile=body.data.person,
        occurred_at=source_time(_with_zone(body.timestamp), now),
        received_at=now,
        vendor_kind=body.type,
        **effect(body.data.effective_at),
    )
    return Reading((event,))


def answer(counts: Counts) -> Answer:
    """Answer 202 with what became of it."""
    return Answer(202, b'{"accepted": %d, "duplicates": %d, "ignored": %d}' % counts, "application/json")


def sign(body: bytes, secret: str, now: datetime) -> dict[str, str]:
    """Sign as any Standard Webhooks sender does, under a fresh message id."""
    message_id = f"msg_{uuid4().hex}"
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature.sign(signature.key(secret), message_id, now, body),
        "content-type": "application/json",
    }


def _type(body: bytes) -> str | None:
    try:
        return _Head.model_validate_json(body).type
    except ValidationError:
        return None


def _with_zone(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
