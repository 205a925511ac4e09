"""What every source module is made of: a notice in, events out, no I/O.

**Add a source:** capture one request per kind as ``tests/service/sources/fixtures/NAME/KIND.http`` with what must come
out beside it as ``KIND.json``, and as ``source.json`` the secrets that they are signed with and the ack that the
vendor wants; write
``service/sources/NAME.py`` with the names of ``Source`` below, copying the nearest neighbour (shared secret: ``okta``;
signed body: ``merge``; signed body with time: ``standard_webhooks``; signed token: ``ssf``); add one line to
``SOURCES``. The contract test then runs for it and says what is missing. Its docstring is its page of the manual.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, NamedTuple, Protocol

from pydantic import Field

from lifecycle.errors import Rejected, Unavailable, Unsupported
from lifecycle.event import Event, Kind
from lifecycle.fields import Section

ORDINARY_BYTES = 0
"""The BODY_BYTES_MIN of a source whose notices stay small: the service's own limit is enough."""


class Assurance(StrEnum):
    """How far a verified notice can be believed, so that the contract test knows which attacks must fail."""

    NONE = "none"
    """Nothing proves the sender: only what a directory confirms acts."""
    SHARED_SECRET = "shared_secret"  # noqa: S105 - the name of a scheme
    """The sender knows a secret, but neither body nor time are signed: re-read wherever there is a directory."""
    SIGNED_BODY = "signed_body"
    """The body is unchanged, but may be an old one: a repeat is seen by its id or its content."""
    SIGNED_BODY_WITH_TIME = "signed_body_with_time"
    """The body is unchanged and recent."""
    SIGNED_TOKEN = "signed_token"  # noqa: S105 - the name of a scheme
    """A token signed with a private key that is the sender's alone."""


UNSIGNED = frozenset({Assurance.NONE, Assurance.SHARED_SECRET})


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
    headers: Mapping[str, str] = {}


class Greeting(NamedTuple):
    """The answer to a handshake, and the token that it brought, which an operator waits for."""

    answer: Answer
    keep: str | None = None
    """Kept once: who comes second changes nothing and is refused."""


class Reading(NamedTuple):
    """What a notice says."""

    events: tuple[Event, ...]
    """Those that we carry."""
    ignored: tuple[str, ...] = ()
    """The vendor's words for those that we do not."""
    faults: tuple[str, ...] = ()
    """Why some entries of a batch could not be read: the others count, and the notice is set aside as well."""
    upkeep: tuple[str, ...] = ()
    """What the source says of itself, as ``word`` or ``word:value``, for whoever keeps its subscription alive."""


class Counts(NamedTuple):
    """What became of a notice's events, for the answer."""

    accepted: int
    duplicates: int
    ignored: int


class OwnOptions(Section):
    """The keys of ``[sources.NAME]`` that only this source has, each with its docstring; a secret is a reference."""


HeaderName = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]


class HeaderOptions(OwnOptions):
    """The keys of a source whose vendor sends a secret in a header that its customer names."""

    header: HeaderName = "authorization"
    """The header that carries the secret, in lower case."""


class Keys(Protocol):
    """The public keys of a source's issuer, fetched and refreshed outside the way of notices."""

    def find(self, kid: str, now: datetime) -> Any:  # noqa: ANN401 - a public key of the cryptography package
        """Return the key of this id. Raises Unauthentic for one that the issuer does not have.

        Raises Unavailable where that cannot be told now: the keys were never fetched, or not since the id was seen.
        """


class NoKeys:
    """The keys of a source that has none."""

    def find(self, kid: str, now: datetime) -> Any:  # noqa: ANN401, ARG002 - as in Keys
        """Raise Unavailable."""
        raise Unavailable("no keys were fetched yet", reason="keys_missing")


class KeysAt(NamedTuple):
    """Where an issuer publishes its keys: directly, or by the ``jwks_uri`` of a metadata document."""

    url: str
    is_metadata: bool = False
    issuer: str | None = None
    """What the metadata document must say of itself."""


