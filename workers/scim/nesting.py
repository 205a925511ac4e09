"""Groups in groups, as the policy nests them: RFC 7643 section 4.2 lets a group be a member.

That the policy itself has no circle is checked when it is read. Here it is the target's own memberships that may close
one: a group that contains itself, at whatever distance, gives everybody in it everything around it.
"""

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import structlog
from redis import Redis

from lifecycle import keys
from lifecycle.errors import GatepostError, Refused
from workers.resource import attribute
from workers.scim.client import Conversation
from workers.scim.moves import Moves, shown_members

if TYPE_CHECKING:  # groups need this module
    from workers.scim.groups import Groups

# What lies deeper is not worth more of the target's requests.
READS_MAX = 100
# After trouble it is tried again sooner.
AGAIN_SECONDS = 300

log = structlog.get_logger()


class Nest:
    """The nesting that the policy wants of one target, made by one process of the fleet now and then."""

    def __init__(self, redis: Redis, target: str) -> None:
        """Want none yet."""
        self._redis = redis
        self._target = target
        self.wanted: Mapping[str, Iterable[str]] = {}

    def ensure(self, talk: Conversation, groups: "Groups") -> None:
        """Make the nesting, unless it was made of late. No person needs it, so that trouble is logged."""
        if not self.wanted or not self._is_due():
            return
        for outer, inner in sorted(self.wanted.items()):
            try:
                ensure_nesting(talk, groups, {outer: inner})
            except GatepostError as error:
                self._redis.expire(keys.groups_nested(self._target), AGAIN_SECONDS)
                log.warning("groups.not_nested", target=self._target, reason=error.reason, detail=error.message)
                if not isinstance(error, Refused):
                    return

    def _is_due(self) -> bool:
        """Take the leave to nest; what another policy nested is no reason to wait."""
        key, mark = keys.groups_nested(self._target), _mark(self.wanted)
        if self._redis.set(key, mark, nx=True, ex=keys.NESTED_TTL_SECONDS):
            return True
        if self._redis.get(key) == mark.encode():
            return False
        self._redis.set(key, mark, ex=keys.NESTED_TTL_SECONDS)
        return True


def _mark(nesting: Mapping[str, Iterable[str]]) -> str:
    return json.dumps({outer: sorted(inner) for outer, inner in nesting.items()}, sort_keys=True)


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
