"""What pydantic finds wrong in ``gatepost.toml``, as lines: the key, what was found, what is allowed.

What was found is never shown where a secret belongs, or where one is put by mistake.
"""

import re
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from lifecycle.errors import Misconfigured
from lifecycle.secrets import Secret

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
        "signing_keys",
        "encryption_keys",
        "credentials",
        "authorization",
        # The names of headers and parameters that have a secret: somebody may write down the secret itself.
        "header",
        "headers",
        "parameter",
        "query",
    }
)
"""What stands there is a reference to a secret, or may have been meant to be a secret."""

_CREDENTIALS = re.compile(r"//[^/]*@")

Made = TypeVar("Made")


def told(make: Callable[[], Made], model: type[BaseModel], prefix: str = "", beside: tuple[str, ...] = ()) -> Made:
    """Return what ``make`` validates as a model. Raises Misconfigured with one line a fault.

    ``prefix`` stands before each key, and ``beside`` are the keys that exist next to the model's own.
    """
    try:
        return make()
    except ValidationError as error:
        found = error.errors(include_url=False)
    # Not while the error is handled: it holds what was found, and a trace of a fault of ours would show it.
    raise Misconfigured([_line(fault, model, prefix, beside) for fault in found])


def _line(fault: Any, model: type[BaseModel], prefix: str, beside: tuple[str, ...]) -> str:  # noqa: ANN401 - ErrorDetails
    where = [part for part in fault["loc"] if part != "[key]"]
    key = ".".join([*([prefix] if prefix else []), *map(str, where)]) or "the file"
    return f"{key}: found {_found(fault, where)}; {_allowed(fault, where, model, beside)}"


def _found(fault: Any, where: list[Any]) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    value = fault["input"]
    if fault["type"] == "missing":
        return "nothing"
    if fault["type"] == "extra_forbidden":
        return f"a {type(value).__name__}"  # a misspelt "secrets" may hold a literal one
    if isinstance(value, Secret):
        return value.reference
    if SECRET_KEYS & set(where):
        is_reference = isinstance(value, str) and value.startswith(("env:", "file:"))
        return repr(value) if is_reference else "a literal" if isinstance(value, str) else f"a {type(value).__name__}"
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    return _CREDENTIALS.sub("//...@", repr(value))[:FOUND_CHARS_MAX]


def _allowed(fault: Any, where: list[Any], model: type[BaseModel], beside: tuple[str, ...]) -> str:  # noqa: ANN401 - ErrorDetails
    if fault["type"] == "extra_forbidden":
        known = [*(beside if len(where) == 1 else ()), *_siblings(where, model)]
        return f"unknown key; allowed: {', '.join(known)}"
    if fault["type"] == "missing":
        return "required"
    if fault["type"] == "string_pattern_mismatch":
        return f"allowed: a name that matches {fault['ctx']['pattern']}"
    message = str(fault["msg"]).removeprefix("Value error, ").removeprefix("Input should be ").splitlines()[0]
    message = f"{message[0].lower()}{message[1:]}"
    return message if "allowed:" in message else f"allowed: {message}"


def _siblings(where: list[Any], model: type[BaseModel]) -> list[str]:
    """Name the keys that exist at this place, by walking the models along the key; none where the way is lost."""
    place: Any = model
    for part in where[:-1]:
        fields = place.model_fields if _is_model(place) else {}
        place = _bare(fields[part].annotation if part in fields else next(reversed(get_args(place)), None))
    return list(place.model_fields) if _is_model(place) else []


def _bare(annotation: Any) -> Any:  # noqa: ANN401 - annotations are whatever was written
    """Return ``Model`` of ``Annotated[Model, ...] | None``, and likewise what is a table or a list of models."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        return _bare(next(each for each in get_args(annotation) if each is not NoneType))
    return annotation


def _is_model(found: Any) -> bool:  # noqa: ANN401 - annotations are whatever was written
    return isinstance(found, type) and issubclass(found, BaseModel)
