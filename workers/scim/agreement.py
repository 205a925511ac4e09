"""Make one account agree: find, create, change, confirm, keep the groups, and say what came of it.

Success is what the target shows: after a suspension the account is read back.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from lifecycle.errors import GatepostError, Postponed
from lifecycle.person import Account
from workers.entries import shown_roles
from workers.plan import Plan, Terms, needs_switch, prints
from workers.policy import Wanted
from workers.resource import Resource, attribute, is_active
from workers.scim.change import Change, ChangedMeanwhile
from workers.scim.create import Created, create
from workers.scim.find import USERS, find
from workers.scim.members import keep_groups, settled_in_batch
from workers.task import Agreement, Task

LockedOut = Callable[[Task, Agreement, str], None]


def agree(task: Task, *, locked_out: LockedOut | None = None) -> Agreement:
    """Find the account, create it if somebody joined, change what differs, confirm a suspension, keep the groups.

    ``locked_out`` is what a target has to do besides, as soon as the account is known to be inactive.
    """
    if task.account is not None and (memberships := settled_in_batch(task)) is not None:
        return _by_others(task, task.account, memberships)
    change = Change(task, terms_of(task))
    made = _existing(task) or (create(task, change.terms) if task.wanted.active else None)
    if made is None:
        return Agreement(note="no account")
    found = made.account
    if _names(found) & task.protected:
        return Agreement(ignored="protected")
    before = _memberships(task, found)
    roles = frozenset[str]() if made.fresh else shown_roles(found) & task.managed_roles
    agreement = Agreement(groups_before=sorted(before), roles_before=sorted(roles))
    planned = Plan((), made.refused) if made.complete else change.plan(found)
    if _write(change, found, planned, agreement) or made.fresh:
        agreement.applied_at = datetime.now(UTC)
    if task.wanted.active is False:
        is_out = not needs_switch(found, task.wanted) or _is_confirmed(change, found)
        if locked_out and (is_out or task.can.lag_seconds):
            # Where reads lag, the target took it: whoever is logged in is not to stay so until a read shows it.
            locked_out(task, agreement, str(found["id"]))
        if not is_out:
            raise Postponed("the target does not show the account as inactive", reason="unconfirmed")
        agreement.confirmed_at = datetime.now(UTC)
    agrees = agreement.trouble is None
    agreement.groups_added = sorted(made.joined)
    memberships = keep_groups(task, str(found["id"]), before | dict(made.joined), agreement)
    _conclude(task, found, memberships, agreement, agrees=agrees)
    return agreement


def _existing(task: Task) -> Created | None:
    found = find(task)
    return None if found is None else Created(found, fresh=False, complete=False)


def terms_of(task: Task) -> Terms:
    """Return on what terms this account is changed."""
    return Terms(
        # Nothing may stand in the way of a leaver's access.
        adopt=task.account is None and task.wanted.active is not False,
        roles=task.managed_roles,
        conflicts=task.conflicts,
        written=task.account.written if task.account else {},
        schema=task.can.schema,
    )


def worse(first: GatepostError | None, second: GatepostError | None) -> GatepostError | None:
    """Return the trouble to tell: Postponed before Refused, for what time can mend is tried first."""
    return first if second is None or isinstance(first, Postponed) else second


def _by_others(task: Task, account: Account, memberships: dict[str, str]) -> Agreement:
    """Conclude without a request: another job's batch made all that was left to do."""
    agreement = Agreement(groups_before=sorted(account.groups))
    agreement.groups_added = sorted(memberships.keys() - account.groups.keys())
    agreement.groups_removed = sorted(account.groups.keys() - memberships.keys())
    shown = {"id": account.id, "userName": account.user_name, "active": account.active}
    _conclude(task, shown, memberships, agreement)
    return agreement


