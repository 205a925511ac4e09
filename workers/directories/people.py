"""From a vendor's object to a person: which of its values is which field, told by JMESPath (https://jmespath.org).

``[directories.NAME.attributes]`` adds to a directory's own mapping, or replaces a line of it: the key is a field of a
person, or ``custom.NAME`` for what has none; the value an expression over the object as the vendor sends it. What the
object does not have is null, and clears.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.parser import ParsedResult
from pydantic import AfterValidator, BeforeValidator, ValidationError

from lifecycle.errors import Refused
from lifecycle.event import PERSON_FIELDS, Profile
from lifecycle.person import CUSTOM, CUSTOM_PREFIX
from workers.directories.base import Record

ID_CHARS_MAX = 64
GROUPS = "groups"
# The id is the adapter's to tell: by it the same person is found again.
OURS = frozenset({"external_id", CUSTOM})
# Nodes of an expression whose first child is read of the object, and the others of what that gave.
INTO = frozenset(
    {"subexpression", "index_expression", "projection", "value_projection", "filter_projection", "flatten", "pipe"}
)


def _compiled(found: object) -> ParsedResult:
    if not isinstance(found, str):
        msg = "allowed: a JMESPath expression, which is a text"
        raise ValueError(msg)  # noqa: TRY004 - pydantic turns ValueError, not TypeError, into a fault
    try:
        return jmespath.compile(found)
    except JMESPathError as error:
        msg = "allowed: a JMESPath expression"
        raise ValueError(msg) from error


def _field(found: str) -> str:
    if found in OURS or not (found in PERSON_FIELDS or found.startswith(CUSTOM_PREFIX)):
        msg = f"allowed: {', '.join(name for name in PERSON_FIELDS if name not in OURS)}, custom.NAME"
        raise ValueError(msg)
    return found


Attributes = dict[Annotated[str, AfterValidator(_field)], Annotated[ParsedResult, BeforeValidator(_compiled)]]


def attributes_of(own: Mapping[str, str], more: Attributes) -> Attributes:
    """Return a directory's mapping with what the configuration adds and replaces."""
    return {name: jmespath.compile(expression) for name, expression in own.items()} | more


def record_of(
    found: Mapping[str, Any], attributes: Attributes, ours: Mapping[str, Any], *, works_here: bool, as_of: datetime
) -> Record:
    """Return what an object says of a person; ``ours`` is what the adapter says of them, the ``external_id`` at least.

    Nothing is said of the groups of somebody who does not work here: they give nothing, and trouble with them must keep
    nobody's access alive. Raises Refused where a value cannot be a person's.
    """
    external_id, told = str(ours["external_id"]), dict(ours)
    for name, expression in attributes.items():
        if name == GROUPS and not works_here:
            continue
        try:
            value = expression.search(found)
        except JMESPathError as error:
            raise unusable(external_id, name) from error
        if name.startswith(CUSTOM_PREFIX):
            told.setdefault(CUSTOM, {})[name.removeprefix(CUSTOM_PREFIX)] = value
        else:
            told[name] = value
    try:
        # As JSON, which cannot hold half a character.
        return Record(Profile.model_validate_json(json.dumps(told)), works_here, as_of)
    except ValidationError as error:
        named = {str(fault["loc"][0]) if fault["loc"] else "the object" for fault in error.errors(include_input=False)}
        raise unusable(external_id, ", ".join(sorted(named))) from error


def unusable(external_id: str, what: str) -> Refused:
    """Return the fault of one record, which its id names."""
    return Refused(f"record {external_id[:ID_CHARS_MAX]}: {what} cannot be a person's", reason="record_unusable")


def status_unknown(external_id: str) -> Refused:
    """Return the fault of a record that does not tell whether the person works here."""
    return Refused(
        f"record {external_id[:ID_CHARS_MAX]}: tells in none of our words whether the person works here",
        reason="status_unknown",
    )


def id_of(found: Mapping[str, Any], name: str = "id") -> str:
    """Return an object's id. Raises Refused where it has none: nobody could be told from another."""
    value = found.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise Refused(f"a record has no {name}", reason="record_unusable")
    return str(value)


def roots(attributes: Attributes) -> list[str]:
    """Return the names of an object's own fields that a mapping reads, for services that send only what is named."""
    found: dict[str, None] = {}
    for expression in attributes.values():
        _add_roots(expression.parsed, found)
    return list(found)


def _add_roots(node: Mapping[str, Any], found: dict[str, None]) -> None:
    if node["type"] == "field":
        found[node["value"]] = None
    inner = node["children"]
    for child in inner[:1] if node["type"] in INTO else inner:
        _add_roots(child, found)


def present(found: Mapping[str, Any], attributes: Attributes) -> Attributes:
    """Return the lines of a mapping that an object says anything of, where what may not be seen is left out."""
    return {name: each for name, each in attributes.items() if any(root in found for root in roots({name: each}))}
