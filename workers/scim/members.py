"""Keep one account in its groups: join what is wanted and not there, leave what is there and not wanted.

Success is what the target shows, and one group that fails does not keep the account from the others.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lifecycle.errors import GatepostError, Held, Postponed, Refused
from lifecycle.safety import GROUP_REMOVALS
from workers.scim.batches import ADD, REMOVE, SINGLE, Batch, Change, Note, State
from workers.scim.exclusive import busy
from workers.scim.roster import Gone
from workers.task import Agreement, Task, worse


def keep_groups(task: Task, account_id: str, before: dict[str, str], agreement: Agreement) -> dict[str, str]:
    """Join and leave, and return the memberships: group id by name. Trouble is left in the agreement."""
    keeping = _Keeping(task, account_id, agreement, dict(before))
    keeping.recall()
    keeping.leave_all()
    keeping.join_all()
    return keeping.memberships


def settled_in_batch(task: Task) -> dict[str, str] | None:
    """Return the memberships where another job made all that this attempt is about, so that no request is needed.

    That is so when the account was settled but for groups, each of them is noted as done for just this wanted state,
    and none is left over. None where there is anything else to do.
    """
    account, wanted = task.account, task.wanted
    if account is None or wanted.active is False or account.active is not wanted.active:
        return None
    ahead = wanted.groups ^ account.groups.keys()
    if not ahead:
        return None
    notes = task.groups.batches.recall(account.id, wanted.groups, waits=True)
    mark = wanted.fingerprint
    done = {note.name: note for note in notes if note.state is State.DONE and note.fingerprint == mark}
    if any(name not in done or (done[name].way == ADD) is not (name in wanted.groups) for name in ahead):
        return None
    joined = {name: done[name].group_id for name in ahead & wanted.groups}
    return {name: each for name, each in account.groups.items() if name in wanted.groups} | joined


@dataclass
class _Keeping:
    """One attempt's work on one account's groups."""

    task: Task
    account_id: str
    agreement: Agreement
    memberships: dict[str, str]
    busy: set[str] = field(default_factory=set)
    """Names of the groups that another job may be changing for this very account."""
    undone: dict[str, str] = field(default_factory=dict)
    """What another job made of late and is wanted otherwise by now: group id by name."""

    def __post_init__(self) -> None:
        """Take the fingerprint; an account that had other trouble is to be looked at again whole."""
        self.mark = self.task.wanted.fingerprint if self.agreement.trouble is None else "-"

    @property
    def leaving(self) -> bool:
        return self.task.wanted.active is False

    def recall(self) -> None:
        """Count what other jobs did for this account, once: until it was settled with that, nobody was told."""
        batches, wanted = self.task.groups.batches, self.task.wanted.groups
        settled = self.task.account.groups if self.task.account else {}
        known = []
        for note in batches.recall(self.account_id, wanted, waits=not self.leaving):
            if note.state is State.BUSY:
                self.busy.add(note.name)
                self._trouble(busy())
            elif note.state is State.DONE and (note.way == ADD) is (note.name in settled):
                known.append(note.group_id)
            else:
                self._count(note)
        batches.forget(self.account_id, known)

    def _count(self, note: Note) -> None:
        """Take a change for made. One of which nobody knows is assumed where that makes us undo it."""
        joined, is_wanted = note.way == ADD, note.name in self.task.wanted.groups
        if note.state is State.SENT and joined is is_wanted:
            return
        if joined:
            self.memberships[note.name] = note.group_id
        else:
            self.memberships.pop(note.name, None)
        if joined is is_wanted:
            (self.agreement.groups_added if joined else self.agreement.groups_removed).append(note.name)
        else:
            self.undone[note.name] = note.group_id

    def leave_all(self) -> None:
        leaves = {name: group_id for name, group_id in self.memberships.items() if self._is_left(name)}
        if not self.leaving and leaves and not self._may_leave(leaves):
            return
        if self.leaving:
            with self._troubles():
                for name in self.task.groups.bulk.leave(self.task.talk, self.account_id, leaves):
                    self._has_left(name)
        for name in sorted(leaves.keys() & self.memberships.keys()):
            with self._troubles():
                self._leave(name)
                self._has_left(name)

    def _may_leave(self, leaves: Collection[str]) -> bool:
        """Tell whether these groups may be left; if not, nobody else makes it from what was noted earlier either."""
        try:
            self.task.allow(GROUP_REMOVALS, leaves)
        except Held as error:
            self._trouble(error)
            self.task.groups.batches.recall(self.account_id, self.task.wanted.groups.union(leaves), waits=True)
            return False
        return True

    def join_all(self) -> None:
        for name in sorted(self.task.wanted.groups - self.memberships.keys() - self.busy):
            with self._troubles():
                self.memberships[name] = self._join(name)
                self.agreement.groups_added.append(name)
                self._undid(name)

    def _is_left(self, name: str) -> bool:
        return name not in self.task.wanted.groups and name not in self.busy

    def _has_left(self, name: str) -> None:
        del self.memberships[name]
        self.agreement.groups_removed.append(name)
        self._undid(name)

    def _undid(self, name: str) -> None:
        if name in self.undone:
            self.task.groups.batches.forget(self.account_id, [self.undone.pop(name)])

    @contextmanager
    def _troubles(self) -> Iterator[None]:
        try:
            yield
        except (Held, Postponed, Refused) as error:
            self._trouble(error)

    def _trouble(self, error: GatepostError) -> None:
        self.agreement.trouble = worse(self.agreement.trouble, error)

    def _leave(self, name: str) -> None:
        try:
            self._move(name, self.memberships[name], REMOVE)
        except Gone:
            # Of a group that is not there nobody is a member.
            self.task.groups.forget(name)

    def _join(self, name: str) -> str:
        groups, talk = self.task.groups, self.task.talk
        group_id = groups.find(talk, name)
        try:
            self._move(name, group_id, ADD)
        except Gone:
            # The id was kept from earlier; the group may have been made anew.
            groups.forget(name)
            group_id = groups.find(talk, name)
            self._move(name, group_id, ADD)
        return group_id

    def _move(self, name: str, group_id: str, way: str) -> None:
        """Make one change of membership: with others' where they wait for it, else alone."""
        task = self.task
        change = Change(group_id, name, self.account_id, way, self.mark)
        batch = None if self.leaving else task.groups.batches.ask(change, task.can.member_batch)
        if batch is None or not self._together(batch):
            task.groups.roster(task.talk, group_id).change(change.moves(), careful=task.cautious)

    def _together(self, batch: Batch) -> bool:
        """Make everybody's change; return False where it is refused as a whole, and each has to go alone."""
        outcome = None
        try:
            roster = self.task.groups.held_roster(self.task.talk, batch)
            careful = self.task.cautious if batch.sent_before is None else batch.sent_before
            roster.change(batch.moves, careful=careful)
            outcome = State.DONE.value
        except Gone:
            outcome = SINGLE
            raise
        except Refused:
            outcome = SINGLE
            if len(batch.accounts) == 1:
                raise
        finally:
            self.task.groups.batches.record(batch, outcome)
        return outcome != SINGLE
