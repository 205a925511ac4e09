"""Standard Webhooks, ``v1`` and ``v1a``: the canonical notice for an HRIS, an iPaaS or a script of one's own.

Set-up: a secret ``whsec_`` and base64 of 24 to 64 random bytes on both sides; POST the notice to ``/hooks/NAME`` with
``webhook-id``, ``webhook-timestamp`` and ``webhook-signature``. Any library of the standard signs it. For ``v1a`` the
secret is the sender's public key, ``whpk_`` and base64 of 32 bytes. A sender that renames the headers, as Svix does, is
told by ``id_header``, ``timestamp_header`` and ``signature_header``.

Body: ``{"type": "person.left", "timestamp": ..., "data": {"id": ..., "effective_at": ..., "person": {...}}}`` with
``type`` one of ``person.joined``, ``person.moved``, ``person.left``, ``person.changed``. ``data.id`` falls back to
``webhook-id``, ``effective_at`` to now. A mover carries only what changed; an explicit null clears.

``effective_at`` is a moment, or a date, or a moment without a zone; the last two are read in the person's own time
zone, else in the one configured for the source. ``timestamp`` without a zone is UTC.

It promises that the body is unchanged and recent; a repeat is seen by its id.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import re
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Annotated
from uuid import uuid4

from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from lifecycle import signature
from lifecycle.errors import Unreadable
from lifecycle.event import Event, Kind, Profile
from service.sources.base import (
    ORDINARY_BYTES,
    Assurance,
    HeaderName,
    Notice,
    OwnOptions,
    Reading,
    Setup,
    accepted,
    no_greeting,
    no_keys,
    problem,
)
from service.sources.documents import Part, effect, event_id, parsed, person_key, source_time

BODY_BYTES_MIN = ORDINARY_BYTES

KINDS = {
    "person.joined": Kind.JOINER,
    "person.moved": Kind.MOVER,
    "person.left": Kind.LEAVER,
    "person.changed": Kind.CHANGED,
}

DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
# A number is seconds since 1970. No event takes effect so early; 20260306 is a day of which the hyphens were left out.
SECONDS_MIN = datetime(1973, 1, 1, tzinfo=UTC)

greet, keys_at, answer, refuse = no_greeting, no_keys, accepted, problem


class Options(OwnOptions):
    """The names of the three headers, in lower case, for a sender that renames them, as Svix does."""

    id_header: HeaderName = signature.STANDARD.id
    """Has the id of the message."""
    timestamp_header: HeaderName = signature.STANDARD.timestamp
    """Has the time of the attempt, in seconds since 1970."""
    signature_header: HeaderName = signature.STANDARD.signature
    """Has one signature or several."""


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


class _Data(Part):
    id: str | None = None
    effective_at: Annotated[datetime, WrapValidator(_day_or_moment)] | None = None
    person: Profile


class _Head(Part):
    type: str


class _Body(_Head):
    timestamp: datetime
    data: _Data


def assurance(setup: Setup) -> Assurance:  # noqa: ARG001 - the standard leaves no choice
    """Return that body and time are signed."""
    return Assurance.SIGNED_BODY_WITH_TIME


def check(setup: Setup) -> None:
    """Raise ValueError unless each secret is ``whsec_`` with 24 to 64 bytes, or a ``whpk_`` or ``whsk_`` key."""
    if not setup.secrets:
        msg = "one secret at least"
        raise ValueError(msg)
    for secret in setup.secrets:
        signature.verifier(secret)


def verify(notice: Notice, setup: Setup, now: datetime) -> str:
    """Check the signature over id, time and raw body, by any of the live secrets."""
    keys = map(_verifier, setup.secrets)
    return setup.secrets[signature.verify(keys, notice.headers, notice.body, now, _names(setup))]


_verifier = lru_cache(maxsize=256)(signature.verifier)


def read(notice: Notice, setup: Setup, now: datetime) -> Reading:
    """Return the one event of a canonical notice; a type that is not ours is left out."""
    try:
        body = parsed(_Body, notice.body)
    except Unreadable:
        # A type that is not ours may have data of any shape.
        if (vendor_kind := _type(notice.body)) and vendor_kind not in KINDS:
            return Reading((), (vendor_kind,))
        raise
    if body.type not in KINDS:
        return Reading((), (body.type,))
    event = Event(
        id=event_id(body.data.id or notice.headers.get(_names(setup).id)),
        source=setup.name,
        kind=KINDS[body.type],
        person=person_key(body.data.person),
        profile=body.data.person,
        occurred_at=source_time(_with_zone(body.timestamp), now),
        received_at=now,
        vendor_kind=body.type,
        **effect(body.data.effective_at),
    )
    return Reading((event,))


def sign(notice: Notice, setup: Setup, now: datetime) -> Notice:
    """Sign as any Standard Webhooks sender does: a message that has an id keeps it. Raises ValueError without a key."""
    message_id = notice.headers.get(_names(setup).id) or f"msg_{uuid4().hex}"
    secret = setup.secrets[0]
    if secret.startswith(signature.SECRET_PREFIX):
        made = signature.sign(signature.key(secret), message_id, now, notice.body)
    else:
        made = signature.sign_asymmetric(signature.private_key(secret), message_id, now, notice.body)
    sent = zip(_names(setup), (message_id, str(int(now.timestamp())), made), strict=True)
    return notice._replace(headers={**notice.headers, **dict(sent), "content-type": "application/json"})


def _names(setup: Setup) -> signature.HeaderNames:
    options: Options = setup.options
    return signature.HeaderNames(options.id_header, options.timestamp_header, options.signature_header)


def _type(body: bytes) -> str | None:
    try:
        return _Head.model_validate_json(body).type
    except ValidationError:
        return None


def _with_zone(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
