"""What is to change among a group's members, and how SCIM writes it. Pure.

RFC 7644 sections 3.5.1 and 3.5.2, RFC 7643 section 4.2.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from workers.resource import Operation, Resource, attribute

GROUP_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:Group"
# The server gives these (RFC 7643 section 3.1): ignored by the book in a PUT, and refused by some.
NOT_OURS = {"meta", "id"}

Members = list[Any]


@dataclass(frozen=True)
class Moves:
    """Who comes into a group and who leaves it, by id; ``type`` is what the ones that come are."""

    adds: tuple[str, ...] = ()
    removes: tuple[str, ...] = ()
    type: str | None = None

    def __bool__(self) -> bool:
        """Tell whether there is anything to do."""
        return bool(self.adds or self.removes)

    def left(self, members: Collection[str] | None) -> "Moves":
        """Return what is still to do in a group of these members; all of it where they are not known."""
        if members is None:
            return self
        adds = tuple(each for each in self.adds if each not in members)
        return replace(self, adds=adds, removes=tuple(each for each in self.removes if each in members))

    def entries(self) -> list[dict[str, str]]:
        """Return who comes as SCIM writes it (RFC 7643 section 4.2)."""
        return [{"value": each} | ({"type": self.type} if self.type else {}) for each in self.adds]


def of_pairs(pairs: Sequence[tuple[str, str]], kind: str | None) -> Moves:
    """Return the changes of accounts that come, ``add``, or leave, ``remove``."""
    adds, removes = (tuple(each for each, way in pairs if way == asked) for asked in ("add", "remove"))
    return Moves(adds, removes, kind)


def members_in(group: Resource) -> Members | None:
    """Return the members that a group shows; None where it has no such list."""
    found = attribute(group, "members")
    return found if isinstance(found, list) else None


def shown_members(group: Resource) -> set[str] | None:
    """Return the ids of the members that are shown; None where the attribute is not there at all."""
    found = members_in(group)
    return None if found is None else {str(attribute(member, "value")) for member in found}


def operations(moves: Moves, *, by_value: bool) -> list[Operation]:
    """Return the operations of one PATCH; ``by_value`` is the dialect that a profile has to select."""
    lines: list[Operation] = []
    if moves.adds:
        lines.append({"op": "add", "path": "members", "value": moves.entries()})
    if moves.removes and by_value:
        lines.append({"op": "remove", "path": "members", "value": [{"value": each} for each in moves.removes]})
    elif moves.removes:
        lines += [{"op": "remove", "path": f"members[value eq {json.dumps(each)}]"} for each in moves.removes]
    return lines


def replacement(group: dict[str, Any], moves: Moves) -> dict[str, Any]:
    """Return the body that replaces a group: what came back, but for who comes and who leaves."""
    body = {name: value for name, value in group.items() if value is not None and name.lower() not in NOT_OURS}
    body.setdefault(next((name for name in body if name.lower() == "schemas"), "schemas"), [GROUP_SCHEMA])
    name = next((name for name in body if name.lower() == "members"), "members")
    shown = body.get(name) or []
    kept = [member for member in shown if str(attribute(member, "value")) not in moves.removes]
    return {**body, name: kept + moves.entries()}
