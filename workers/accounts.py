"""A person's accounts after an attempt: what each target gave, and what is gone. Pure."""

from collections.abc import Sequence

from lifecycle.person import Deleted, Person
from workers.outcome import Result
from workers.told import told_after


def with_accounts(person: Person, results: Sequence[Result]) -> Person:
    """Return the person with the accounts as the targets show them now."""
    accounts, deleted = dict(person.accounts), dict(person.deleted)
    for result in results:
        account, target = result.agreement.account, result.place
        if account is None:
            continue
        if result.agreement.deleted_at is not None:
            deleted[target] = Deleted(id=account.id, at=result.agreement.deleted_at, before=account.before)
            accounts.pop(target, None)
            continue
        accounts[target] = account.model_copy(
            update={"told": told_after(person, result.agreement, person.accounts.get(target))}
        )
        if result.agreement.trouble is None:
            deleted.pop(target, None)
    return person.model_copy(update={"accounts": accounts, "deleted": deleted})


def forgotten(results: Sequence[Result]) -> list[tuple[str, str]]:
    """Return target and id of each account that is gone, so that it is nobody's any more."""
    return [
        (result.place, result.agreement.account.id)
        for result in results
        if result.agreement.account is not None and result.agreement.deleted_at is not None
    ]
