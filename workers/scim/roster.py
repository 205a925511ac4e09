"""A group's members: put some in and take some out, in the dialect that the target understands.

By the book that is one PATCH (RFC 7644 section 3.5.2): ``add`` with a list, ``remove`` with a filter. Entra, Salesforce
and django-scim2 remove by ``path: members`` with a value instead, which by the book removes everybody: only a profile
selects it, never a guess. Where PATCH is refused the group is read, merged and PUT with all that came back.
"""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote

from lifecycle.errors import Refused
from workers.http import Answer
from workers.resource import Operation, attribute
from workers.scim.answers import Next, failure, parse, scim_type, verdict
from workers.scim.client import BAD_REQUEST, NO_CONTENT, NOT_FOUND, NOT_IMPLEMENTED, OK, Client, Conversation, version
from workers.scim.exclusive import busy

GROUPS = "Groups"
GROUP_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:Group"
FORBIDDEN, NOT_ALLOWED, CONFLICT, PRECONDITION_FAILED = 403, 405, 409, 412
# 404 for the method too, as some frameworks answer it: whether the group is there, the GET before the PUT tells.
REFUSALS = {BAD_REQUEST, NOT_FOUND, NOT_ALLOWED, CONFLICT, PRECONDITION_FAILED, NOT_IMPLEMENTED}
SUCCESS = {OK, NO_CONTENT}
# A group that changes between each read and its PUT is left for later.
PUTS_MAX = 3

Hold = Callable[[], AbstractContextManager[None]]
Item = TypeVar("Item")


class Gone(Refused):
    """The target has no group of this id any more."""


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


