"""By which names receivers were last told of a person on a target, and by which they are told now. Pure.

Whoever is locked out or deleted there is named as before: no receiver has heard of a name that came with the leave.
"""

from lifecycle.person import Account, Person, ToldAs
from lifecycle.ssf.subjects import by_address
from workers.task import Agreement

NAMED_AS_BEFORE = frozenset({None, "suspended"})


def with_told(person: Person) -> Person:
    """Return the person with the names of each account of before they were kept: those that are known until now."""
    if all(account.told for account in person.accounts.values()):
        return person
    accounts = {
        target: account if account.told else account.model_copy(update={"told": _now(person, account)})
        for target, account in person.accounts.items()
    }
    return person.model_copy(update={"accounts": accounts})


def told_as(person: Person, agreement: Agreement, since: Account | None) -> ToldAs:
    """Return the names by which the person is told of after an attempt; ``since`` is the account as it was before."""
    before, now = told_before(since), _now(person, agreement.account)
    if agreement.change in NAMED_AS_BEFORE:
        return ToldAs(email=before.email or now.email, user_name=before.user_name or now.user_name)
    return ToldAs(email=now.email, user_name=now.user_name or before.user_name)


def told_before(since: Account | None) -> ToldAs:
    """Return the names by which the person was told of until now."""
    return since.told if since and since.told else ToldAs()


def told_after(person: Person, agreement: Agreement, since: Account | None) -> ToldAs | None:
    """Return what to keep with the account; as it was where nothing is told."""
    return told_as(person, agreement, since) if agreement.change else (since.told if since else None)


def _now(person: Person, account: Account | None) -> ToldAs:
    return ToldAs(email=_address(person), user_name=account.user_name if account else None)


def _address(person: Person) -> str | None:
    """Return the address of a person; of who has none, the user name that is one."""
    return next((found for name in ("email", "user_name") if by_address(found := person.value(name))), None)
