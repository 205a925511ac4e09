"""The types that the sections of ``gatepost.toml`` are made of."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PrivateAttr,
    StringConstraints,
    ValidationInfo,
)

from lifecycle.expressions import Expression, compile_expression
from lifecycle.filters import SignalExpression, compile_for_signals

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Words = Annotated[str, StringConstraints(min_length=1)]


UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"^(\d{1,6})([smhd])$")


def _duration(found: object) -> timedelta:
    if isinstance(found, timedelta):
        return found
    match = _DURATION.match(found) if isinstance(found, str) else None
    if match is None:
        msg = 'allowed: a number with s, m, h or d, as in "10m"'
        raise ValueError(msg)
    return timedelta(seconds=int(match[1]) * UNITS[match[2]])


def _zone(found: str) -> str:
    try:
        ZoneInfo(found)
    except (KeyError, OSError, ValueError) as error:  # not found, a folder, no name at all
        msg = 'allowed: a name of the IANA time zone database, as in "Europe/Dublin"'
        raise ValueError(msg) from error
    return found


def _beside(found: object, info: ValidationInfo) -> Path:
    if isinstance(found, Path):
        return found
    if not isinstance(found, str) or not found or "\0" in found:
        msg = "a path, as it is or relative to the file"
        raise ValueError(msg)
    base: Path = (info.context or {}).get("base", Path())
    return base / found


def _compiled(found: object) -> Expression:
    if isinstance(found, Expression):
        return found
    if not isinstance(found, str):
        msg = "a CEL expression is a text"
        raise ValueError(msg)  # noqa: TRY004 - pydantic turns ValueError, not TypeError, into a fault
    return compile_expression(found)


def _compiled_for_signals(found: object) -> SignalExpression:
    if isinstance(found, SignalExpression):
        return found
    if not isinstance(found, str):
        msg = "a CEL expression is a text"
        raise ValueError(msg)  # noqa: TRY004 - as above
    return compile_for_signals(found)


def _url(schemes: tuple[str, ...], found: str) -> str:
    parts = urlsplit(found)
    _ = parts.port  # raises ValueError for a number that is no port
    if parts.scheme not in schemes or not (parts.netloc or parts.scheme == "unix"):
        msg = f"a URL that starts with {' or '.join(f'{scheme}://' for scheme in schemes)}"
        raise ValueError(msg)
    if parts.username is not None and parts.scheme in {"http", "https"}:
        msg = "a URL without credentials in it"
        raise ValueError(msg)
    return found


HttpUrl = Annotated[str, AfterValidator(lambda found: _url(("https", "http"), found))]
RedisUrl = Annotated[str, AfterValidator(lambda found: _url(("redis", "rediss", "unix"), found))]
Duration = Annotated[timedelta, BeforeValidator(_duration)]
FilePath = Annotated[Path, BeforeValidator(_beside)]
Zone = Annotated[str, AfterValidator(_zone)]
Cel = Annotated[Expression, BeforeValidator(_compiled)]
SignalCel = Annotated[SignalExpression, BeforeValidator(_compiled_for_signals)]


class Section(BaseModel):
    """A table of the file: closed, frozen and strict, so that a typing error is found at the start."""

    # What was found may be a secret, which no trace may show.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
    )


class OpenSection(Section):
    """A table that has keys of its adapter's own as well: they are kept as found, for the adapter's model to check."""

    model_config = ConfigDict(extra="allow")

    _base: Path = PrivateAttr(default=Path())

    def model_post_init(self, context: Any, /) -> None:  # noqa: ANN401 - pydantic's
        """Keep what paths are relative to."""
        if context:
            self._base = context.get("base", Path())

    @property
    def base(self) -> Path:
        """The folder that paths in it are relative to."""
        return self._base

    @property
    def own(self) -> dict[str, Any]:
        """The keys that are the adapter's own, as found."""
        return dict(self.model_extra or {})
