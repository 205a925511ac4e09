"""OpenID Shared Signals (SSF 1.0): Security Event Tokens by push (RFC 8935), RISC and CAEP, from any transmitter.

Set-up: with ``url`` and ``stream`` the stream is created and kept alive from here. Else create one at the transmitter,
by its console or API: delivery ``urn:ietf:rfc:8935``, endpoint ``https://HOST/hooks/NAME``, the event types below. Its
answer says what goes into the configuration: ``iss`` is ``issuer``, ``aud`` is ``audience``; an
``authorization_header`` that it was given is the secret (none is needed). Then ask it for a verification event.

Believed is a token that the issuer signed (RS256, 2048 bits or more, unless ``algorithms`` says otherwise), that is
meant for ``audience``, names its key (``kid``), has the type ``secevent+jwt`` but neither ``exp`` nor ``sub``, and is
seven days old at most: a transmitter sends a token again as it was, with its old ``iat``, and a repeat is seen by its
``jti`` for ninety days. Keys are fetched every hour, and at once when a new one is used, so their rotation needs
nobody; an issuer that is away changes nothing for those that are known. To rotate the secret, list the new one before
the old one, update the stream, and take the old one out later.

The subject is ``sub_id``, else ``subject`` in the event as of old: ``email``, ``iss_sub``, ``opaque``, ``account``,
``aliases``, or the ``user`` of a complex one. A ``sub`` counts only of this issuer and of ``subject_issuers``. What is
about a device, a session, a group or a tenant is no event of a person and is left out; a leaver of whom nobody can be
made out, by a telephone number alone for one, is set aside for a human.

``account-disabled`` and ``account-purged`` are leavers, whatever their reason. ``account-enabled`` and
``identifier-changed`` say little, so the person is looked up in ``directory``. Without one a new address is taken from
the event, and who is enabled again must be restored by an operator. ``identifier-recycled`` (an address is somebody
else's now) is counted and matches nobody: it unlinks no one, and the address moves to the new person when a source
says that they have it. CAEP (``session-revoked``, ``credential-change``, ...) and the rest of RISC tell of risk, not of
leaving: they are counted, end no session, and are not handed on to security tools yet.

Order is that of ``event_timestamp``, else ``toe``, else ``iat``; milliseconds are understood. Okta sends only
``session-revoked`` and ``credential-change``. Google's Cross-Account Protection has its metadata at
``/.well-known/risc-configuration`` and ``subject_type`` for ``format``; whether its tokens have a type is not
documented, so set ``untyped`` if they are refused for it, and copy ``issuer`` from the metadata.

Answers: 202 without a body when it is kept; 400 with ``err`` and ``description`` for a token that is not believed; 503
for trouble of ours, keys that could not be fetched included. When it tries again is the transmitter's own choice. A
stream without a call to its management interface for ``inactivity_timeout`` may be stopped, however much it delivers.

https://openid.net/specs/openid-sharedsignals-framework-1_0-final.html
https://openid.net/specs/openid-risc-1_0-final.html
https://openid.net/specs/openid-caep-1_0-final.html
https://www.rfc-editor.org/rfc/rfc8935.html
https://www.rfc-editor.org/rfc/rfc9493.html
"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cached_property
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import uuid4

from pydantic import BeforeValidator, Field, model_validator

from lifecycle.errors import Oversized, Rejected, Unauthentic, Unreadable, Unsupported
from lifecycle.event import Event, Kind, Profile
from lifecycle.fields import HttpUrl, Words
from lifecycle.stream import Stream, metadata_url
from lifecycle.subjects import Reader
from lifecycle.verification import PREFIX, check_state, make_state, seals
from service.sources.base import (
    ORDINARY_BYTES,
    Answer,
    Assurance,
    Counts,
    KeysAt,
    Notice,
    OwnOptions,
    Reading,
    Setup,
    header_secrets,
    no_greeting,
)
from service.sources.documents import AHEAD_MAX, Part, entry, epoch, event_id, profile, source_time
from service.sources.proofs import proven, the_secret
from service.sources.tokens import NO_TYPE, SECURITY_EVENT, Algorithm, Rules, SigningKey, claims_of, signed, verified

BODY_BYTES_MIN = ORDINARY_BYTES
AGE_MAX = timedelta(days=7)

RISC = "https://schemas.openid.net/secevent/risc/event-type/"
SSF = "https://schemas.openid.net/secevent/ssf/event-type/"
DISABLED, PURGED, ENABLED, IDENTIFIER_CHANGED = (
    RISC + name for name in ("account-disabled", "account-purged", "account-enabled", "identifier-changed")
)
KINDS = {
    DISABLED: Kind.LEAVER,
    PURGED: Kind.LEAVER,
    ENABLED: Kind.CHANGED,
    IDENTIFIER_CHANGED: Kind.CHANGED,
}
# Google's is from before there was a framework.
VERIFICATIONS = frozenset({SSF + "verification", RISC + "verification"})
STREAM_UPDATED = SSF + "stream-updated"
STATUSES = frozenset({"enabled", "paused", "disabled"})

# RFC 8935 section 2.4 and SSF 1.0 section 8.1.4.1; what is not here is a request that is none. ``access_denied`` is
# never said: whoever is authentic may send.
ERRS = {
    "algorithm_refused": "invalid_key",
    "key_unnamed": "invalid_key",
    "key_unknown": "invalid_key",
    "key_weak": "invalid_key",
    "signature_wrong": "authentication_failed",
    "secret_wrong": "authentication_failed",
    "issuer_wrong": "invalid_issuer",
    "audience_wrong": "invalid_audience",
    "state_wrong": "invalid_state",
}
INVALID_REQUEST = "invalid_request"

greet = no_greeting


def _as_list(found: object) -> object:
    return [found] if isinstance(found, str) else found


class Options(OwnOptions):
    """The stream, as the transmitter describes it."""

    issuer: Words
    """``iss`` of the stream's configuration, letter by letter."""
    audience: Annotated[list[Words], BeforeValidator(_as_list), Field(min_length=1)]
    """``aud`` of the stream's configuration; of several one is enough."""
    metadata_url: HttpUrl | None = None
    """Where the metadata is, if not at ``/.well-known/ssf-configuration`` of the issuer."""
    jwks_uri: HttpUrl | None = None
    """Where the keys are; the metadata is not asked then."""
    algorithms: list[Algorithm] = Field(default=["RS256"], min_length=1)
    """What a token may be signed with."""
    untyped: bool = False
    """Whether a token may have the type ``JWT`` or none, as before SSF 1.0."""
    subject_issuers: list[Words] = Field(default_factory=list)
    """Other issuers of whose ``sub`` it tells: they must be ids that your directory has for a person."""
    critical_members: list[Words] = Field(default_factory=list)
    """``critical_subject_members`` of the metadata: an event with one of them beside ``user`` is left out."""
    stream: Stream | None = None
    """How the stream is managed, so that it lives on; it is created for ``url`` where there is none."""
    signing_key: SigningKey | None = None
    """Only for samples by ``gatepost send``: a private key in PEM."""
    signing_key_id: Words = "gatepost"
    """Its ``kid``."""

    @model_validator(mode="after")
    def _check(self) -> "Options":
        parts = urlsplit(self.issuer)
        is_url = parts.scheme in {"https", "http"} and bool(parts.netloc)
        if not (is_url or self.metadata_url or self.jwks_uri):
            msg = "allowed: an issuer that is a URL, or else metadata_url or jwks_uri as well"
            raise ValueError(msg)
        return self

    @cached_property
    def rules(self) -> Rules:
        """What a token must be."""
        types = {SECURITY_EVENT, *({"jwt", NO_TYPE} if self.untyped else ())}
        return Rules(
            issuers=frozenset({self.issuer}),
            audiences=frozenset(self.audience),
            algorithms=frozenset(self.algorithms),
            types=frozenset(types),
            expires=False,
            age_max=AGE_MAX,
            forbidden=frozenset({"sub"}),
            leeway=AHEAD_MAX,
        )

    @cached_property
    def keys_at(self) -> KeysAt:
        """Where the keys are."""
        if self.jwks_uri is not None:
            return KeysAt(self.jwks_uri)
        return KeysAt(self.metadata_url or metadata_url(self.issuer), is_metadata=True, issuer=self.issuer)

    @cached_property
    def subjects(self) -> Reader:
        """Whom its subjects are."""
        return Reader.of((self.issuer, *self.subject_issuers), self.critical_members)


