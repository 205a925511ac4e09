"""``gatepost.toml``: read once, checked whole, typed; every secret by reference.

Each fault becomes one line: the key, what was found, what is allowed. What was found is never shown where a secret
belongs. Names of adapters are checked by the registries that hold them, in ``service`` and ``workers``.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from lifecycle import signature
from lifecycle.directory import Directory
from lifecycle.errors import Misconfigured
from lifecycle.event import OPERATOR, OURSELVES
from lifecycle.fields import Duration, HttpUrl, Name, OpenSection, RedisUrl, Section, Zone
from lifecycle.policy import Policy
from lifecycle.safety import Safety
from lifecycle.secrets import Secret
from lifecycle.signal import TYPES
from lifecycle.target import Target

CONFIG_VARIABLE = "GATEPOST_CONFIG"
CONFIG_DEFAULT = "gatepost.toml"
CONFIG_BYTES_MAX = 1_000_000
FOUND_CHARS_MAX = 80

SECRET_KEYS = frozenset(
    {
        "secrets",
        "token",
        "client_id",
        "client_secret",
        "client_states",
        "admin_tokens",
        "api_key",
        "private_key",
        "signing_key",
        "credentials",
    }
)
"""What stands there is a reference to a secret, or was meant to be a secret."""

_CREDENTIALS = re.compile(r"//[^/]*@")


def _signal_type(found: str) -> str:
    families = {f"{name.partition('.')[0]}.*" for name in TYPES}
    if found not in families and found not in TYPES:
        msg = f"allowed: {', '.join((*TYPES, *sorted(families)))}"
        raise ValueError(msg)
    return found


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


class Subscriber(Section):
    """A security tool that is told of outcomes; the first secret signs, or all of them during a rotation."""

    format: Literal["standard_webhooks"] = "standard_webhooks"
    url: HttpUrl
    secrets: Annotated[list[Secret], Field(min_length=1, max_length=10)]
    events: Annotated[list[Annotated[str, AfterValidator(_signal_type)]], Field(min_length=1)] | None = None
    allow_private: bool = False

    @model_validator(mode="after")
    def _check(self) -> "Subscriber":
        for secret in self.secrets:
            try:
                signature.key(secret.value)
            except ValueError as error:
                msg = f"secrets: {secret.reference}: {error}"
                raise ValueError(msg) from error
        if urlsplit(self.url).scheme == "http" and not self.allow_private:
            msg = "url: http:// is for private addresses with allow_private = true; allowed: https://"
            raise ValueError(msg)
        return self

    def wants(self, signal_type: str) -> bool:
        """Tell whether this type of signal goes to this subscriber."""
        family = f"{signal_type.partition('.')[0]}.*"
        return self.events is None or signal_type in self.events or family in self.events


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
    subscribers: dict[Name, Subscriber] = {}

    @model_validator(mode="after")
    def _check(self) -> "Config":
        """Check each name that one section has of another."""
        named: list[tuple[str, str | None, Iterable[str]]]
        named = [(f"sources.{name}.directory", each.directory, self.directories) for name, each in self.sources.items()]
        named += [(f"sources.{name}.target", each.target, self.targets) for name, each in self.sources.items()]
        named += [("policy.precedence", name, self.sources) for name in self.policy.precedence]
        named += [(f"policy.authority.{field}", name, self.sources) for field, name in self.policy.authority.items()]
        if ours := self.sources.keys() & {OPERATOR, OURSELVES}:
            msg = f"sources.{min(ours)}: this name is ours; allowed: any other"
            raise ValueError(msg)
        for key, name, known in named:
            if name is not None and name not in known:
                msg = f"{key}: found {name!r}; allowed: {', '.join(known) or 'nothing, for none is configured'}"
                raise ValueError(msg)
        return self


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
    try:
        return Config.model_validate(raw, context={"base": base})
    except ValidationError as error:
        raise Misconfigured([_line(fault) for fault in error.errors()]) from error


Own = TypeVar("Own", bound=Section)


def own_options(where: str, section: OpenSection, model: type[Own]) -> Own:
    """Return the keys of a section that are its adapter's own. Raises Misconfigured, as for the file."""
    try:
        return model.model_validate(section.own, context={"base": section.base})
    except ValidationError as error:
        known = (*type(section).model_fields, *model.model_fields)
        raise Misconfigured([_own_line(fault, where, known) for fault in error.errors()]) from error


def _own_line(fault: Any, where: str, known: Iterable[str]) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    place = [part for part in fault["loc"] if part != "[key]"]
    key = ".".join((where, *map(str, place)))
    is_unknown = fault["type"] == "extra_forbidden" and len(place) == 1
    allowed = f"unknown key; allowed: {', '.join(known)}" if is_unknown else _allowed(fault, place)
    return f"{key}: found {_found(fault, place)}; {allowed}"


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


def _line(fault: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    where = [part for part in fault["loc"] if part != "[key]"]
    key = ".".join(str(part) for part in where) or "the file"
    return f"{key}: found {_found(fault, where)}; {_allowed(fault, where)}"


def _found(fault: Any, where: list[Any]) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    value = fault["input"]
    if fault["type"] == "missing":
        return "nothing"
    if fault["type"] == "extra_forbidden":
        return f"a {type(value).__name__}"  # a misspelt "secrets" may hold a literal one
    if SECRET_KEYS & set(where):
        is_reference = isinstance(value, str) and value.startswith(("env:", "file:"))
        return repr(value) if is_reference else "a literal" if isinstance(value, str) else f"a {type(value).__name__}"
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    return _CREDENTIALS.sub("//...@", repr(value))[:FOUND_CHARS_MAX]


def _allowed(fault: Any, where: list[Any]) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    if fault["type"] == "extra_forbidden":
        return f"unknown key; allowed: {', '.join(_siblings(where))}"
    if fault["type"] == "missing":
        return "required"
    if fault["type"] == "string_pattern_mismatch":
        return f"allowed: a name that matches {fault['ctx']['pattern']}"
    message = str(fault["msg"]).removeprefix("Value error, ").removeprefix("Input should be ").splitlines()[0]
    message = f"{message[0].lower()}{message[1:]}"
    return message if "allowed:" in message else f"allowed: {message}"


def _siblings(where: list[Any]) -> list[str]:
    """Name the keys that exist at this place, by walking the models along the key."""
    model: Any = Config
    for part in where[:-1]:
        is_model = isinstance(model, type) and issubclass(model, BaseModel)
        model = model.model_fields[str(part)].annotation if is_model else _inner(model)
    return list(model.model_fields)


def _inner(annotation: Any) -> Any:  # noqa: ANN401 - annotations are whatever was written
    """Step from ``dict[str, Model]`` or ``list[Model]`` into the model it holds."""
    return next(found for found in annotation.__args__ if isinstance(found, type) and issubclass(found, BaseModel))