@dataclass(frozen=True)
class Setup:
    """A source as it is configured: all that a module may know besides the notice and the time."""

    name: str
    secrets: tuple[str, ...]
    options: Any = field(default_factory=OwnOptions)
    """Of the class that the module calls ``Options``."""
    keys: Keys = field(default_factory=NoKeys)
    timezone: str = "UTC"
    """In which the vendor's times without a zone are read."""


class Source(Protocol):
    """The names that a source module has."""

    @property
    def KINDS(self) -> Mapping[str, Kind]:  # noqa: N802 - a constant of the module
        """The vendor's words and ours."""

    @property
    def BODY_BYTES_MIN(self) -> int:  # noqa: N802 - a constant of the module
        """How many bytes of a body are read even where the service's limit is lower: what the vendor may send."""

    @property
    def Options(self) -> type[OwnOptions]:  # noqa: N802 - a class of the module
        """The model of the keys that only this source has."""

    def assurance(self, setup: Setup) -> Assurance:
        """Return how far a verified notice can be believed."""

    def check(self, setup: Setup) -> None:
        """Raise ValueError, with what is allowed, when a configured secret cannot be one of this source."""

    def keys_at(self, setup: Setup) -> KeysAt | None:
        """Return where the public keys are; None for a source without."""

    def greet(self, notice: Notice, setup: Setup, now: datetime) -> Greeting | None:
        """Answer a handshake; None when the notice is none. Raises Rejected for a handshake that asks nothing."""

    def verify(self, notice: Notice, setup: Setup, now: datetime) -> str:
        """Return what proved the sender: the secret, or ``kid:ID`` of a key. Constant time over all live secrets.

        Raises Unauthentic, or Unavailable where the keys to tell are not there yet.
        """

    def read(self, notice: Notice, setup: Setup, now: datetime) -> Reading:
        """Return what a verified notice says. Raises Unreadable, and nothing else, whatever the bytes."""

    def answer(self, counts: Counts) -> Answer:
        """Return the source's own kind of 2xx."""

    def refuse(self, error: Rejected) -> Answer | None:
        """Return the source's own kind of 4xx; None for a problem document."""

    def sign(self, notice: Notice, setup: Setup, now: datetime) -> Notice:
        """Return the request as the vendor would send it: with the first secret, at this time. Raises ValueError."""


# What most modules have in common; a module imports these under the name that Source has for them.


def no_greeting(notice: Notice, setup: Setup, now: datetime) -> Greeting | None:  # noqa: ARG001 - as in Source
    """Greet nobody: a source without a handshake sends POST only."""
    if notice.method != "POST":
        raise Unsupported("this source sends POST only", reason="method_not_allowed")
    return None


def no_keys(setup: Setup) -> KeysAt | None:  # noqa: ARG001 - as in Source
    """Have no public keys."""
    return None


def problem(error: Rejected) -> Answer | None:  # noqa: ARG001 - as in Source
    """Refuse by a problem document."""
    return None


def shared_secret(setup: Setup) -> Assurance:  # noqa: ARG001 - as in Source
    """Return that the sender knows a secret, and no more."""
    return Assurance.SHARED_SECRET


def header_secrets(setup: Setup) -> None:
    """Check that each secret fits into a header. Raises ValueError."""
    if not setup.secrets:
        msg = "one secret at least"
        raise ValueError(msg)
    if not all(secret.isprintable() for secret in setup.secrets):
        msg = "a header cannot carry this secret; allowed: printable characters"
        raise ValueError(msg)


def accepted(counts: Counts) -> Answer:
    """Answer 202 with what became of it."""
    return Answer(202, b'{"accepted": %d, "duplicates": %d, "ignored": %d}' % counts, "application/json")


def ok(counts: Counts) -> Answer:  # noqa: ARG001 - as in Source
    """Answer 200 without a body."""
    return Answer(200)
