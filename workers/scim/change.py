"""Change an account, also where PATCH or a part of it is refused: operation by operation, then GET, merge, PUT.

A conforming target gets one PATCH (RFC 7644 section 3.5.2). Of the others that were tried some have no PATCH, some
refuse the whole for one attribute that they do not know, some know no value paths, some answer 200 and do nothing.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from lifecycle.errors import Refused
from workers.http import Answer
from workers.plan import Operation, Resource, attribute, changes, needs_switch, replacement
from workers.policy import Wanted
from workers.scim.answers import failure, parse, said, scim_type
from workers.scim.client import BAD_REQUEST, NO_CONTENT, NOT_FOUND, NOT_IMPLEMENTED, OK, Client, Conversation

USERS = "Users"
SERVER_ERROR = 500
# 404 for the method, as some frameworks answer it: whether the account is there, the GET before the PUT tells.
REFUSALS = {BAD_REQUEST, NOT_FOUND, 405, NOT_IMPLEMENTED}
# Of these no other way of asking is a cure.
FINAL = frozenset({"invalidVers", "uniqueness", "tooMany", "sensitive"})
# Of these the fault is in one value, and the way of asking was understood: a PUT would only put more at stake.
CONTENT = frozenset({"invalidValue", "mutability"})

Refusal = tuple[Operation, Answer]


@dataclass(frozen=True)
class Change:
    """One account's change in one attempt."""

    client: Client
    talk: Conversation
    wanted: Wanted
    adopt: bool
    cautious: bool
    """An earlier attempt failed: a server error may be this target's way to refuse."""

    def write(self, found: Resource, operations: list[Operation]) -> tuple[bool, Refused | None]:
        """Make the change; return whether anything was taken, and what was not.

        Raises where the access is not as wanted.
        """
        refused = self._patch(found, operations)
        if refused is None:
            return True, None
        refusals = self._one_by_one(found, operations, refused)
        if not refusals:
            return True, None
        left, refused = [operation for operation, _ in refusals], refusals[0][1]
        about_content = any(scim_type(answer) in CONTENT for _, answer in refusals)
        shown = None if about_content else self.replace(found)
        if shown is None and not any(operation["path"] == "active" for operation in left):
            taken = len(left) < len(operations)
            return taken, Refused(f"the target refuses {_paths(left)}: {said(refused)}", reason="refused")
        if shown is None or needs_switch(shown, self.wanted):
            raise failure(refused, datetime.now(UTC))
        left = changes(shown, self.wanted, adopt=self.adopt)
        return True, Refused(f"the target does not keep {_paths(left)}", reason="refused") if left else None

    def replace(self, found: Resource) -> Resource | None:
        """PUT the account as it is but for what is managed; return what it shows then, None where that is refused."""
        account_id = str(found["id"])
        fresh = self.client.get(self.talk, USERS, account_id)
        if fresh is None or _name(fresh) != _name(found):
            return None
        body = replacement(fresh, self.wanted, adopt=self.adopt)
        answer = self.client.put(self.talk, USERS, account_id, body, allow=REFUSALS | {SERVER_ERROR})
        if answer.status not in {OK, NO_CONTENT}:
            return None
        told = parse(answer)
        return told if attribute(told, "id") else self.client.get(self.talk, USERS, account_id)

    def _patch(self, found: Resource, operations: list[Operation]) -> Answer | None:
        """Return the refusal, None where the target took all. Raises what no other way of asking would cure."""
        allow = REFUSALS | ({SERVER_ERROR} if self.cautious else set())
        answer = self.client.patch(self.talk, USERS, str(found["id"]), operations, allow=allow)
        if answer.status in {OK, NO_CONTENT}:
            return None
        if scim_type(answer) in FINAL:
            raise failure(answer, datetime.now(UTC))
        return answer

    def _one_by_one(self, found: Resource, operations: list[Operation], refused: Answer) -> list[Refusal]:
        """Return what is refused alone too; where there seems to be no PATCH, only access is tried."""
        if len(operations) == 1:
            return [(operations[0], refused)]
        refusals = []
        for operation in operations:
            alone = refused.status == BAD_REQUEST or operation["path"] == "active"
            answer = self._patch(found, [operation]) if alone else refused
            if answer is not None:
                refusals.append((operation, answer))
        return refusals


def _name(resource: Resource) -> str:
    return str(attribute(resource, "userName")).lower()


def _paths(operations: list[Operation]) -> str:
    return ", ".join(str(operation["path"]) for operation in operations)
