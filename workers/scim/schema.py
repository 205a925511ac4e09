"""The attributes that a target says its accounts have (RFC 7643 section 7). Pure.

A stranger's document: whatever it holds, what can be read of it is read, within bounds, and the rest is not told.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lifecycle.paths import CORE_SCHEMA, Path

ATTRIBUTES_MAX, SUBS_MAX, CANONICAL_MAX, CHARS_MAX = 500, 100, 500, 200
TYPES = ("string", "boolean", "decimal", "integer", "dateTime", "reference", "binary", "complex")
MUTABILITIES = ("readOnly", "readWrite", "immutable", "writeOnly")
# RFC 7643 has no length; servers that do tell one were seen to call it so.
LENGTHS = ("maxlength", "max_length")


@dataclass(frozen=True)
class Attribute:
    """One attribute as ``/Schemas`` describes it; names compare without case."""

    name: str
    type: str = "string"
    multi_valued: bool = False
    mutability: str = "readWrite"
    case_exact: bool = False
    canonical: tuple[str, ...] = ()
    chars_max: int | None = None
    subs: Mapping[str, "Attribute"] = field(default_factory=dict)
    """Sub-attributes by name in lower case."""


@dataclass(frozen=True)
class Schema:
    """The attributes of accounts: by URN in lower case, then by name in lower case; the core's URN is empty."""

    attributes: Mapping[str, Mapping[str, Attribute]] = field(default_factory=dict)

    def holder(self, path: Path) -> Attribute | None:
        """Return the attribute that a path leads into, its sub-attribute aside; None where the target does not tell."""
        return self.attributes.get((path.urn or "").lower(), {}).get(path.name.lower())

    def at(self, path: Path) -> Attribute | None:
        """Return the attribute, or sub-attribute, that a path leads to; None where the target does not tell."""
        found = self.holder(path)
        return found.subs.get(path.sub.lower()) if found and path.sub else found


def read_schema(documents: Iterable[Mapping[str, Any]], core: str = CORE_SCHEMA) -> Schema:
    """Return what schema documents tell of accounts; ``core`` is the schema that they have without a prefix."""
    found: dict[str, Mapping[str, Attribute]] = {}
    for document in documents:
        fields = _lower(document)
        urn = fields.get("id")
        if isinstance(urn, str) and isinstance(fields.get("attributes"), list):
            found["" if urn.lower() == core.lower() else urn.lower()] = _attributes(fields["attributes"])
    return Schema(found)


def truth(value: Any) -> bool | None:  # noqa: ANN401 - JSON
    """Return a boolean, also where it is written as a text; None for anything else."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower())
    return value if isinstance(value, bool) else None


def _attributes(entries: list[Any], *, subs: bool = True) -> dict[str, Attribute]:
    found = {}
    for entry in entries[: ATTRIBUTES_MAX if subs else SUBS_MAX]:
        fields = _lower(entry) if isinstance(entry, Mapping) else {}
        name = fields.get("name")
        if isinstance(name, str) and 0 < len(name) <= CHARS_MAX:
            found[name.lower()] = _attribute(name, fields, subs=subs)
    return found


def _attribute(name: str, fields: Mapping[str, Any], *, subs: bool) -> Attribute:
    inner = fields.get("subattributes")
    return Attribute(
        name=name,
        type=_one_of(TYPES, fields.get("type")),
        multi_valued=truth(fields.get("multivalued")) or False,
        mutability=_one_of(MUTABILITIES, fields.get("mutability"), default="readWrite"),
        case_exact=truth(fields.get("caseexact")) or False,
        canonical=_canonical(fields.get("canonicalvalues")),
        chars_max=_chars_max(fields),
        # A sub-attribute has none of its own (RFC 7643 section 2.3.8).
        subs=_attributes(inner, subs=False) if subs and isinstance(inner, list) else {},
    )


def _one_of(known: tuple[str, ...], found: Any, default: str | None = None) -> str:  # noqa: ANN401 - JSON
    """Return a word in the RFC's spelling; one that it does not have is kept, so that nothing is made of it."""
    if not isinstance(found, str):
        return default or known[0]
    return next((word for word in known if word.lower() == found.lower()), found[:CHARS_MAX])


def _canonical(found: Any) -> tuple[str, ...]:  # noqa: ANN401 - JSON
    """Return the canonical values; where there are too many or odd ones to be kept, none: half of them would refuse."""
    if not isinstance(found, list) or len(found) > CANONICAL_MAX:
        return ()
    return tuple(found) if all(isinstance(each, str) and len(each) <= CHARS_MAX for each in found) else ()


def _chars_max(fields: Mapping[str, Any]) -> int | None:
    told = (fields.get(name) for name in LENGTHS)
    return next((each for each in told if isinstance(each, int) and not isinstance(each, bool) and each > 0), None)


def _lower(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name).lower(): value for name, value in fields.items()}
