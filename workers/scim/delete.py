"""Delete an account that is out (RFC 7644 section 3.6). It stays locked, whatever becomes of that.

Nothing is deleted that is not known to be the person's, or that somebody let in again by hand.
"""

from datetime import UTC, datetime

from lifecycle.errors import GatepostError, Held, Postponed, Refused
from lifecycle.safety import DELETIONS
from workers.http import Answer
from workers.resource import Resource, attribute, is_active
from workers.scim.answers import Next, failure, said, verdict
from workers.scim.client import BAD_REQUEST, NOT_FOUND, version
from workers.scim.find import USERS
from workers.task import Agreement, Task

CONFLICT, GONE, PRECONDITION_FAILED = 409, 410, 412
# Of the refusals those that may mean that the account is gone, or that it was changed meanwhile.
TOLD = {BAD_REQUEST, NOT_FOUND, CONFLICT, GONE, PRECONDITION_FAILED}


def delete(task: Task, found: Resource, shown: Resource | None, agreement: Agreement) -> GatepostError | None:
    """Delete the account, which is locked out already; return what kept it from that.

    ``shown`` is what the account showed when it was confirmed, None where it was gone.
    """
    try:
        _check(task, found, agreement)
        if shown is not None:
            task.allow(DELETIONS)
            _delete(task, shown)
    except (Held, Refused, Postponed) as error:
        return error
    agreement.deleted_at = datetime.now(UTC)
    return None


def _check(task: Task, found: Resource, agreement: Agreement) -> None:
    account, account_id = task.account, str(found["id"])
    if agreement.suspended_at is not None and account is not None and account.active is False:
        text = f"the account {account_id} had been reactivated; it is suspended again, and deleted only by a retry"
        raise Held(text, reason="reactivated")
    is_ours = account is not None and account.id == account_id
    if not is_ours and attribute(found, "externalId") not in {task.wanted.external_id, *task.ids} - {None}:
        text = f"the account {account_id} has the person's userName alone; it is suspended, and deleted only by a retry"
        raise Held(text, reason="not_proven")


def _delete(task: Task, shown: Resource) -> None:
    account_id, tag = str(shown["id"]), version(shown) if task.can.etag else None
    answer = _ask(task, account_id, tag)
    if verdict(answer, "DELETE") is Next.CHANGED:
        fresh = _unchanged(task, account_id, answer)
        if fresh is None:
            return
        # One that is as it was read was refused for a version that is never right: then none is named.
        answer = _ask(task, account_id, version(fresh) if version(fresh) != tag else None)
    what = verdict(answer, "DELETE")
    if what is Next.MISSING and task.client.get(task.talk, USERS, account_id) is not None:
        raise Refused(f"the target has no DELETE: {said(answer)}", reason="refused")
    if what not in {Next.DONE, Next.MISSING}:
        raise failure(answer, datetime.now(UTC))


def _unchanged(task: Task, account_id: str, refused: Answer) -> Resource | None:
    """Return what the account is by now, None where it is gone. Raises Postponed where it is in again."""
    fresh = task.client.get(task.talk, USERS, account_id)
    if fresh is not None and is_active(fresh) is not False:
        raise Postponed(f"the account was changed meanwhile: {said(refused)}", reason="conflict")
    return fresh


def _ask(task: Task, account_id: str, tag: str | None) -> Answer:
    return task.client.delete(task.talk, USERS, account_id, allow=TOLD, version=tag)
