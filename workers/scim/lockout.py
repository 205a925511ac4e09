"""Lock a leaver out: what the account had is kept, the suspension is read back, and what it is short of is told.

Success is what the target shows. Where reads lag, what is read is no ground to write again: it is looked again later.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from lifecycle.errors import Postponed
from lifecycle.person import Account, Entitlements
from workers.plan import needs_switch
from workers.resource import Resource, attribute, is_active
from workers.scim.change import Change, ChangedMeanwhile
from workers.scim.find import USERS
from workers.task import Agreement, Task

LockedOut = Callable[[Task, Agreement, str], None]


class Unconfirmed(Postponed):
    """The target took the suspension and does not show it yet; ``account`` is what is known of it meanwhile."""

    def __init__(self, account: Account) -> None:
        """Keep the account."""
        super().__init__("the target does not show the account as inactive", reason="unconfirmed")
        self.account = account


def is_awaited(task: Task, found: Resource) -> bool:
    """Tell whether the target took the suspension and is only late to show it."""
    known = task.account
    if task.wanted.active is not False or known is None or known.before is None or known.active is False:
        return False
    if not needs_switch(found, task.wanted):
        return False
    return datetime.now(UTC) < known.before.at + timedelta(seconds=task.can.lag_seconds)


def had(task: Task, groups: Mapping[str, str], roles: frozenset[str], suspended_at: datetime | None) -> Entitlements:
    """Return what the account had before its suspension. A repeat finds less, and takes nothing from it."""
    known = task.account.before if task.account else None
    if known is not None and suspended_at is None:
        return known
    return Entitlements(
        groups=(known.groups if known else {}) | dict(groups),
        roles=tuple(sorted(roles | set(known.roles if known else ()))),
        at=suspended_at or datetime.now(UTC),
    )


def lock_out(change: Change, found: Resource, agreement: Agreement, besides: LockedOut | None) -> Resource | None:
    """See that the account is out, and do what the target has to do besides; return what it shows then, if anything.

    Raises Unconfirmed.
    """
    task, account_id = change.task, str(found["id"])
    is_read = is_awaited(task, found) or not needs_switch(found, task.wanted)
    shown = found if is_read else _read_back(change, found)
    is_out = shown is None or is_active(shown) is False
    if besides and (is_out or task.can.lag_seconds):
        # Where reads lag, the target took it: whoever is logged in is not to stay so until a read shows it.
        besides(task, agreement, account_id)
    if not is_out:
        raise Unconfirmed(_meanwhile(task, found, agreement))
    agreement.confirmed_at = datetime.now(UTC)
    return shown


def _read_back(change: Change, found: Resource) -> Resource | None:
    """Read the account back, for some answer 200 and do nothing; the second time it is PUT.

    Where reads lag, what is read is no ground for a PUT.
    """
    task, account_id = change.task, str(found["id"])
    shown = task.client.get(task.talk, USERS, account_id)
    if task.cautious and not task.can.lag_seconds and shown is not None and is_active(shown) is not False:
        with suppress(ChangedMeanwhile):
            change.replace(found)
        shown = task.client.get(task.talk, USERS, account_id)
    return shown


def _meanwhile(task: Task, found: Resource, agreement: Agreement) -> Account:
    """Return the account as it is known until a look confirms: what it had, and whether its tokens are gone."""
    known, account_id = task.account, str(found["id"])
    if known is None or known.id != account_id:
        known = Account(id=account_id, user_name=attribute(found, "userName"), active=is_active(found))
    return known.model_copy(
        update={"before": agreement.before, "sessions_revoked": is_revoked(task.account, agreement)}
    )


def is_revoked(account: Account | None, agreement: Agreement) -> bool:
    """Tell whether no session of the account goes on."""
    return agreement.sessions_revoked or was_revoked(account, agreement)


def was_revoked(account: Account | None, agreement: Agreement) -> bool:
    """Tell whether an earlier attempt ended the sessions; tokens may be new where it was suspended again since."""
    return account is not None and account.sessions_revoked and agreement.suspended_at is None
