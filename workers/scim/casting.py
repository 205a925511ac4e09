"""A value as the target's ``/Schemas`` wants it, or a refusal before anything is sent (RFC 7643 sections 2.3, 7). Pure.

A boolean is never a text, a number never a boolean: servers were seen to take ``"False"`` for true. What the target
does not describe is sent as it is. A refusal names the kind of what was found, never the value, which is personal.
"""

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from lifecycle.errors import Refused
from lifecycle.paths import Path
from workers.scim.schema import Attribute, Schema

INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
DECIMAL = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,2})?")
MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})?", re.ASCII)
BOOLEANS = {"true": True, "false": False}
CANONICAL_SHOWN_MAX = 12
KINDS: dict[type, str] = {str: "a text", bool: "a boolean", int: "a number", float: "a number"}


class _Unfit(ValueError):
    """A value does not fit; the sentence says what was found and what is allowed."""


def cast(schema: Schema, path: Path, value: Any) -> Any:  # noqa: ANN401 - SCIM values
    """Return the value as the attribute at a path takes it. Raises Refused when it cannot be.

    None clears, and whatever the schema does not tell of is left as it is. A declared canonical value is returned in
    the target's own spelling, so that it does not differ from what the target shows.
    """
    holder, found = schema.holder(path), schema.at(path)
    try:
        if holder is not None and path.key and value is not None:
            _check_key(holder, path)
        if found is None or value is None:
            return value
        return _one(found, value) if _is_part(path) else _whole(found, value)
    except _Unfit as error:
        raise Refused(f"{path.text}: {error}", reason="value") from error


def check_writable(schema: Schema, path: Path, *, creating: bool) -> None:
    """Raise Refused where the target lets nobody write, or nobody but with the create (mutability ``immutable``).

    For what differs only: repeating such a value is harmless.
    """
    for found in (schema.holder(path), schema.at(path)):
        if found is not None and (found.mutability == "readOnly" or (found.mutability == "immutable" and not creating)):
            when = "" if found.mutability == "readOnly" else " and can be given with the create alone"
            raise Refused(f"{path.text}: the target says that this is {found.mutability}{when}", reason="value")


def _is_part(path: Path) -> bool:
    """Tell whether a path leads into one entry: of it there is one value, however many entries there are."""
    return path.key is not None and path.sub is None


def _check_key(holder: Attribute, path: Path) -> None:
    """Check what a value path picks its entry by: an entry of a type that is not there can never be written."""
    key = holder.subs.get(str(path.key).lower())
    if key is not None and isinstance(path.equals, str):
        _canonical(key, path.equals)


def _whole(attribute: Attribute, value: Any) -> Any:  # noqa: ANN401 - SCIM values
    if not attribute.multi_valued:
        return _one(attribute, value)
    return [_one(attribute, entry) for entry in (value if isinstance(value, list | tuple) else [value])]


def _one(attribute: Attribute, value: Any) -> Any:  # noqa: ANN401 - SCIM values
    convert = CASTS.get(attribute.type)
    return convert(attribute, value) if convert else value


# ---- one kind each


def _boolean(_: Attribute, value: Any) -> bool:  # noqa: ANN401 - a SCIM value
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in BOOLEANS:
        return BOOLEANS[value.strip().lower()]
    raise _unfit(value, "a boolean")


def _integer(_: Attribute, value: Any) -> int:  # noqa: ANN401 - a SCIM value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and INTEGER.fullmatch(value.strip()):
        return int(value)
    raise _unfit(value, "an integer")


def _decimal(_: Attribute, value: Any) -> int | float:  # noqa: ANN401 - a SCIM value
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return value
    if isinstance(value, str) and DECIMAL.fullmatch(value.strip()):
        return float(value)
    raise _unfit(value, "a decimal number")


def _moment(_: Attribute, value: Any) -> str:  # noqa: ANN401 - a SCIM value
    """Check a dateTime: XML Schema's, with a time (RFC 7643 section 2.3.5)."""
    if isinstance(value, str) and MOMENT.fullmatch(value):
        try:
            # Of a fraction Python reads six digits; any number of them is allowed.
            datetime.fromisoformat(re.sub(r"\.\d+", "", value))
        except ValueError:
            pass
        else:
            return value
    raise _unfit(value, "a dateTime such as 2026-03-02T09:00:00Z")


def _text(attribute: Attribute, value: Any) -> str:  # noqa: ANN401 - a SCIM value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _unfit(value, "a text")
    text = str(value)
    if attribute.chars_max is not None and len(text) > attribute.chars_max:
        raise _Unfit(f"found {len(text)} characters, allowed are {attribute.chars_max}")
    return _canonical(attribute, text)


def _canonical(attribute: Attribute, text: str) -> str:
    """Return one of the declared values in its own spelling; letter case does not count unless it is declared to."""
    if not attribute.canonical:
        return text
    fold = str if attribute.case_exact else str.lower
    found = next((each for each in attribute.canonical if fold(each) == fold(text)), None)
    if found is None:
        more = ", ..." if len(attribute.canonical) > CANONICAL_SHOWN_MAX else ""
        allowed = ", ".join(attribute.canonical[:CANONICAL_SHOWN_MAX]) + more
        raise _Unfit(f"the {attribute.name} is none that the target takes; allowed are {allowed}")
    return found


def _complex(attribute: Attribute, value: Any) -> dict[str, Any]:  # noqa: ANN401 - a SCIM value
    if not isinstance(value, Mapping):
        raise _unfit(value, "an object of sub-attributes")
    return {str(name): _part(attribute, str(name), each) for name, each in value.items()}


def _part(attribute: Attribute, name: str, value: Any) -> Any:  # noqa: ANN401 - SCIM values
    found = attribute.subs.get(name.lower())
    if found is None or value is None:
        return value
    try:
        return _whole(found, value)
    except _Unfit as error:
        raise _Unfit(f"{name}: {error}") from error


def _unfit(value: Any, allowed: str) -> _Unfit:  # noqa: ANN401 - a SCIM value
    kind = "a list" if isinstance(value, list | tuple) else "an object" if isinstance(value, Mapping) else None
    return _Unfit(f"found {kind or KINDS.get(type(value), 'something else')}, allowed is {allowed}")


CASTS: dict[str, Callable[[Attribute, Any], Any]] = {
    "boolean": _boolean,
    "integer": _integer,
    "decimal": _decimal,
    "dateTime": _moment,
    "string": _text,
    "reference": _text,
    "binary": _text,
    "complex": _complex,
}
