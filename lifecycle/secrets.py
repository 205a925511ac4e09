"""Secrets by reference, ``env:NAME`` or ``file:PATH``: a literal would end up in version control."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, PlainValidator, ValidationInfo
from pydantic_core import CoreSchema, core_schema

SECRET_BYTES_MAX = 65_536


@dataclass(frozen=True)
class Secret:
    """A secret that prints as its reference; ``value`` is the secret itself."""

    reference: str
    value: str = field(repr=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let a model hold a Secret that is written as a reference."""
        return core_schema.with_info_plain_validator_function(_resolve)


def _text_or_secret(found: Any, info: ValidationInfo) -> "str | Secret":  # noqa: ANN401 - whatever the file holds
    if isinstance(found, str) and not found.startswith(("env:", "file:")):
        return found
    return _resolve(found, info)


TextOrSecret = Annotated[str | Secret, PlainValidator(_text_or_secret)]
"""A text as it is, or a secret by reference."""


def _resolve(found: Any, info: ValidationInfo) -> Secret:  # noqa: ANN401 - whatever the file holds
    if isinstance(found, Secret):
        return found
    scheme, _, name = found.partition(":") if isinstance(found, str) else ("", "", "")
    if scheme == "env" and name:
        return Secret(
            found,
            _required(
                os.environ.get(name, "").strip(),
                f"the environment has no {name}; allowed: the name of a variable that is set",
            ),
        )
    if scheme == "file" and name:
        base = (info.context or {}).get("base", Path())
        return Secret(found, _required(_text(base / name), f"{name} is empty; allowed: a file that holds the secret"))
    msg = "a literal is refused; allowed: a reference, env:NAME or file:PATH"
    raise ValueError(msg)


def _required(value: str | None, fault: str) -> str:
    if not value:
        raise ValueError(fault)
    return value


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(SECRET_BYTES_MAX).strip()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"the file cannot be read ({type(error).__name__}); allowed: a file that holds the secret"
        raise ValueError(msg) from error
