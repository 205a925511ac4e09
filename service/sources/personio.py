"""Personio webhooks: a token in the Authorization header; the notice names the person, and who it is must be read.

Set-up at Personio: create a webhook by ``POST /v2/webhooks`` (scope ``personio:webhooks:write``), with the URL
``https://HOST/hooks/NAME``, as ``enabled_events`` those of ``person`` and ``employment`` below, and ``status``
``ENABLED``, which is not the default. Give it one of three kinds of authentication:

``auth_type`` ``TOKEN``, the default: choose a ``token`` of 32 random bytes or more and put the same text into
``secrets``; Personio sends it verbatim in Authorization and adds no scheme.

``CUSTOM``: the token in a header of your choice; name it in ``header``.

``NONE``: nothing proves the sender. Set ``unsigned = true`` and no ``secrets``. Then a notice is never more than a
reason to look: what acts is what the directory says, and without one nothing happens. What cannot be read is refused by
400 and not kept, for anybody may have sent it. A URL that nobody guesses and a filter of addresses keep strangers from
making us look.

Rotation of the token: put the new one first in ``secrets``, keep the old one second, then ``PATCH`` the webhook; drop
the old one when ``gatepost check`` shows that it is no longer used.

It cannot promise that a body is unchanged or recent, so with a directory every event is looked up there first. That is
also how the person becomes known, for Personio sends ids only. Gatepost does not read Personio itself: use a directory
that has Personio's person id as ``external_id``. There is no event id; a repeat is seen by its content. Nothing is said
about order.

``employment.started`` and ``employment.terminated`` come on the day itself. ``employment.deleted`` may leave another
employment, so it is a change. ``person.deleted`` claims a leaver; as nobody is found then, it ends as a failure for a
human to see. Changes of only some fields are told: sweep the directory daily.

Personio waits 3 seconds for a 2xx and follows no redirect. After a timeout or a 5xx other than 501 it tries again, up
to 14 requests in 3 days (a notice of 2024 says 6 days); after a 4xx never, which is for a wrong proof only.

Not known: the names inside ``payload``. Read are ``person_id``, ``person.id`` and, of ``person.*``, ``id``; whatever
has none of them is set aside whole and read again after a correction. Personio's newest API can also sign: each webhook
has a signing secret (``POST /v2/webhooks/ID/signing-secret``, the old one lives on for 7 days). How the signature is
sent could not be found, so it is not looked at here; once it is known to you, the adapter ``hmac`` can check it.

https://developer.personio.de/reference/webhooks
https://developer.personio.de/reference/post_v2-webhooks
"""

from datetime import datetime

from lifecycle.errors import Unreadable
from lifecycle.event import Event, Kind
from service.sources.base import (
    ORDINARY_BYTES,
    Assurance,
    HeaderName,
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
from service.sources.documents import Part, content_id, in_zone, parsed, person_key, profile, source_time
from service.sources.proofs import proven, the_secret

BODY_BYTES_MIN = ORDINARY_BYTES

KINDS = {
    "person.created": Kind.CHANGED,
    "person.updated": Kind.CHANGED,
    "person.deleted": Kind.LEAVER,
    "employment.created": Kind.CHANGED,
    "employment.updated": Kind.CHANGED,
    "employment.updated.cost-centers": Kind.CHANGED,
    "employment.deleted": Kind.CHANGED,
    "employment.started": Kind.CHANGED,
    "employment.terminated": Kind.LEAVER,
}

greet, keys_at, answer, refuse = no_greeting, no_keys, accepted, problem


class Options(OwnOptions):
    """How Personio proves itself."""

    header: HeaderName = "authorization"
    """The header that carries the secret, in lower case: of ``auth_type`` CUSTOM."""
    unsigned: bool = False
    """Whether it proves nothing, of ``auth_type`` NONE: then there are no ``secrets``."""


class _Ref(Part):
    id: str


class _Payload(Part):
    person_id: str | None = None
    person: _Ref | None = None
    id: str | None = None


class _Head(Part):
    event_name: str


class _Notice(_Head):
    occurred_at: datetime
    payload: _Payload


def assurance(setup: Setup) -> Assurance:
    """Return that the sender knows a secret, or nothing where it is configured to prove nothing."""
    return Assurance.NONE if setup.options.unsigned else Assurance.SHARED_SECRET


def check(setup: Setup) -> None:
    """Raise ValueError unless there are secrets that fit into a header, or ``unsigned = true`` and none."""
    if not setup.options.unsigned:
        header_secrets(setup)
    elif setup.secrets:
        msg = "none, for unsigned = true says that nothing is proven"
        raise ValueError(msg)


def verify(notice: Notice, setup: Setup, now: datetime) -> str:  # noqa: ARG001 - no time is signed
    """Compare the header with each live secret."""
    options: Options = setup.options
    if options.unsigned:
        return ""
    given = notice.headers.get(options.header, "")
    return proven(the_secret(given, setup.secrets), f"the {options.header} header")


def read(notice: Notice, setup: Setup, now: datetime) -> Reading:
    """Return the one event of a notice; an event that we do not carry may have a payload of any shape."""
    vendor_kind = parsed(_Head, notice.body).event_name
    if vendor_kind not in KINDS:
        return Reading((), (vendor_kind,))
    told = parsed(_Notice, notice.body)
    who = profile(external_id=_person(vendor_kind, told.payload))
    event = Event(
        id=content_id(notice.body),
        source=setup.name,
        kind=KINDS[vendor_kind],
        person=person_key(who),
        profile=who,
        occurred_at=source_time(in_zone(told.occurred_at, setup.timezone), now),
        received_at=now,
        vendor_kind=vendor_kind,
    )
    return Reading((event,))


def sign(notice: Notice, setup: Setup, now: datetime) -> Notice:  # noqa: ARG001 - nothing is signed
    """Send the secret, as Personio does; nothing where it proves nothing."""
    options: Options = setup.options
    secret = {} if options.unsigned else {options.header: setup.secrets[0]}
    return notice._replace(headers={**notice.headers, "content-type": "application/json", **secret})


def _person(vendor_kind: str, payload: _Payload) -> str:
    # The id of an employment is not a person's.
    own = payload.id if vendor_kind.startswith("person.") else None
    found = payload.person_id or (payload.person and payload.person.id) or own
    if not found:
        raise Unreadable(f"{vendor_kind}: the payload names no person", reason="person_unnamed")
    return found
