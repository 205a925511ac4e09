"""``gatepost.toml``: read once, checked whole, typed; every secret by reference.

Each fault becomes one line, see ``lifecycle.faults``. Names of adapters are checked by the registries that hold them,
in ``service`` and ``workers``.
"""

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, model_validator

from lifecycle.addresses import Forbidden, check_url
from lifecycle.directory import Directory
from lifecycle.errors import Misconfigured
from lifecycle.event import OPERATOR, OURSELVES
from lifecycle.faults import told
from lifecycle.fields import Duration, HttpUrl, Name, OpenSection, RedisUrl, Section, Zone
from lifecycle.policy import Policy
from lifecycle.safety import Safety
from lifecycle.secrets import Secret
from lifecycle.ssf.section import Ssf
from lifecycle.ssf.sets import EVENTS_SUPPORTED
from lifecycle.subscriber import SSF_POLL, SSF_PUSH, STANDARD_WEBHOOKS, Subscriber
from lifecycle.target import Target

CONFIG_VARIABLE = "GATEPOST_CONFIG"
CONFIG_DEFAULT = "gatepost.toml"
CONFIG_BYTES_MAX = 1_000_000
SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})
"""Headers whose value is a secret."""


class Redis(Section):
    """Where the state lives."""

    url: RedisUrl = "redis://127.0.0.1:6379/0"


class Service(Section):
    """The receiver."""

    max_body_bytes: Annotated[int, Field(ge=1_024, le=50_000_000)] = 1_000_000
    admin_tokens: list[Secret] = []


class Workers(Section):
    """How many worker processes of each lane ``gatepost up`` runs on this machine."""

    leavers: Annotated[int, Field(ge=1, le=64)] = 1
    lookups: Annotated[int, Field(ge=1, le=64)] = 1
    people: Annotated[int, Field(ge=1, le=64)] = 1
    signals: Annotated[int, Field(ge=1, le=64)] = 1


class Source(OpenSection):
    """A system that tells us; all secrets are accepted, so that one can be rotated.

    All other keys are its adapter's own.
    """

    adapter: str
    secrets: Annotated[list[Secret], Field(max_length=10)] = []
    """The first signs. How many there must be, the adapter knows."""
    timezone: Zone = "UTC"
    """In which its dates without a zone are read, where the person's own is not known."""
    directory: Name | None = None
    """Where the full record of a person of whom it tells can be read."""
    target: Name | None = None
    """The target that it reports of: what is only an echo of our own writing there is ignored."""
    url: HttpUrl | None = None
    """The public address of its hook, for subscriptions and streams that we create."""
    poll: Duration | None = None
    """How often its directory is asked what changed, to fill gaps; zero is never, None the directory's own."""
    silent_after: Duration | None = None
    """After how long without a notice something is wrong."""
    max_body_bytes: Annotated[int, Field(ge=1_024, le=50_000_000)] | None = None
    """The limit for this source alone."""


class Signals(Section):
    """How subscribers are reached, and how what the API keeps of them is sealed."""

    ports: Annotated[list[Annotated[int, Field(ge=1, le=65_535)]], Field(min_length=1, max_length=100)] = [443]
    """The ports at which subscribers may be reached, unless one may be at private addresses."""
    encryption_keys: Annotated[list[Secret], Field(max_length=10)] = []
    """Any of them opens the secrets that the API keeps, the first seals; empty for ``service.admin_tokens``."""


