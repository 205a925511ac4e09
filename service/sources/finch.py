"""Finch, which reads payroll and HR systems for others: Standard Webhooks under ``finch-*`` headers, ids only.

Set-up: in Finch's Developer Dashboard, Webhooks, add the endpoint ``https://HOST/hooks/NAME`` and choose the events of
``directory``, ``individual`` and ``employment``. The secret, base64 without a prefix, is shown once. The legacy Free
and Build plans have no webhooks. An application may have many employers: name those meant in ``connections``.

It promises that body and time are signed, five minutes either way, and a repeat is known by ``Finch-Event-Id``. A
notice says whose data changed, not how: every event is read again in the source's ``directory``, which must know
Finch's individual ids, or is no more than a mark among the events. So is a deletion: Finch compares what it reads from
time to time, and what it no longer sees may be out of sight only. Nobody is offboarded by that.

It is late by as much as Finch's own reading of the system behind it, from minutes to a day (from memory); whether
notices keep their order is not said. There is no time of the event in the body: the signed one counts.

Rotation: add a second endpoint for the same events (with ``?2`` behind the address, should Finch want another one), put
its secret in front, ``secrets = [NEW, OLD]``, and remove the old endpoint and secret when ``gatepost check`` shows the
new one in use. Meanwhile each event comes twice, which costs a read.

It answers 202; how long Finch waits and how often it tries again was not found. A wrong signature is 401. Events of
accounts, jobs, companies, payments and pay statements are left out.

https://developer.tryfinch.com/developer-resources/Webhooks
https://github.com/Finch-API/finch-api-python/blob/main/src/finch/resources/webhooks.py
"""

from datetime import datetime
from functools import lru_cache
from typing import Annotated
from uuid import uuid4

from pydantic import Field

from lifecycle import signature
from lifecycle.errors import Unreadable
from lifecycle.event import Kind
from service.sources.base import (
    ORDINARY_BYTES,
    Assurance,
    Notice,
    OwnOptions,
    Reading,
    Setup,
    accepted,
    no_greeting,
    no_keys,
    problem,
)
from service.sources.documents import Part, Told, made, parsed, profile
from service.sources.proofs import decimal_time

BODY_BYTES_MIN = ORDINARY_BYTES
NAMES = signature.HeaderNames("finch-event-id", "finch-timestamp", "finch-signature")

KINDS = {
    f"{data}.{verb}": Kind.CHANGED
    for data in ("directory", "individual", "employment")
    for verb in ("created", "updated", "deleted")
}

greet, keys_at, answer, refuse = no_greeting, no_keys, accepted, problem


class Options(OwnOptions):
    """Which of an application's employers this source hears."""

    connections: Annotated[list[str], Field(max_length=1_000)] = Field(default_factory=list)
    """Finch's ``connection_id`` of each employer; without any, all are heard."""


class _Data(Part):
    individual_id: str | None = None


class _Head(Part):
    event_type: str
    connection_id: str | None = None


class _Body(_Head):
    data: _Data | None = None


def assurance(setup: Setup) -> Assurance:  # noqa: ARG001 - Finch leaves no choice
    """Return that body and time are signed."""
    return Assurance.SIGNED_BODY_WITH_TIME


def check(setup: Setup) -> None:
    """Raise ValueError unless each secret is base64 of 24 to 64 bytes."""
    if not setup.secrets:
        msg = "one secret at least"
        raise ValueError(msg)
    for secret in setup.secrets:
        signature.key(secret, prefix="")


def verify(notice: Notice, setup: Setup, now: datetime) -> str:
    """Check the signature over id, time and raw body, by any of the live secrets."""
    keys = map(_key, setup.secrets)
    return setup.secrets[signature.verify(keys, notice.headers, notice.body, now, NAMES)]


@lru_cache(maxsize=256)
def _key(secret: str) -> bytes:
    return signature.key(secret, prefix="")


def read(notice: Notice, setup: Setup, now: datetime) -> Reading:
    """Return that somebody's data changed; what is not about a person, or of another employer, is left out."""
    head = parsed(_Head, notice.body)
    options: Options = setup.options
    if head.event_type not in KINDS or (options.connections and head.connection_id not in options.connections):
        return Reading((), (head.event_type,))
    body = parsed(_Body, notice.body)
    if body.data is None or not body.data.individual_id:
        raise Unreadable(f"{body.event_type}: no individual_id", reason="person_unnamed")
    sent_at = decimal_time(notice.headers.get(NAMES.timestamp, ""))
    person = profile(external_id=body.data.individual_id)
    told = Told(notice.headers.get(NAMES.id, ""), body.event_type, person, sent_at or now)
    return Reading((made(told, KINDS, setup, now),))


def sign(notice: Notice, setup: Setup, now: datetime) -> Notice:
    """Sign as Finch does: a message that has an id keeps it. Raises ValueError without a key."""
    message_id = notice.headers.get(NAMES.id) or f"msg_{uuid4().hex}"
    made = signature.sign(_key(setup.secrets[0]), message_id, now, notice.body)
    sent = zip(NAMES, (message_id, str(int(now.timestamp())), made), strict=True)
    return notice._replace(headers={**notice.headers, **dict(sent), "content-type": "application/json"})
