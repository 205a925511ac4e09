"""Any vendor with an HMAC signature in a header and JSON in the body, by configuration alone (``adapter = "hmac"``).

Set-up: take from the vendor's documentation which header has the signature, how it is written and what is signed; from
one captured notice which words and fields it has; and write them down as below. Every query is JMESPath. All of it is
checked at the start: a query that is none, a function that does not exist, a person without an id. Then send that
notice with ``gatepost send`` and look at ``gatepost events`` before the vendor's real ones are let in.

Greenhouse Onboarding, whose notices only say that somebody changed, so that a directory must know the rest
(URL ``https://HOST/hooks/greenhouse``; it wants 200, and tries 7 times within 15 hours)::

    [sources.greenhouse]
    adapter = "hmac"
    secrets = ["env:GREENHOUSE_SECRET"]
    directory = "people"
    header = "signature"
    prefix = "sha256 "
    id = "id"
    kind = "event_type"
    time = "payload.updated_at"
    kinds = { "employee:updated" = "changed" }
    person = { external_id = "payload.updated_employee_id" }

Remote, whose signature has parts (events and envelope as others describe them; that the key is the text of the secret,
that ``t`` is in seconds and ``t.body`` is what is signed is an assumption to check against a captured notice)::

    [sources.remote]
    adapter = "hmac"
    secrets = ["env:REMOTE_SECRET"]
    header = "x-remote-signature"
    part = "v1"
    timestamp_part = "t"
    signed = "{timestamp}.{body}"
    id = "event_id"
    kind = "event_type"
    time = "created_at"
    effective = "event_type == 'employment.onboarding.completed' && data.employment.start_date || `null`"
    [sources.remote.kinds]
    "employment.onboarding.completed" = "joiner"
    "employment.user_status.deactivated" = "leaver"
    "employment.work_email.updated" = "changed"
    [sources.remote.person]
    external_id = "data.employment.id"
    display_name = "data.employment.full_name"

The kind must stand in the body, for a header that is not signed is anybody's; where each kind has a URL of its own,
make a source of each with a literal, as in ``kind = "'left'"``. A number, true or false is a word too; several fields
make one by ``join(':', [event, data.status])``. A word that ``kinds`` does not have is ignored. Write ``changed`` for a
joiner or mover whose notice has no attributes, and for whatever is told before it is so.

Where neither the id nor a time is found, a repeat cannot be told from another event that is the same in all else: one
that only looks again is then taken for another in each second, and one that acts is set aside.

What a query does not find, or finds null or empty, was not mentioned: a mapped source clears no field. Dates without a
zone are the person's, times without a zone the source's.

Secrets: ``secrets = [NEW, OLD]``, both accepted; put the new one in front, change it at the vendor, remove the old one
when ``gatepost check`` shows that it is used no more. A header with several signatures in its parts passes by any one.

It promises that the body is unchanged and, where ``signed`` has ``{timestamp}``, recent. Without it a notice of old can
be sent again: it is known by its id as long as ids are kept, so map ``time`` too, which keeps it behind what came
since. It answers 200, which every vendor takes for a success; a wrong signature is 401, and a notice that a query does
not fit is set aside, answered 200, and read again after the mapping is mended.

https://jmespath.org/specification.html
https://developers.greenhouse.io/onboarding_webhooks.html
"""

import json
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Annotated
from uuid import uuid4

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from lifecycle.errors import Unreadable
from lifecycle.event import PERSON_FIELDS, Event, Kind
from lifecycle.fields import Duration
from lifecycle.queries import JmesPath
from service import seals
from service.sources.base import (
    ORDINARY_BYTES,
    Assurance,
    HeaderName,
    Notice,
    OwnOptions,
    Reading,
    Setup,
    no_greeting,
    no_keys,
    ok,
    problem,
)
from service.sources.documents import (
    arrival_id,
    content_id,
    custom,
    effect,
    event_id,
    in_utc,
    in_zone,
    json_body,
    moment_of,
    person_key,
    profile,
    read_each,
    source_time,
    unreadable,
    word_of,
)
from service.sources.proofs import decimal_time, proven, recent, the_digest

BODY_BYTES_MIN = ORDINARY_BYTES
KINDS: Mapping[str, Kind] = {}
NAMES = ("external_id", "user_name", "email")
DAY_CHARS = len("2026-03-06")
TOLERANCE_MAX = timedelta(days=7)

greet, keys_at, answer, refuse = no_greeting, no_keys, ok, problem


def _kind(found: object) -> Kind:
    try:
        return Kind(str(found))
    except ValueError as error:
        msg = f"allowed: {', '.join(Kind)}"
        raise ValueError(msg) from error


def _field(found: str) -> str:
    if found not in PERSON_FIELDS or found == "custom":
        msg = f"allowed: {', '.join(name for name in PERSON_FIELDS if name != 'custom')}"
        raise ValueError(msg)
    return found


def _tolerance(found: timedelta) -> timedelta:
    if not timedelta(0) < found <= TOLERANCE_MAX:
        msg = "allowed: more than none and at most 7d"
        raise ValueError(msg)
    return found