class _Set(Part):
    jti: str
    iat: float
    toe: float | None = None
    sub_id: dict[str, Any] | None = None
    events: Annotated[dict[str, Any], Field(min_length=1)]


class _Happened(Part):
    event_timestamp: float | None = None
    subject: dict[str, Any] | None = None
    new_value: Annotated[str | None, Field(alias="new-value")] = None


class _Updated(Part):
    status: str | None = None


def assurance(setup: Setup) -> Assurance:  # noqa: ARG001 - SSF leaves no choice
    """Return that a token is signed with the transmitter's own key."""
    return Assurance.SIGNED_TOKEN


def check(setup: Setup) -> None:
    """Raise ValueError when a secret does not fit into a header; none is needed."""
    if setup.secrets:
        header_secrets(setup)


def keys_at(setup: Setup) -> KeysAt | None:
    """Return where the transmitter's keys are."""
    found: KeysAt = setup.options.keys_at
    return found


def verify(notice: Notice, setup: Setup, now: datetime) -> str:
    """Check the header, if one is agreed on, the token, and the state of a verification that we asked for."""
    options: Options = setup.options
    secret = None
    if setup.secrets:
        secret = proven(the_secret(notice.headers.get("authorization", ""), setup.secrets), "the Authorization header")
    claims, proof = verified(notice.body, setup.keys, now, options.rules)
    _state(claims, setup, now)
    # Whoever rotates the secret wants to know which one is in use; of the keys the issuer knows itself.
    return secret or proof