class Config(Section):
    """The whole file."""

    redis: Redis = Redis()
    service: Service = Service()
    workers: Workers = Workers()
    sources: dict[Name, Source] = {}
    targets: dict[Name, Target] = {}
    directories: dict[Name, Directory] = {}
    policy: Policy = Policy()
    safety: Safety = Safety()
    signals: Signals = Signals()
    subscribers: dict[Name, Subscriber] = {}
    ssf: Ssf | None = None

    @model_validator(mode="after")
    def _check(self) -> "Config":
        """Check each name that one section has of another."""
        named: list[tuple[str, str | None, Iterable[str]]]
        named = [(f"sources.{name}.directory", each.directory, self.directories) for name, each in self.sources.items()]
        named += [(f"sources.{name}.target", each.target, self.targets) for name, each in self.sources.items()]
        named += [("policy.precedence", name, self.sources) for name in self.policy.precedence]
        named += [(f"policy.authority.{field}", name, self.sources) for field, name in self.policy.authority.items()]
        named += [
            (f"ssf.receivers.{name}.targets", target, self.targets)
            for name, each in (self.ssf.receivers.items() if self.ssf else ())
            for target in each.targets or ()
        ]
        if ours := self.sources.keys() & {OPERATOR, OURSELVES}:
            msg = f"sources.{min(ours)}: this name is ours; allowed: any other"
            raise ValueError(msg)
        for key, name, known in named:
            if name is not None and name not in known:
                msg = f"{key}: found {name!r}; allowed: {', '.join(known) or 'nothing, for none is configured'}"
                raise ValueError(msg)
        return self

    @property
    def tells_values(self) -> bool:
        """Whether anybody is told the values of changed attributes, and not only their names."""
        shapes = [*self.subscribers.values(), *(self.ssf.receivers.values() if self.ssf else ())]
        return any(each.provisioning == "full" for each in shapes)

    def faults_of_subscribers(self) -> Iterator[str]:
        """Yield a line for each subscriber of the file that does not fit the other sections."""
        for name, each in self.subscribers.items():
            for header in each.headers:
                if header.lower() in SECRET_HEADERS and isinstance(each.headers[header], str):
                    yield f"subscribers.{name}.headers.{header}: a literal is refused; allowed: env:NAME or file:PATH"
            try:
                self.check_subscriber(f"subscribers.{name}.", each)
            except ValueError as error:
                yield str(error)

    def check_subscriber(self, where: str, each: Subscriber) -> None:
        """Check a subscriber, whoever made it, against the other sections. Raises ValueError that names the key."""
        if each.format == SSF_POLL:
            allowed = f"{STANDARD_WEBHOOKS}, {SSF_PUSH}: who polls is one of ssf.receivers"
            msg = f"{where}format: found {SSF_POLL!r}; allowed: {allowed}"
            raise ValueError(msg)
        if each.format == SSF_PUSH and self.ssf is None:
            msg = f"{where}format: {SSF_PUSH} needs [ssf] with issuer and signing_keys"
            raise ValueError(msg)
        try:
            check_url(each.url, allow_private=each.allow_private, ports=self.signals.ports)
        except Forbidden as error:
            msg = f"{where}url: {error}"
            raise ValueError(msg) from error
        for uri in sorted(set(each.set_events or ()) - set(EVENTS_SUPPORTED)):
            msg = f"{where}set_events: found {uri!r}; allowed: {', '.join(EVENTS_SUPPORTED)}"
            raise ValueError(msg)
        for target in sorted(set(each.targets or ()) - self.targets.keys()):
            allowed = ", ".join(self.targets) or "nothing, for none is configured"
            msg = f"{where}targets: found {target!r}; allowed: {allowed}"
            raise ValueError(msg)


def config_path(given: str | None = None) -> Path:
    """Return the file to read: the one given, else ``$GATEPOST_CONFIG``, else ``./gatepost.toml``."""
    return Path(given or os.environ.get(CONFIG_VARIABLE) or CONFIG_DEFAULT)


def load(path: Path) -> Config:
    """Read and check the file. Raises Misconfigured with one line a fault."""
    try:
        with path.open("rb") as file:
            found = file.read(CONFIG_BYTES_MAX + 1)
        raw = tomllib.loads(found[:CONFIG_BYTES_MAX].decode())
    except OSError as error:
        raise Misconfigured([f"{path}: cannot be read ({error.strerror}); name a file by --config"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured([f"{path}: not TOML: {error}"]) from error
    if len(found) > CONFIG_BYTES_MAX:
        raise Misconfigured([f"{path}: larger than {CONFIG_BYTES_MAX} bytes"])
    return parse(raw, path.resolve().parent)


def parse(raw: Mapping[str, Any], base: Path) -> Config:
    """Check what a file holds; secrets by ``file:`` are read relative to ``base``. Raises Misconfigured."""
    found = told(lambda: Config.model_validate(raw, context={"base": base}), Config)
    if lines := list(found.faults_of_subscribers()):
        raise Misconfigured(lines)
    return found


Own = TypeVar("Own", bound=Section)


def own_options(where: str, section: OpenSection, model: type[Own]) -> Own:
    """Return the keys of a section that are its adapter's own. Raises Misconfigured, as for the file."""
    beside = tuple(type(section).model_fields)
    return told(lambda: model.model_validate(section.own, context={"base": section.base}), model, where, beside)


def check_adapters(section: str, adapters: Mapping[str, str], known: Iterable[str]) -> None:
    """Raise Misconfigured unless each entry of a section names a known adapter."""
    allowed = ", ".join(sorted(known))
    lines = [
        f"{section}.{name}.adapter: found {adapter!r}; allowed: {allowed}"
        for name, adapter in adapters.items()
        if adapter not in known
    ]
    if lines:
        raise Misconfigured(lines)