class Options(OwnOptions):
    """How a vendor signs, and what its words and fields are."""

    header: HeaderName
    """The header that has the signature, in lower case."""
    algorithm: seals.Algorithm = "sha256"
    """``sha256``, ``sha512`` or ``sha1``."""
    encoding: seals.Encoding = "hex"
    """How the signature is written: ``hex``, ``base64`` or ``base64url``."""
    prefix: Annotated[str, Field(max_length=64)] = ""
    """What stands before it, as in ``sha256=``."""
    part: Annotated[str, Field(pattern=r"^\w{1,32}$")] | None = None
    """Which part of a header of the form ``t=1,v1=a`` is the signature: ``v1``."""
    timestamp_part: Annotated[str, Field(pattern=r"^\w{1,32}$")] | None = None
    """Which part of it is the time: ``t``."""
    separator: Annotated[str, Field(pattern=r"^[,; ]$")] = ","
    """What stands between the parts: a comma, a semicolon or a space."""
    signed: seals.SignedTemplate = seals.template("{body}")
    """What is signed: text with ``{body}``, ``{timestamp}``, ``{id}`` and ``{method}`` in it."""
    timestamp_header: HeaderName | None = None
    """The header that has the time, where it is no part of the signature's."""
    timestamp_unit: seals.TimeUnit = "seconds"
    """How the time is written: ``seconds`` or ``milliseconds`` since 1970, or ``iso``."""
    tolerance: Annotated[Duration, AfterValidator(_tolerance)] = timedelta(minutes=5)
    """How far a signed time may be from now, either way."""
    id_header: HeaderName | None = None
    """The header that has the id, where that is signed too."""
    secret_encoding: seals.SecretEncoding = "text"  # noqa: S105 - the name of an encoding
    """How a secret is written: the key itself as ``text``, or ``base64`` or ``hex`` of it."""
    secret_prefix: Annotated[str, Field(max_length=64)] = ""
    """What a secret starts with that is not part of the key."""
    events: JmesPath | None = None
    """Query for a list of events in the body; all others then look into each. Without it the body is one event."""
    kind: JmesPath
    """Query for the vendor's word for what happened."""
    kinds: Annotated[
        dict[Annotated[str, Field(min_length=1, max_length=128)], Annotated[Kind, BeforeValidator(_kind)]],
        Field(min_length=1, max_length=200),
    ]
    """The vendor's words, and ours: ``joiner``, ``mover``, ``leaver`` or ``changed``."""
    id: JmesPath | None = None
    """Query for the event's id. Where none is found it is made of the content, for which ``time`` must be in it."""
    time: JmesPath | None = None
    """Query for when it happened: ISO 8601, or seconds or milliseconds since 1970. Without it, as signed, or now."""
    effective: JmesPath | None = None
    """Query for when it takes effect: the same, or a date. Without it, at once."""
    effective_by_day: bool = False
    """Whether only the day of that counts, whatever time and zone stand behind it."""
    person: Annotated[dict[Annotated[str, AfterValidator(_field)], JmesPath], Field(min_length=1)]
    """Queries for the fields of the person."""
    custom: Annotated[
        dict[Annotated[str, Field(pattern=r"^\w{1,64}$")], JmesPath],
        Field(max_length=50),
    ] = Field(default_factory=dict)
    """Queries for custom fields: texts, numbers, booleans and lists of texts."""

    @model_validator(mode="after")
    def _check(self) -> "Options":
        headers = [name for name in (self.header, self.timestamp_header, self.id_header) if name is not None]
        stamps = [name for name in (self.timestamp_header, self.timestamp_part) if name is not None]
        faults = {
            "header, timestamp_header and id_header: each another": len(headers) != len(set(headers)),
            "timestamp_part: only with part": self.timestamp_part and not self.part,
            "timestamp_header or timestamp_part: one of them where signed has {timestamp}, else neither": (
                len(stamps) != self.signed.names.count("timestamp")
            ),
            "id_header: where signed has {id}, and only there": ("id" in self.signed.names) != bool(self.id_header),
            f"person: one of {', '.join(NAMES)} at least": not self.person.keys() & set(NAMES),
            "id, id_header or time: one of them, unless every kind is changed; else two alike are taken for one": (
                not (self.id or self.id_header or self.time) and set(self.kinds.values()) != {Kind.CHANGED}
            ),
        }
        for fault, is_there in faults.items():
            if is_there:
                raise ValueError(fault)
        return self


def assurance(setup: Setup) -> Assurance:
    """Return that the body is signed, and the time where it is."""
    options: Options = setup.options
    return Assurance.SIGNED_BODY_WITH_TIME if "timestamp" in options.signed.names else Assurance.SIGNED_BODY


def check(setup: Setup) -> None:
    """Raise ValueError unless each secret is written as the options say."""
    options: Options = setup.options
    if not setup.secrets:
        msg = "one secret at least"
        raise ValueError(msg)
    for secret in setup.secrets:
        seals.key(secret, options.secret_encoding, options.secret_prefix)


