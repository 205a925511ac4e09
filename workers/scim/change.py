"""Change an account, also where PATCH or a part of it is refused: operation by operation, then GET, merge, PUT.

A conforming target gets one PATCH (RFC 7644 section 3.5.2). Of the others that were tried some have no PATCH, some
refuse the whole for one attribute that they do not know, some know no value paths, some answer 200 and do nothing. An
account that was changed by others meanwhile is read and planned again: to send the old edits would undo theirs.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from lifecycle.errors import GatepostError, Held, Postponed, Refused
from workers.http import Answer
from workers.plan import ACTIVE, EXTERNAL_ID, USER_NAME, Plan, Terms, needs_switch, plan, replacement
from workers.resource import Edit, Resource, alike, attribute, value_at
from workers.scim.answers import VERSION_WORDS, Next, failure, said, scim_type, verdict
from workers.scim.client import BAD_REQUEST, NO_CONTENT, NOT_FOUND, NOT_IMPLEMENTED, OK, version
from workers.scim.client import shown as as_shown
from workers.scim.find import USERS, hits_of
from workers.task import Task

CONFLICT, SERVER_ERROR = 409, 500
# 404 for the method, as some frameworks answer it: whether the account is there, the GET before the PUT tells.
REFUSALS = {BAD_REQUEST, NOT_FOUND, 405, 409, 412, NOT_IMPLEMENTED}
# Of these no other way of asking is a cure.
FINAL = frozenset({"tooMany", "sensitive"})
# Of these the fault is in one value, and the way of asking was understood: a PUT would only put more at stake.
CONTENT = frozenset({"invalidValue", "mutability"})
# Against somebody who writes as often as we do: each time starts from a fresh reading.
CHANGED_MAX = 5

Refusal = tuple[Edit, Answer]


class Written(NamedTuple):
    """What came of a change: whether anything was taken, and what was not."""

    taken: bool
    trouble: GatepostError | None = None


class ChangedMeanwhile(Exception):
    """The account is not what it was when the edits were planned."""


@dataclass
class Change:
    """One account's change in one attempt."""

    task: Task
    terms: Terms
    trusts_versions: bool = True
    """Until the target says "changed meanwhile" of an account that nobody changed."""
    put_refused: Answer | None = None
    """What the target said to a PUT that it did not take."""

    def plan(self, found: Resource) -> Plan:
        """Return what is left to do."""
        return plan(found, self.task.wanted, self.terms)

    def write(self, found: Resource, edits: Sequence[Edit]) -> Written:
        """Make the change; return whether anything was taken, and what was not.

        Raises where the access is not as wanted, and Held where another account has the wanted userName.
        """
        words = ""
        for _ in range(CHANGED_MAX):
            try:
                return self._revive(found, edits) if self._revives(edits) else self._write(found, edits)
            except ChangedMeanwhile as change:
                fresh, words = self._read(found), str(change)
            if fresh == found and not self.trusts_versions:
                self._check_refused(words)
                break
            self.trusts_versions = fresh != found
            found, edits = fresh, self.plan(fresh).edits
            if not edits:
                return Written(taken=True)
        if any(edit.path.text == USER_NAME.text for edit in edits):
            self._check_name(found)
        raise Postponed(f"the account is changed by others as fast as it is read: {words}", reason="conflict")

    def _check_refused(self, words: str) -> None:
        """Raise Refused for a bare 409 over an account that is as it was read: the fault is in what was said.

        Salesforce is known to answer so to a field that is missing. Where reads lag, the account may be another.
        """
        if words.startswith(str(CONFLICT)) and not self.task.can.lag_seconds and not VERSION_WORDS.search(words):
            raise Refused(words, reason="refused")

    def _revives(self, edits: Sequence[Edit]) -> bool:
        is_back = bool(self.task.wanted.active) and any(edit.path is ACTIVE for edit in edits)
        return is_back and self.task.can.active_alone

    def _revive(self, found: Resource, edits: Sequence[Edit]) -> Written:
        """Give the access back by itself, then read what is left of the rest, which may have gone with it."""
        written = self._write(found, [edit for edit in edits if edit.path is ACTIVE])
        shown = self._read(found)
        if needs_switch(shown, self.task.wanted):
            return Written(
                written.taken, Postponed("the target does not show the account as active", reason="unconfirmed")
            )
        left = self.plan(shown).edits
        if written.trouble or not left:
            return written
        rest = self.write(shown, left)
        return Written(taken=written.taken or rest.taken, trouble=rest.trouble)

    def replace(self, found: Resource) -> Resource | None:
        """PUT the account as it is but for what is managed; return what it shows then, None where that is refused."""
        task, account_id = self.task, str(found["id"])
        fresh = task.client.get(task.talk, USERS, account_id)
        if fresh is None or _name(fresh) != _name(found):
            return None
        edits = self.plan(fresh).edits
        if not edits:
            return fresh
        body = replacement(fresh, edits)
        tag = self._version(fresh)
        allow = REFUSALS | {SERVER_ERROR}
        answer = task.client.put(task.talk, USERS, account_id, body, allow=allow, version=tag)
        if answer.status not in {OK, NO_CONTENT}:
            self._check(found, answer, ())
            self.put_refused = answer
            return None
        told = as_shown(answer)
        return told if attribute(told, "id") else task.client.get(task.talk, USERS, account_id)

    def _write(self, found: Resource, edits: Sequence[Edit]) -> Written:
        if not self.task.can.patch:
            return self._put(found, [(edit, None) for edit in edits])
        shown, told = found, None
        refusals: list[tuple[Edit, Answer | None]] = []
        for place, batch in enumerate(self._batches(edits)):
            try:
                told, refused = self._patch(shown, batch)
            except (Postponed, Refused) as error:
                if not place:
                    raise
                # What was taken before counts: who is locked out is to be confirmed, whatever became of the rest.
                return Written(taken=True, trouble=error)
            refusals += self._one_by_one(shown, batch, refused) if refused else []
            shown = told or _unversioned(shown)
        if refusals:
            return self._put(found, refusals, taken=len(refusals) < len(edits))
        if told is None and self.task.wanted.active and any(edit.path is ACTIVE for edit in edits):
            # Without a word of it nobody knows whether somebody who came back can work.
            told = self._read(found)
        return self._judge(found, told, edits) if told else Written(taken=True)

    def _planned(self, shown: Resource) -> set[tuple[str, str]]:
        return set(_paths_of(self.plan(shown).edits))

    def _batches(self, edits: Sequence[Edit]) -> Iterator[list[Edit]]:
        """Yield the edits by request, access first: nothing may stand in its way."""
        can = self.task.can
        size = 1 if can.one_operation else can.operations_max or len(edits)
        alone = [edit for edit in edits if can.active_alone and edit.path is ACTIVE]
        rest = [edit for edit in edits if edit not in alone]
        yield from filter(None, (alone, *(rest[start : start + size] for start in range(0, len(rest), size))))

    def _patch(self, shown: Resource, edits: list[Edit]) -> tuple[Resource | None, Answer | None]:
        """Return what the account shows then if that is told, and the refusal; None where all was taken."""
        task = self.task
        allow = REFUSALS | ({SERVER_ERROR} if task.cautious else set())
        operations = [edit.operation() for edit in edits]
        answer = task.client.patch(
            task.talk, USERS, str(shown["id"]), operations, allow=allow, version=self._version(shown)
        )
        if answer.status in {OK, NO_CONTENT}:
            told = as_shown(answer)
            return (told if attribute(told, "id") else None), None
        self._check(shown, answer, edits)
        return None, answer

    def _check(self, shown: Resource, answer: Answer, edits: Sequence[Edit]) -> None:
        """Raise what no other way of asking would cure."""
        what = verdict(answer, "PATCH")
        if what is Next.CHANGED:
            raise ChangedMeanwhile(said(answer))
        if what is Next.TAKEN:
            self._check_name(shown)
            raise failure(answer, datetime.now(UTC))
        if scim_type(answer) in FINAL:
            raise failure(answer, datetime.now(UTC))
        if edits and scim_type(answer) == "noTarget" and not set(_paths_of(edits)) <= self._planned(self._read(shown)):
            raise ChangedMeanwhile(said(answer))  # the entry that was to be changed is gone (section 3.5.2.3)

    def _check_name(self, shown: Resource) -> None:
        """Raise Held when the wanted userName is another account's."""
        name = self.task.wanted.user_name
        others = [hit["id"] for hit in hits_of(self.task, USER_NAME.name, name)] if name else []
        if found := [other for other in others if other != str(shown["id"])]:
            text = (
                f"the account {shown['id']} is this person's, and {', '.join(found)} has the userName that it is to get"
            )
            raise Held(text, reason="user_name_taken")

    def _one_by_one(self, shown: Resource, edits: list[Edit], refused: Answer) -> list[Refusal]:
        """Return what is refused alone too; where there seems to be no PATCH, only access is tried."""
        refusals = []
        for edit in edits:
            alone = len(edits) > 1 and (refused.status == BAD_REQUEST or edit.path is ACTIVE)
            answer = self._patch(_unversioned(shown), [edit])[1] if alone else refused
            if answer is not None and edit.path is ACTIVE:
                answer = self._patch_without_path(shown, edit, answer)
            if answer is not None:
                refusals.append((edit, answer))
        return refusals

    def _patch_without_path(self, shown: Resource, edit: Edit, refused: Answer) -> Answer | None:
        """Ask for access in the one other form that the RFC has (section 3.5.2.3); some servers know no other."""
        if refused.status not in {BAD_REQUEST, SERVER_ERROR}:
            return refused
        line = {"op": "replace", "value": {edit.path.name: edit.value}}
        answer = self.task.client.patch(
            self.task.talk, USERS, str(shown["id"]), [line], allow=REFUSALS | {SERVER_ERROR}
        )
        return None if answer.status in {OK, NO_CONTENT} else refused

    def _put(self, found: Resource, refusals: Sequence[tuple[Edit, Answer | None]], *, taken: bool = False) -> Written:
        """Try it by a PUT, unless the fault is in what was said and not in how."""
        left, refused = [edit for edit, _ in refusals], refusals[0][1]
        about_content = any(answer is not None and scim_type(answer) in CONTENT for _, answer in refusals)
        shown = None if about_content else self.replace(found)
        refused = refused or self.put_refused
        words = said(refused) if refused else "neither PATCH nor PUT is taken"
        if shown is None and not any(edit.path is ACTIVE for edit in left):
            return Written(taken, Refused(f"the target refuses {_paths(left)}: {words}", reason="refused"))
        if shown is None or needs_switch(shown, self.task.wanted):
            raise failure(refused, datetime.now(UTC)) if refused else Refused(words, reason="refused")
        kept = self.plan(shown).edits
        return Written(taken=True, trouble=_not_kept(kept) if kept else None)

    def _judge(self, found: Resource, shown: Resource, edits: Sequence[Edit]) -> Written:
        """Compare what the answers show with what was asked: some answer 200 and do nothing.

        A value that the target writes in its own way is kept; one that stands as it stood is not. Whoever leaves is
        read back in any case.
        """
        if self.task.wanted.active is False:
            return Written(taken=True)
        names = {name.lower() for name in found} - {"meta", "groups"}
        if self.task.can.lag_seconds or not names <= {name.lower() for name in shown}:
            return Written(taken=True)
        planned = {edit.path.text for edit in self.plan(shown).edits}
        ignored = [
            edit
            for edit in edits
            if edit.path is not EXTERNAL_ID  # not every target keeps one, and the id that we know is as good
            and edit.path.text in planned
            and value_at(shown, edit.path) == value_at(found, edit.path)
            and not alike(value_at(shown, edit.path), edit.value)
        ]
        if not ignored:
            return Written(taken=True)
        if len(ignored) == len(edits):
            return self._put(found, [(edit, None) for edit in ignored])
        return Written(taken=True, trouble=_not_kept(ignored))

    def _version(self, shown: Resource) -> str | None:
        """Return the version to name in ``If-Match`` (section 3.14); where the target says that it heeds it."""
        return version(shown) if self.task.can.etag and self.trusts_versions else None

    def _read(self, found: Resource) -> Resource:
        fresh = self.task.client.get(self.task.talk, USERS, str(found["id"]))
        if fresh is None or _name(fresh) != _name(found):
            raise Postponed("the account is not there any more", reason="conflict")
        return {**fresh, "id": found["id"]}


def _unversioned(shown: Resource) -> Resource:
    """Return an account whose version is not known any more: the next request of a change cannot name one."""
    return {name: value for name, value in shown.items() if name.lower() != "meta"}


def _paths_of(edits: Iterable[Edit]) -> Iterator[tuple[str, str]]:
    return ((edit.op, edit.path.text) for edit in edits)


def _not_kept(edits: Sequence[Edit]) -> Refused:
    return Refused(f"the target does not keep {_paths(edits)}", reason="refused")


def _name(resource: Resource) -> str:
    return str(attribute(resource, "userName")).lower()


def _paths(edits: Sequence[Edit]) -> str:
    return ", ".join(edit.path.text for edit in edits)
