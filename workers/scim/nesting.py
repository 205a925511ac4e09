"""Groups in groups, as the policy nests them: RFC 7643 section 4.2 lets a group be a member.

That the policy itself has no circle is checked when it is read. Here it is the target's own memberships that may close
one: a group that contains itself, at whatever distance, gives everybody in it everything around it.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lifecycle.errors import Refused
from workers.resource import attribute
from workers.scim.client import Conversation
from workers.scim.roster import Moves, shown_members

if TYPE_CHECKING:  # groups need this module
    from workers.scim.groups import Groups

# What lies deeper is not worth more of the target's requests.
READS_MAX = 100


def ensure_nesting(talk: Conversation, groups: "Groups", nesting: Mapping[str, Iterable[str]]) -> None:
    """Make each inner group a member of its outer one. Raises Refused where that would close a circle.

    Other members are left as they are: a group that the policy no longer nests stays where it is.
    """
    for outer, inner in sorted(nesting.items()):
        outer_id = groups.find(talk, outer)
        ids = {name: groups.find(talk, name) for name in sorted(inner)}
        roster = groups.roster(talk, outer_id)
        left = Moves(adds=tuple(ids.values()), type="Group").left(shown_members(roster.read()) or set())
        for name, group_id in ids.items():
            if group_id in left.adds and _reaches(talk, groups, group_id, outer_id):
                raise Refused(
                    f"{name!r} is not nested in {outer!r}: on the target it contains that group", reason="group_circle"
                )
        if left:
            roster.change(left)


def _reaches(talk: Conversation, groups: "Groups", start: str, goal: str) -> bool:
    """Tell whether one group contains another, at whatever distance. Raises Refused when it is too far to tell."""
    seen: set[str] = set()
    ahead = [start]
    while ahead:
        group_id = ahead.pop()
        if group_id == goal:
            return True
        if group_id in seen:
            continue
        seen.add(group_id)
        if len(seen) > READS_MAX:
            raise Refused(f"more than {READS_MAX} groups within groups to look through", reason="group_circle")
        ahead += _inner(groups.roster(talk, group_id).read(), goal)
    return False


def _inner(group: Mapping[str, Any], goal: str) -> list[str]:
    """Return the members that are groups: by their type or reference, and the one that is looked for by its id."""
    members = attribute(group, "members")
    return [
        str(attribute(member, "value"))
        for member in (members if isinstance(members, list) else [])
        if str(attribute(member, "type")).lower() == "group"
        or "/groups/" in str(attribute(member, "$ref")).lower()
        or str(attribute(member, "value")) == goal
    ]
