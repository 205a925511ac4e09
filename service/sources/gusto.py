"""Gusto webhooks: an HMAC over the body, with the token of the handshake as its key; a notice names the employee only.

Set-up at Gusto, where the token that Gusto hands over once **is** the key from then on:

1. Configure the source with ``pending = true`` and no ``secrets``, and start the receiver.
2. ``POST /v1/webhook_subscriptions`` with ``{"url": "https://HOST/hooks/NAME", "subscription_types": ["Employee"]}``.
   Gusto sends its ``verification_token`` to the URL, unsigned; it is kept, once.
3. Read it with ``gatepost handshake NAME`` and ``PUT`` it to ``/v1/webhook_subscriptions/UUID/verify``.
4. Only when Gusto has confirmed it, put it into ``secrets``, and set ``pending = false``.

While the source is pending, anybody could hand over a token, but only the first is kept, and Gusto confirms none but
its own: never use one that it did not confirm. If another one is in the way, forget it and let Gusto send its own again
(``GET /v1/webhook_subscriptions/UUID/request_verification_token``). A source that is not pending refuses every token.

Rotation: set ``pending = true`` beside the live secret, create a second subscription with the same URL, confirm its
token as above, put it first in ``secrets``, delete the first subscription, and drop its token once ``gatepost check``
shows the new one in use. Notices go on meanwhile.

It promises that the body is unchanged. No time is signed, so an old notice can come again; it is seen by its ``uuid``,
and where an old API version sends none, by its content. Nothing is said about order.

``employee.terminated`` and ``employee.rehired`` say that it was **entered**, for a day that they do not tell, so the
directory is asked. ``employee.terminated_effective`` is the leaver: it comes at midnight Pacific time after the last
day, or at once for a day that is past. A page of Gusto calls it ``employee.termination_effective``; both are read. API
versions up to 2024-04-01 do not list it, nor ``employee.rehire_effective``: there nothing tells that the day has come,
and only a daily sweep of the directory finds the leaver. ``employee.deleted`` is a leaver: the record is gone, so a
look would find nobody. Gatepost does not read Gusto itself: use a directory with Gusto's uuid as ``external_id``.

Any 2xx is taken; all else is tried again, up to 16 times and ever more rarely. How long Gusto waits is not known.

That the signature is written in hexadecimal is from integrators; either letter case is read.

https://docs.gusto.com/embedded-payroll/docs/webhooks
https://docs.gusto.com/app-integrations/docs/employee-events
"""

import hmac
import re
from datetime import datetime

from lifecycle.errors import Malformed, Unauthentic, Unreadable
from lifecycle.event import Event, Kind
from service.sources.base import (
    ORDINARY_BYTES,
    Answer,
    Assurance,
    Greeting,
    Notice,
    OwnOptions,
    Reading,
    Setup,
    accepted,
    header_secrets,
    no_greeting,
    no_keys,
    problem,
)
from service.sources.documents import (
    Part,
    content_id,
    epoch,
    event_id,
    parsed,
    person_key,
    profile,
    source_time,
)
from service.sources.proofs import proven, the_hex_hmac

BODY_BYTES_MIN = ORDINARY_BYTES
SIGNATURE = "x-gusto-signature"
EMPLOYEE = "Employee"
HANDSHAKE_BYTES_MAX = 1_024
TOKEN = re.compile(r"[0-9A-Za-z_-]{16,128}")

KINDS = {
    "employee.created": Kind.CHANGED,
    "employee.updated": Kind.CHANGED,
    "employee.onboarded": Kind.CHANGED,
    "employee.terminated": Kind.CHANGED,
    "employee.terminated_effective": Kind.LEAVER,
    "employee.termination_effective": Kind.LEAVER,
    "employee.termination_cancelled": Kind.CHANGED,
    "employee.rehired": Kind.CHANGED,
    "employee.rehire_effective": Kind.CHANGED,
    "employee.rehire_cancelled": Kind.CHANGED,
    "employee.deleted": Kind.LEAVER,
}

keys_at, answer, refuse = no_keys, accepted, problem


class Options(OwnOptions):
    """Whether the handshake is still to come."""

    pending: bool = False
    """Whether a token of Gusto is awaited, and the first that comes is kept; only then ``secrets`` may be empty."""


class _Handshake(Part):
    verification_token: str


class _Head(Part):
    event_type: str
    entity_type: str = EMPLOYEE


class _Notice(_Head):
    uuid: str | None = None
    entity_uuid: str
    timestamp: float
    """Seconds since 1970."""


def assurance(setup: Setup) -> Assurance:  # noqa: ARG001 - Gusto leaves no choice
    """Return that the body is signed."""
    return Assurance.SIGNED_BODY


def check(setup: Setup) -> None:
    """Raise ValueError unless each secret can be a key, and there is one or the handshake is still to come."""
    if setup.secrets:
        header_secrets(setup)
    elif not setup.options.pending:
        msg = "one secret at least, or pending = true until Gusto has handed over its token"
        raise ValueError(msg)


def greet(notice: Notice, setup: Setup, now: datetime) -> Greeting | None:
    """Take the token that Gusto hands over, while an operator waits for it. Raises Unauthentic at any other time."""
    no_greeting(notice, setup, now)
    token = _token(notice.body)
    if token is None:
        return None
    if not setup.options.pending:
        # Whoever hands over a token hands over the key: the live one is never replaced by what a stranger sends.
        raise Unauthentic("no token is awaited", reason="handshake_unasked")
    if not TOKEN.fullmatch(token):
        raise Malformed("a token has 16 to 128 letters, digits and hyphens", reason="token_malformed")
    return Greeting(Answer(200), keep=token)


def verify(notice: Notice, setup: Setup, now: datetime) -> str:  # noqa: ARG001 - Gusto signs no time
    """Check the signature over the raw body, by any of the live tokens."""
    given = notice.headers.get(SIGNATURE, "")
    return proven(the_hex_hmac(given, notice.body, setup.secrets), "the X-Gusto-Signature header")


def read(notice: Notice, setup: Setup, now: datetime) -> Reading:
    """Return the one event of a notice; what is not about an employee is left out."""
    head = parsed(_Head, notice.body)
    if head.event_type not in KINDS or head.entity_type != EMPLOYEE:
        return Reading((), (head.event_type,))
    told = parsed(_Notice, notice.body)
    who = profile(external_id=told.entity_uuid)
    event = Event(
        id=event_id(told.uuid) if told.uuid else content_id(notice.body),
        source=setup.name,
        kind=KINDS[told.event_type],
        person=person_key(who),
        profile=who,
        occurred_at=source_time(epoch(told.timestamp), now),
        received_at=now,
        vendor_kind=told.event_type,
    )
    return Reading((event,))


def sign(notice: Notice, setup: Setup, now: datetime) -> Notice:  # noqa: ARG001 - Gusto signs no time
    """Sign as Gusto does."""
    made = hmac.new(setup.secrets[0].encode(), notice.body, "sha256").hexdigest()
    return notice._replace(headers={**notice.headers, "content-type": "application/json", SIGNATURE: made})


def _token(body: bytes) -> str | None:
    """Return the token of a handshake; None where the body is none."""
    if len(body) > HANDSHAKE_BYTES_MAX:
        return None
    try:
        return parsed(_Handshake, body).verification_token
    except Unreadable:
        return None