def _write(change: Change, found: Resource, planned: Plan, agreement: Agreement) -> bool:
    """Write what differs; return whether anything was taken."""
    for error in planned.refused:
        agreement.trouble = worse(agreement.trouble, error)
    if not planned.edits:
        return False
    written = change.write(found, planned.edits)
    agreement.trouble = worse(agreement.trouble, written.trouble)
    gone = {str(edit.path.equals) for edit in planned.edits if edit.op == "remove" and edit.path.name == "roles"}
    agreement.roles_removed = sorted(gone) if written.trouble is None else []
    return written.taken


def _is_confirmed(change: Change, found: Resource) -> bool:
    """Read the account back, for some answer 200 and do nothing; the second time it is PUT.

    Where reads lag, what is read is no ground for a PUT.
    """
    task, account_id = change.task, str(found["id"])
    shown = task.client.get(task.talk, USERS, account_id)
    if task.cautious and not task.can.lag_seconds and shown is not None and is_active(shown) is not False:
        with suppress(ChangedMeanwhile):
            change.replace(found)
        shown = task.client.get(task.talk, USERS, account_id)
    return shown is None or is_active(shown) is False


def _names(found: Resource) -> set[str]:
    emails = attribute(found, "emails")
    addresses = [attribute(entry, "value") for entry in emails] if isinstance(emails, list) else []
    names = (attribute(found, "userName"), attribute(found, "externalId"), *addresses)
    return {str(name).lower() for name in names if name}


def _memberships(task: Task, found: Resource) -> dict[str, str]:
    """Return the managed groups that the account is in: what we did, and what the account itself shows."""
    account, shown = task.account, attribute(found, "groups")
    known = dict(account.groups) if account is not None and account.id == str(found["id"]) else {}
    told = {str(attribute(entry, "value")): str(attribute(entry, "display")) for entry in shown or () if entry}
    if isinstance(shown, list) and task.wanted.active is not False and not task.can.lag_seconds:
        # Somebody took it out by hand. Of a leaver all that may be is left, whatever the target shows.
        known = {name: group_id for name, group_id in known.items() if group_id in told}
    for group_id, name in told.items():
        if name in task.managed:
            known[name] = group_id
        elif f"id:{group_id}" in task.managed:
            known[f"id:{group_id}"] = group_id
    return known


def _conclude(
    task: Task, found: Resource, memberships: dict[str, str], agreement: Agreement, *, agrees: bool = True
) -> None:
    account, wanted = task.account, task.wanted
    digest = wanted.fingerprint
    moved = bool(agreement.groups_added or agreement.groups_removed)
    # A write whose answer was lost is found done; that the digest differs shows that it was never told, unless it was
    # refused.
    unseen = account is None or (agrees and account.digest not in {"", digest}) or _switched(account, wanted)
    if agreement.applied_at is not None or moved or unseen:
        agreement.change = _change(account, wanted, wrote=agreement.applied_at is not None)
        agreement.applied_at = agreement.applied_at or datetime.now(UTC)
    agreement.account = Account(
        id=str(found["id"]),
        user_name=_user_name(account, wanted, found, taken=agrees and agreement.trouble is None),
        active=is_active(found) if wanted.active is None else wanted.active,
        groups=memberships,
        digest=digest if agreement.trouble is None else "",
        written=prints(wanted, terms_of(task)) if agrees else account.written if account else {},
        sessions_revoked=wanted.active is not True
        and (agreement.sessions_revoked or (account is not None and account.sessions_revoked)),
        settled_at=datetime.now(UTC),
    )


def _user_name(account: Account | None, wanted: Wanted, found: Resource, *, taken: bool) -> str | None:
    """Return the name that the account has, as far as we know: one that was refused is none."""
    if taken or (account is None and wanted.user_name):
        return wanted.user_name or attribute(found, "userName")
    return (account.user_name if account else None) or attribute(found, "userName")


def _switched(account: Account, wanted: Wanted) -> bool:
    return wanted.active is not None and account.active is not wanted.active


def _change(account: Account | None, wanted: Wanted, *, wrote: bool) -> str:
    was_active = None if account is None else account.active
    if wanted.active is False:
        return "updated" if was_active is False and not wrote else "suspended"
    if was_active is False and wanted.active:
        return "restored"
    return "provisioned" if account is None and wanted.active else "updated"