def verify(notice: Notice, setup: Setup, now: datetime) -> str:
    """Check the signature over what is signed: every secret is tried on every signature, without an early exit."""
    options: Options = setup.options
    given = seals.given(options, notice.headers)
    signed = _signed(options, notice, given.stamp)
    wanted = {secret: seals.digest(options, secret, signed).encode() for secret in setup.secrets}
    found = [the_digest(digest, wanted) for digest in given.digests]
    if "timestamp" in options.signed.names:
        recent(_sent_at(options, given.stamp, setup.timezone), now, options.tolerance)
    return proven(next(filter(None, found), None), f"the {options.header} header")


def read(notice: Notice, setup: Setup, now: datetime) -> Reading:
    """Return the events that the queries find; those of words that are not mapped are left out."""
    options: Options = setup.options
    document = json_body(notice.body)
    if options.events is None:
        told = _event(document, notice, setup, now)
        return Reading((told,)) if isinstance(told, Event) else Reading((), (told,))
    found = options.events.find(document)
    if not isinstance(found, list):
        raise Unreadable("events: no list is there", reason="unreadable")
    return read_each(found, lambda entry: _event(entry, notice, setup, now))


def sign(notice: Notice, setup: Setup, now: datetime) -> Notice:
    """Sign as the vendor does: a message that has an id keeps it. Raises ValueError without a key."""
    options: Options = setup.options
    headers = {**notice.headers, "content-type": "application/json"}
    if options.id_header is not None:
        headers[options.id_header] = headers.get(options.id_header) or uuid4().hex
    notice = notice._replace(headers=headers)
    stamp = seals.stamp_of(options, now)
    made = seals.digest(options, setup.secrets[0], _signed(options, notice, stamp))
    return notice._replace(headers={**headers, **seals.sealed(options, made, stamp)})


def _signed(options: Options, notice: Notice, stamp: str) -> bytes:
    message_id = notice.headers.get(options.id_header, "") if options.id_header else ""
    return seals.signed(options, notice.body, timestamp=stamp, id=message_id, method=notice.method)


def _sent_at(options: Options, stamp: str, zone: str) -> datetime | None:
    if options.timestamp_unit != "iso":
        return decimal_time(stamp, milliseconds=options.timestamp_unit == "milliseconds")
    try:
        return in_utc(in_zone(datetime.fromisoformat(stamp), zone))
    except (ValueError, Unreadable):
        return None


def _event(document: object, notice: Notice, setup: Setup, now: datetime) -> Event | str:
    options: Options = setup.options
    word = word_of("kind", options.kind.find(document))
    if word not in options.kinds:
        return word
    kind = options.kinds[word]
    told = {name: query.find(document) for name, query in options.person.items()}
    person = profile(**told, custom=custom({name: query.find(document) for name, query in options.custom.items()}))
    try:
        return Event(
            id=_id(document, kind, notice, setup, now),
            source=setup.name,
            kind=kind,
            person=person_key(person),
            profile=person,
            occurred_at=source_time(_occurred_at(document, notice, setup) or now, now),
            received_at=now,
            vendor_kind=word,
            **effect(_effective(document, options)),
        )
    except ValidationError as error:
        raise unreadable(error) from error


def _occurred_at(document: object, notice: Notice, setup: Setup) -> datetime | None:
    options: Options = setup.options
    told = moment_of("time", options.time.find(document)) if options.time else None
    if told is not None:
        return in_zone(told, setup.timezone)
    if "timestamp" not in options.signed.names:
        return None
    return _sent_at(options, seals.given(options, notice.headers).stamp, setup.timezone)


def _effective(document: object, options: Options) -> date | None:
    found = options.effective.find(document) if options.effective else None
    if isinstance(found, str) and found and (options.effective_by_day or len(found) == DAY_CHARS):
        try:
            return date.fromisoformat(found[:DAY_CHARS])
        except ValueError as error:
            raise Unreadable("effective: no date is there", reason="time") from error
    return moment_of("effective", found)


def _id(document: object, kind: Kind, notice: Notice, setup: Setup, now: datetime) -> str:
    """Return the id that was sent, else one made of the content. Raises Unreadable.

    Without an id and a time a later event may be the same in all else: one that only looks again is taken for another
    in each second, and any other could be taken for a repeat.
    """
    options: Options = setup.options
    found = options.id.find(document) if options.id else None
    # JSON's null, an empty text, false and nought are what stands where no id is.
    if found not in (None, "", 0):
        return event_id(word_of("id", found))
    try:
        content = json.dumps(document, sort_keys=True)
    except RecursionError as error:
        raise Unreadable("the body is nested too deep", reason="unreadable") from error
    given = notice.headers.get(options.id_header, "").strip() if options.id_header else ""
    if given:
        return event_id(given) if options.events is None else content_id(given, content)
    if options.time and moment_of("time", options.time.find(document)) is not None:
        return content_id(content)
    if kind is Kind.CHANGED:
        return arrival_id(now, content)
    raise Unreadable("neither an id nor a time is there: a repeat could not be told from another", reason="event_id")
