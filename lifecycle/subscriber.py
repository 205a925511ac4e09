"""``[subscribers.NAME]``: a security tool that is told of outcomes, and which signals are for it."""

import re
from typing import Annotated, Final, Literal

import structlog
from pydantic import AfterValidator, Field, model_validator

from lifecycle import signature
from lifecycle.errors import Refused
from lifecycle.fields import HttpUrl, SignalCel, Words
from lifecycle.log import fault
from lifecycle.outbox import Way, line_of
from lifecycle.secrets import Secret, TextOrSecret
from lifecycle.signal import TYPES, Told
from lifecycle.ssf import sets
from lifecycle.ssf.section import Shape

HEADERS_MAX, HEADER_CHARS_MAX = 20, 1_000
SECRETS_MAX = 10
REQUESTS_PER_MINUTE_MAX = 600_000
STANDARD_WEBHOOKS: Final = "standard_webhooks"
SSF_PUSH: Final = "ssf_push"
SSF_POLL: Final = "ssf_poll"

log = structlog.get_logger()

_HEADER_NAME: Final = re.compile(r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")
# What the format writes itself, or what would change whom the request is for and where it ends.
_OURS: Final = frozenset(
    ("host", "content-type", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade", "expect")
)


def _signal_type(found: str) -> str:
    families = {f"{name.partition('.')[0]}.*" for name in TYPES}
    if found not in families and found not in TYPES:
        msg = f"allowed: {', '.join((*TYPES, *sorted(families)))}"
        raise ValueError(msg)
    return found


def _header_name(found: str) -> str:
    if not _HEADER_NAME.match(found) or found.lower() in _OURS or found.lower().startswith("webhook-"):
        msg = f"allowed: the name of a header, but none that we write: {', '.join(sorted(_OURS))}, webhook-*"
        raise ValueError(msg)
    return found


def _header_value(found: str | Secret) -> str | Secret:
    value = found if isinstance(found, str) else found.value
    if not value.isascii() or not value.isprintable() or len(value) > HEADER_CHARS_MAX:
        msg = f"allowed: at most {HEADER_CHARS_MAX} printable ASCII characters"
        raise ValueError(msg)
    return found


SignalType = Annotated[str, AfterValidator(_signal_type)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[TextOrSecret, AfterValidator(_header_value)]
SecretHeader = Annotated[Secret, AfterValidator(_header_value)]


class Subscriber(Shape):
    """A subscriber; the keys of ``Shape`` but ``targets``, and ``audience``, are for Security Event Tokens alone."""

    format: Literal["standard_webhooks", "ssf_push", "ssf_poll"] = STANDARD_WEBHOOKS
    url: HttpUrl
    secrets: Annotated[list[Secret], Field(max_length=SECRETS_MAX)] = []
    """``whsec_`` secrets sign ``v1``, ``whsk_`` keys ``v1a``; all of them sign, so that one can be rotated."""
    token: SecretHeader | None = None
    """The bearer that ``ssf_push`` sends, where the receiver wants one."""
    authorization: SecretHeader | None = None
    """What it sends in ``Authorization`` as it is, in place of a bearer: a stream's own ``authorization_header``."""
    audience: Words | None = None
    """The ``aud`` of its tokens."""
    events: Annotated[list[SignalType], Field(min_length=1)] | None = None
    """The types of signals that it wants; None for all."""
    when: SignalCel | None = None
    """A CEL expression over ``signal``, the body; what it is not true of does not come."""
    set_events: Annotated[list[Words], Field(min_length=1)] | None = None
    """The URIs of the Security Events that it wants; None for all."""
    headers: Annotated[dict[HeaderName, HeaderValue], Field(max_length=HEADERS_MAX)] = {}
    """Headers of its own, as they are or by reference."""
    requests_per_minute: Annotated[int, Field(ge=1, le=REQUESTS_PER_MINUTE_MAX)] | None = None
    """At most so many; None for as many as it takes."""
    allow_private: bool = False
    """Whether it may be at a private address, by ``http://`` and on any port."""

    @model_validator(mode="after")
    def _check(self) -> "Subscriber":
        if len({name.lower() for name in self.headers}) < len(self.headers):
            msg = "headers: allowed: each name once, in whatever letters"
            raise ValueError(msg)
        if self.format == STANDARD_WEBHOOKS:
            self._check_webhooks()
        elif self.audience is None:
            msg = "audience: Field required"
            raise ValueError(msg)
        if self.token and self.authorization:
            msg = "authorization: allowed: token or authorization, not both"
            raise ValueError(msg)
        return self

    def _check_webhooks(self) -> None:
        if not self.secrets:
            msg = "secrets: Field required"
            raise ValueError(msg)
        for secret in self.secrets:
            try:
                signature.signer(secret.value)
            except ValueError as error:
                msg = f"secrets: {secret.reference}: {error}"
                raise ValueError(msg) from error

    def wants(self, signal: Told) -> bool:
        """Tell whether this signal is for it. Raises Refused where ``when`` cannot be evaluated of this signal."""
        if signal.only:
            return True
        family = f"{signal.type.partition('.')[0]}.*"
        typed = self.events is None or signal.type in self.events or family in self.events
        placed = self.targets is None or not signal.target or signal.target in self.targets
        return typed and placed and (self.when is None or self.when.holds(signal))

    def may_hear(self, signal: Told) -> bool:  # noqa: ARG002 - a stream has subjects of which it does not hear
        """Tell whether it may be told of this signal at all, whatever an operator replays."""
        return True

    def ways(self, name: str, signal: Told) -> list[Way]:
        """Return the ways of a signal's items to this subscriber."""
        return [self.way(name, item, line_of(signal, item)) for item in self._items(signal)]

    def way(self, name: str, item: str, line: str) -> Way:
        """Return the way of one item to this subscriber."""
        return Way(item, name, line, self.format == SSF_POLL, self.format != STANDARD_WEBHOOKS)

    def _items(self, signal: Told) -> list[str]:
        return [signal.id] if self.format == STANDARD_WEBHOOKS else sets.items(signal, self, self.set_events)

    def header_values(self) -> dict[str, str]:
        """Return its own headers as they are sent."""
        return {name: found.value if isinstance(found, Secret) else found for name, found in self.headers.items()}


def is_for(name: str, signal: Told) -> bool:
    """Tell whether a signal that is for one subscriber alone, or for all but one, may go to this one."""
    return name != signal.besides and signal.only in {"", name}


def ways_of(name: str, subscriber: Subscriber, signal: Told) -> list[Way]:
    """Return the ways of a signal to a subscriber, none where it does not want it.

    Whatever goes wrong with one subscriber keeps the signal from no other, and no other signal from this one.
    """
    try:
        return subscriber.ways(name, signal) if is_for(name, signal) and _wants(name, subscriber, signal) else []
    except Exception as error:  # noqa: BLE001 - as said; once that is mended it can be replayed
        log.error("signal.fault", subscriber=name, signal=signal.id, **fault(error))  # noqa: TRY400 - its text may hold what is personal
        return []


def _wants(name: str, subscriber: Subscriber, signal: Told) -> bool:
    try:
        return subscriber.wants(signal)
    except Refused as error:
        # Told once too often is better than never.
        log.warning("filter.failed", subscriber=name, type=signal.type, detail=error.message)
        return True