def _state(claims: Mapping[str, Any], setup: Setup, now: datetime) -> None:
    events = claims.get("events")
    found = [events.get(name) for name in VERIFICATIONS] if isinstance(events, dict) else []
    states = [each.get("state") for each in found if isinstance(each, dict)]
    # Who sends one unasked has none to send.
    ours = seals(setup.secrets, setup.options.issuer)
    if not all(check_state(ours, state, now) for state in states if isinstance(state, str)):
        raise Unauthentic("the state is not one that was asked for", reason="state_wrong")


def read(notice: Notice, setup: Setup, now: datetime) -> Reading:
    """Return the event of a token; several names in one token are names of the same event."""
    told = entry(_Set, claims_of(notice.body))
    event_id(told.jti)
    upkeep = tuple(_upkeep(name, found) for name, found in told.events.items() if _is_upkeep(name))
    carried = [name for name in told.events if name in KINDS]
    ignored = tuple(name for name in told.events if name not in KINDS and not _is_upkeep(name))
    if len(carried) > 1:
        raise Unreadable("a token tells of one event", reason="too_many_events")
    event = _event(told, carried[0], setup, now) if carried else None
    if event is None:
        return Reading((), (*carried, *ignored), upkeep=upkeep)
    return Reading((event,), ignored, upkeep=upkeep)


def answer(counts: Counts) -> Answer:  # noqa: ARG001 - RFC 8935 wants an empty body
    """Answer 202 without a body (RFC 8935 section 2.2)."""
    return Answer(202)


def refuse(error: Rejected) -> Answer | None:
    """Refuse as RFC 8935 section 2.3 wants it; what never was a token is refused as everywhere."""
    if isinstance(error, Unsupported | Oversized):
        return None
    body = {"err": ERRS.get(error.reason, INVALID_REQUEST), "description": error.message}
    return Answer(HTTPStatus.BAD_REQUEST, json.dumps(body).encode(), "application/json", {"content-language": "en"})


