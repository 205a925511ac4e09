"""The attributes that a target says its accounts have (RFC 7643 section 7). Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lifecycle.paths import Path


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
