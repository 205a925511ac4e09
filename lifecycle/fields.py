"""The types that the sections of ``gatepost.toml`` are made of."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints

from lifecycle.expressions import Expression, compile_expression

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Words = Annotated[str, StringConstraints(min_length=1)]


def _compiled(found: object) -> Expression:
    if isinstance(found, Expression):
        return found
    if not isinstance(found, str):
        msg = "a CEL expression is a text"
        raise ValueError(msg)  # noqa: TRY004 - pydantic turns ValueError, not TypeError, into a fault
    return compile_expression(found)


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
Cel = Annotated[Expression, BeforeValidator(_compiled)]


class Section(BaseModel):
    """A table of the file: closed, frozen and strict, so that a typing error is found at the start."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)