@dataclass(frozen=True)
class Roster:
    """One group's members in one attempt; ``hold`` gives its exclusive use, for a PUT."""

    client: Client
    talk: Conversation
    group_id: str
    hold: Hold = nullcontext

    def change(self, moves: Moves, *, careful: bool = False) -> None:
        """Make the change; who is a member already, or no longer, is as good. Raises Gone, Refused or Postponed.

        Carefully is with a read before: some keep two copies of a member that is added twice.
        """
        if careful:
            moves = moves.left(shown_members(self.read()))
        for part in self._parts(moves):
            self._make(part)

    def read(self) -> dict[str, Any]:
        """Return the group as the target shows it. Raises Gone."""
        found = self.client.get(self.talk, GROUPS, self.group_id)
        if found is None:
            raise Gone(f"the target does not know the group {self.group_id!r}", reason="group_missing")
        return dict(found)

    def members(self, group: dict[str, Any]) -> set[str]:
        """Return who is in a group. One that shows nobody is asked for its members alone: it may be hiding them.

        RFC 7643 section 2.5 leaves an empty list out, section 7 lets a server return some attributes on request only.
        """
        shown = shown_members(group)
        if shown is not None:
            return shown
        path = f"/{GROUPS}/{quote(self.group_id, safe='')}?attributes=members"
        answer = self.client.send(self.talk, "GET", path, allow={OK, BAD_REQUEST, FORBIDDEN, NOT_IMPLEMENTED})
        if answer.status != OK:
            raise Refused("the target does not show the members of this group", reason="refused")
        found = parse(answer)
        group["members"] = attribute(found, "members") or []
        return shown_members(group) or set()

    # ---- by PATCH

    def _parts(self, moves: Moves) -> Iterator[Moves]:
        """Return changes of a size that the target takes: AWS 100 members a PATCH, Miro 8,000, others one operation."""
        can = self.talk.can
        if not can.patch or (can.member_remove == "put" and moves.removes):
            kept_for_patch = moves.adds if can.patch else ()
            for adds in _chunks(kept_for_patch, can.member_batch):
                yield Moves(adds, type=moves.type)
            yield replace(moves, adds=() if can.patch else moves.adds)
            return
        together = [(each, "add") for each in moves.adds] + [(each, "remove") for each in moves.removes]
        if not can.one_operation:
            for some in _chunks(together, can.member_batch):
                yield _moves(some, moves.type)
            return
        removes_at_once = can.member_batch if can.member_remove == "value" else 1
        for adds in _chunks(moves.adds, can.member_batch):
            yield Moves(adds, type=moves.type)
        for removes in _chunks(moves.removes, removes_at_once):
            yield Moves(removes=removes)

    def _make(self, part: Moves) -> None:
        if not part:
            return
        if not self.talk.can.patch or (part.removes and self.talk.can.member_remove == "put"):
            self._put(part, None)
            return
        lines = operations(part, by_value=self.talk.can.member_remove == "value")
        answer = self.client.patch(self.talk, GROUPS, self.group_id, lines, allow=REFUSALS)
        if answer.status not in SUCCESS:
            self._refused(part, answer)
        elif part.left(shown_members(parse(answer))) and shown_members(parse(answer)) is not None:
            # Some answer 200 and do nothing; what is shown counts.
            self._put(part, answer)

    def _refused(self, part: Moves, answer: Answer) -> None:
        """Find another way for what was refused, where that is no guess."""
        if part.adds and part.removes:
            self._make(replace(part, removes=()))
            self._make(Moves(removes=part.removes))
            return
        absent = answer.status == BAD_REQUEST and scim_type(answer) == "noTarget" and bool(part.removes)
        if absent and len(part.removes) == 1:
            return
        if answer.status == BAD_REQUEST and part.adds:
            raise failure(answer, datetime.now(UTC))
        if absent or answer.status == CONFLICT:
            self._rest(part, answer)
        else:
            self._put(part, answer)

    def _rest(self, part: Moves, answer: Answer) -> None:
        """Do what a look shows undone: of several, one was there already, or was gone, and that refused them all."""
        shown = shown_members(self.read())
        if shown is None and answer.status == CONFLICT:
            # Members are hidden, and a conflict of an add says that the member is there.
            return
        left = part.left(shown)
        if left and left != part:
            self._make(left)
        elif left:
            self._put(left, answer)

    # ---- by PUT

    def _put(self, part: Moves, refused: Answer | None) -> None:
        """Read, merge, PUT: all that came back but the change (RFC 7644 section 3.5.1)."""
        with self.hold():
            for _ in range(PUTS_MAX):
                group = self.read()
                members = self.members(group)
                left = part.left(members)
                if not left:
                    return
                known = version(group) if self.talk.can.etag else None
                body = replacement(group, left)
                answer = self.client.put(self.talk, GROUPS, self.group_id, body, allow=REFUSALS, version=known)
                if answer.status in SUCCESS:
                    _check(answer, left, members)
                    return
                if verdict(answer, "PUT") is not Next.CHANGED:
                    # The first refusal is the telling one: a PUT was only our second try.
                    raise failure(refused if refused and refused.status not in SUCCESS else answer, datetime.now(UTC))
            raise busy()


def shown_members(group: dict[str, Any]) -> set[str] | None:
    """Return the ids of the members that are shown; None where the attribute is not there at all."""
    found = attribute(group, "members")
    if not isinstance(found, list):
        return None
    return {str(attribute(member, "value")) for member in found}


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
    body = {name: value for name, value in group.items() if value is not None and name.lower() != "meta"}
    body.setdefault(next((name for name in body if name.lower() == "schemas"), "schemas"), [GROUP_SCHEMA])
    name = next((name for name in body if name.lower() == "members"), "members")
    shown = body.get(name) or []
    kept = [member for member in shown if str(attribute(member, "value")) not in moves.removes]
    return {**body, name: kept + moves.entries()}


def _check(answer: Answer, moves: Moves, members: set[str]) -> None:
    """Hold a PUT to its answer, where that shows the members: ours have moved and nobody else has."""
    shown = shown_members(parse(answer))
    if shown is None:
        return
    if moves.left(shown):
        raise Refused(f"the target answers {answer.status} and does not change the members", reason="refused")
    if lost := members - set(moves.removes) - shown:
        raise Refused(f"the target dropped {len(lost)} other members of the group", reason="refused")


def _moves(pairs: Sequence[tuple[str, str]], kind: str | None) -> Moves:
    adds, removes = (tuple(each for each, way in pairs if way == asked) for asked in ("add", "remove"))
    return Moves(adds, removes, kind)


def _chunks(items: Sequence[Item], size: int) -> Iterator[tuple[Item, ...]]:
    for start in range(0, len(items), size):
        yield tuple(items[start : start + size])
