"""A group's members: put some in and take some out, in the dialect that the target understands.

By the book that is one PATCH (RFC 7644 section 3.5.2): ``add`` with a list, ``remove`` with a filter. Entra, Salesforce
and django-scim2 remove by ``path: members`` with a value instead, which by the book removes everybody: only a profile
selects it, never a guess. Where PATCH is refused the group is read, merged and PUT with all that came back. Where that
is how members leave, a PATCH waits for its turn too: a PUT would undo what was added since its reading.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from lifecycle.errors import Refused
from workers.http import Answer
from workers.scim.answers import Next, failure, parse, scim_type, verdict
from workers.scim.client import BAD_REQUEST, NO_CONTENT, NOT_FOUND, NOT_IMPLEMENTED, OK, Client, Conversation, version
from workers.scim.exclusive import Exclusive, busy
from workers.scim.headcount import GROUPS, hidden_members
from workers.scim.moves import Moves, members_in, of_pairs, operations, replacement, shown_members

NOT_ALLOWED, CONFLICT, PRECONDITION_FAILED = 405, 409, 412
# 404 for the method too, as some frameworks answer it: whether the group is there, the GET before the PUT tells.
REFUSALS = {BAD_REQUEST, NOT_FOUND, NOT_ALLOWED, CONFLICT, PRECONDITION_FAILED, NOT_IMPLEMENTED}
SUCCESS = {OK, NO_CONTENT}
# A group that changes between each read and its PUT is left for later.
PUTS_MAX = 3

Item = TypeVar("Item")


class Gone(Refused):
    """The target has no group of this id any more."""


@dataclass(frozen=True)
class Roster:
    """One group's members in one attempt."""

    client: Client
    talk: Conversation
    group_id: str
    exclusive: Exclusive
    held: bool = False
    """Whether this job has the group's lease already."""

    def change(self, moves: Moves, *, careful: bool = False) -> None:
        """Make the change; who is a member already, or no longer, is as good. Raises Gone, Refused or Postponed.

        Carefully is with a read before: some keep two copies of a member that is added twice.
        """
        if not self.held and self._is_replaced():
            with self._alone() as roster:
                roster.change(moves, careful=careful)
            return
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

    def _read_whole(self) -> dict[str, Any]:
        """Return the group with all its members. Raises Refused where nothing tells who they are."""
        group = self.read()
        if members_in(group) is not None:
            return group
        kept = {name: value for name, value in group.items() if name.lower() != "members"}
        return {**kept, "members": hidden_members(self.client, self.talk, group, self.group_id)}

    # ---- taking turns

    def _is_replaced(self) -> bool:
        """Tell whether members leave this group by PUT, as its profile says or another job found."""
        return not self.talk.can.patch or self.talk.can.member_remove == "put" or self.exclusive.replaces()

    @contextmanager
    def _alone(self) -> Iterator["Roster"]:
        """Hold the group. Raises Postponed while another job does."""
        if self.held:
            yield self
            return
        with self.exclusive.hold(self.group_id, self.talk) as talk:
            yield replace(self, talk=talk, held=True)

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
                yield of_pairs(some, moves.type)
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
        if refused is not None:
            # Before the reading, so that from here on nobody adds beside it.
            self.exclusive.expect_replacing()
        with self._alone() as roster:
            for _ in range(PUTS_MAX):
                answer = roster.put_once(part)
                if answer is None:
                    return
                if verdict(answer, "PUT") is not Next.CHANGED:
                    # The first refusal is the telling one: a PUT was only our second try.
                    raise failure(refused if refused and refused.status not in SUCCESS else answer, datetime.now(UTC))
            raise busy()

    def put_once(self, part: Moves) -> Answer | None:
        """Read, merge and PUT; return the refusal, None where nothing is left to do."""
        group = self._read_whole()
        members = shown_members(group) or set()
        left = part.left(members)
        if not left:
            return None
        known = version(group) if self.talk.can.etag else None
        body = replacement(group, left)
        answer = self.client.put(self.talk, GROUPS, self.group_id, body, allow=REFUSALS, version=known)
        if answer.status in SUCCESS:
            _check(answer, left, members)
            return None
        return answer


def _check(answer: Answer, moves: Moves, members: set[str]) -> None:
    """Hold a PUT to its answer, where that shows the members: ours have moved and nobody else has."""
    shown = shown_members(parse(answer))
    if shown is None:
        return
    if moves.left(shown):
        raise Refused(f"the target answers {answer.status} and does not change the members", reason="refused")
    if lost := members - set(moves.removes) - shown:
        raise Refused(f"the target dropped {len(lost)} other members of the group", reason="refused")


def _chunks(items: Sequence[Item], size: int) -> Iterator[tuple[Item, ...]]:
    for start in range(0, len(items), size):
        yield tuple(items[start : start + size])
