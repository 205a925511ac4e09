"""``gatepost.toml``: read once, checked whole, typed; every secret by reference.

Each fault becomes one line: the key, what was found, what is allowed. What was found is never shown where a secret
belongs. Names of adapters are checked by the registries that hold them, in ``service`` and ``workers``.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from lifecycle import signature
from lifecycle.errors import Misconfigured
from lifecycle.fields import Cel, HttpUrl, Name, RedisUrl, Section, Words
from lifecycle.nesting import circle
from lifecycle.secrets import Secret
from lifecycle.signal import TYPES
from lifecycle.target import Target

CONFIG_VARIABLE = "GATEPOST_CONFIG"
CONFIG_DEFAULT = "gatepost.toml"
CONFIG_BYTES_MAX = 1_000_000
FOUND_CHARS_MAX = 80

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
    people: Annotated[int, Field(ge=1, le=64)] = 1
    signals: Annotated[int, Field(ge=1, le=64)] = 1


class Source(Section):
    """A system that tells us; all secrets are accepted, so that one can be rotated."""

    adapter: str
    secrets: Annotated[list[Secret], Field(min_length=1, max_length=10)]


class Grant(Section):
    """Groups and roles for everybody of whom ``when`` is true; a group by its display name, or as ``id:...``."""

    when: Cel
    groups: list[Words] = []
    roles: list[Words] = []

    @model_validator(mode="after")
    def _check(self) -> "Grant":
        if not self.groups and not self.roles:
            msg = "groups or roles, or both"
            raise ValueError(msg)
        return self


class Policy(Section):
    """The rules that turn a person into what each target should show."""

    scope: Cel | None = None
    protected: list[str] = []
    grants: list[Grant] = []
    create_groups: bool = False
    """Whether a granted group that a target does not have is created, where its profile allows it."""
    nesting: dict[Words, list[Words]] = {}
    """Groups that other groups are members of: the outer one to the inner ones."""

    @model_validator(mode="after")
    def _check(self) -> "Policy":
        if found := circle(self.nesting):
            msg = f"nesting: {' > '.join(found)}; allowed: groups that do not contain themselves"
            raise ValueError(msg)
        return self

    @property
    def groups(self) -> frozenset[str]:
        """Every group that the policy grants: others are never touched."""
        return frozenset(group for grant in self.grants for group in grant.groups)

    @property
    def roles(self) -> frozenset[str]:
        """Every role that the policy grants: others are never touched."""
        return frozenset(role for grant in self.grants for role in grant.roles)


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
    policy: Policy = Policy()
    subscribers: dict[Name, Subscriber] = {}


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
    if {"secrets", "token", "client_id", "client_secret", "admin_tokens"} & set(where):
        is_reference = isinstance(value, str) and value.startswith(("env:", "file:"))
        return repr(value) if is_reference else "a literal" if isinstance(value, str) else f"a {type(value).__name__}"
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    return _CREDENTIALS.sub("//...@", repr(value))[:FOUND_CHARS_MAX]


def _allowed(fault: Any, where: list[Any]) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    if fault["type"] == "extra_forbidden":
        names = _siblings(where)
        return f"unknown key; allowed: {', '.join(names)}"
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