def sign(notice: Notice, setup: Setup, now: datetime) -> Notice:
    """Make a token of claims, or of a token's claims, that is issued now. Raises ValueError without a key."""
    options: Options = setup.options
    if options.signing_key is None:
        msg = "signing_key, a private key of the transmitter or of a test"
        raise ValueError(msg)
    claims = {"iss": options.issuer, "aud": options.audience[0], "jti": uuid4().hex, **_claims(notice.body)}
    claims |= {"iat": int(now.timestamp()), "events": _asked_now(claims.get("events"), setup, now)}
    token = signed(
        json.dumps(claims).encode(),
        options.signing_key.value,
        kid=options.signing_key_id,
        typ=SECURITY_EVENT,
        algorithm=options.algorithms[0],
    )
    sent = {"authorization": setup.secrets[0]} if setup.secrets else {}
    headers = {**notice.headers, **sent, "content-type": "application/secevent+jwt"}
    return notice._replace(headers=headers, body=token.encode())


def _claims(body: bytes) -> Mapping[str, Any]:
    """Return the claims of a sample. Raises ValueError."""
    try:
        return claims_of(body)
    except Unreadable:
        found = json.loads(body)
    if not isinstance(found, dict):
        msg = "claims, a JSON object"
        raise ValueError(msg)  # noqa: TRY004 - it is a value of the operator's, like all others
    return found


def _asked_now(events: object, setup: Setup, now: datetime) -> object:
    """Return events with each state that we made made anew: a sample's is over."""
    if not isinstance(events, dict):
        return events
    states = {name: each.get("state") for name, each in events.items() if isinstance(each, dict)}
    ours = [name for name, state in states.items() if isinstance(state, str) and state.startswith(PREFIX)]
    state = make_state(seals(setup.secrets, setup.options.issuer)[0], now)
    return {**events, **{name: {**events[name], "state": state} for name in ours}}


def _is_upkeep(name: str) -> bool:
    return name in VERIFICATIONS or name == STREAM_UPDATED


def _upkeep(name: str, found: object) -> str:
    if name in VERIFICATIONS:
        return "verification"
    status = entry(_Updated, found).status
    if status not in STATUSES:
        raise Unreadable("events.stream-updated.status: allowed: enabled, paused, disabled", reason="unreadable")
    return f"stream-updated:{status}"


def _event(told: _Set, name: str, setup: Setup, now: datetime) -> Event | None:
    """Return the event; None where it is about nobody."""
    happened = entry(_Happened, told.events[name])
    subject = told.sub_id or happened.subject
    if subject is None:
        raise Unreadable("neither sub_id nor subject: the event is about nobody", reason="person_unnamed")
    names = setup.options.subjects.names(subject)
    if names is None:
        return None
    known = profile(**names)
    person = known.key()
    if person is None:
        _nobody(KINDS[name])
        return None
    # The subject is still known by the old value.
    changed = known if name != IDENTIFIER_CHANGED else _with_new(known, happened.new_value)
    moment = next(each for each in (happened.event_timestamp, told.toe, told.iat) if each is not None)
    return Event(
        id=told.jti,
        source=setup.name,
        kind=KINDS[name],
        person=person,
        profile=changed,
        occurred_at=source_time(epoch(moment), now),
        received_at=now,
        vendor_kind=name,
    )


def _nobody(kind: Kind) -> None:
    """Pass over what is known by a telephone number alone, or by an id of somebody else's; but no leaver.

    Raises Unreadable: a human must see that one.
    """
    if kind is Kind.LEAVER:
        words = "the subject has no address and no id of issuer or subject_issuers: nobody could be found"
        raise Unreadable(words, reason="person_unnamed")


def _with_new(known: Profile, value: str | None) -> Profile:
    """Return what is known of a person with a new address; another new value is of something that we do not keep."""
    return profile(**{**known.told(), "email": value}) if value and "@" in value else known
