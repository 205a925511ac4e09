"""Make one account agree: find, create, change, lock out or delete, keep the groups, and say what came of it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from lifecycle.errors import Held
from lifecycle.person import Account
from lifecycle.safety import GROUP_REMOVALS, LEAVERS
from workers.entries import ROLES, role_moves, shown_roles
from workers.plan import ACTIVE, Plan, Terms, prints
from workers.policy import Wanted
from workers.resource import Resource, attribute, is_active
from workers.scim.change import Change
from workers.scim.create import Created, create
from workers.scim.delete import delete
from workers.scim.find import find
from workers.scim.lockout import LockedOut, had, is_awaited, is_revoked, lock_out
from workers.scim.members import keep_groups, settled_in_batch
from workers.scim.news import managed, note
from workers.task import Agreement, Task, worse

# So long after a write of ours a read that shows the opposite is not believed, whatever the profile says of lag.
RECENT_SECONDS = 10


def agree(task: Task, *, locked_out: LockedOut | None = None) -> Agreement:
    """Find the account, create it if somebody joined, change what differs, confirm a suspension, keep the groups.

    ``locked_out`` is what a target has to do besides, as soon as the account is known to be inactive.
    """
    if task.account is not None and (memberships := settled_in_batch(task)) is not None:
        return _by_others(task, task.account, memberships)
    change = Change(task, terms_of(task))
    made = _existing(task) or (create(task, change.terms) if task.wanted.active else None)
    if made is None:
        return _gone(task)
    found, shown = made.account, None
    if _names(found) & task.protected:
        return Agreement(ignored="protected")
    before = _memberships(task, found)
    roles = frozenset[str]() if made.fresh else _roles(task, found)
    agreement = Agreement(groups_before=sorted(before), roles_before=sorted(roles))
    agreement.roles_added = sorted(task.wanted.roles) if made.fresh and made.complete else []
    change, planned = _allowed(change, made, before, agreement)
    if _write(change, found, planned, agreement) or made.fresh:
        agreement.applied_at = datetime.now(UTC)
        note(agreement, made, planned)
    if task.wanted.active is False:
        agreement.before = had(task, before, roles, agreement.suspended_at)
        shown = lock_out(change, found, agreement, locked_out)
    agrees = agreement.trouble is None or isinstance(agreement.trouble, Held)
    agreement.groups_added = sorted(made.joined)
    memberships = keep_groups(task, str(found["id"]), before | dict(made.joined), agreement)
    # No session is to outlive its account unseen; of one that is gone no group matters.
    if task.deletes and agrees and not isinstance(agreement.trouble, Held):
        refused = delete(task, found, shown, agreement)
        agreement.trouble = worse(agreement.trouble, refused) if refused else None
    _conclude(task, found, memberships, agreement, agrees=agrees)
    return agreement


def _as_written(task: Task, found: Resource) -> Resource:
    """Return the account as we wrote it a moment ago, where a read shows the opposite: it may show what was before.

    Whoever is to be locked out, and was let in a moment ago, is not out because a read says so.
    """
    known, wanted = task.account, task.wanted.active
    if known is None or known.id != str(found["id"]) or (is_active(found) is not False) is not wanted:
        return found
    # Where reads do not lag, an earlier attempt whose answer was lost explains what is read.
    is_explained = task.cautious and not task.can.lag_seconds
    at = _let_in_at(known) if wanted is False else known.before.at if known.before else None
    since = datetime.now(UTC) - timedelta(seconds=max(task.can.lag_seconds, RECENT_SECONDS))
    if is_explained or at is None or at < since:
        return found
    others = {name: value for name, value in found.items() if name.lower() != "active"}
    return others | {"active": not wanted}


def _let_in_at(known: Account) -> datetime | None:
    """Return when the account was last settled to be active, unless the target took a suspension since."""
    at = known.settled_at if known.active is not False else None
    return None if at and known.before and known.before.at >= at else at


def _existing(task: Task) -> Created | None:
    found = find(task)
    return None if found is None else Created(_as_written(task, found), fresh=False, complete=False)


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


def _allowed(change: Change, made: Created, before: Mapping[str, str], agreement: Agreement) -> tuple[Change, Plan]:
    """Return what is to be written, but for roles that may not be taken. Raises Held of a leaver who is to stay."""
    task, is_done = change.task, made.complete or is_awaited(change.task, made.account)
    planned = Plan((), made.refused) if is_done else change.plan(made.account)
    if task.wanted.active is False:
        # Of who is out already and has nothing left nothing is taken.
        if planned.edits or before:
            task.allow(LEAVERS)
        return change, planned
    # Where roles are mapped they are an attribute as any other, and none is the policy's to take.
    is_mapped = any(path.text == ROLES.text for path in task.wanted.attributes)
    roles = [] if is_mapped else _removed_roles(planned)
    try:
        if roles:
            task.allow(GROUP_REMOVALS, roles)
    except Held as error:
        agreement.trouble = error
        change = Change(task, replace(change.terms, roles=frozenset()))
        return change, change.plan(made.account)
    return change, planned


def _gone(task: Task) -> Agreement:
    """Conclude where there is no account: one that was to be deleted is, whatever became of the answer."""
    account, now = task.account, datetime.now(UTC)
    if account is None or not task.deletes:
        return Agreement(note="no account")
    before = had(task, account.groups, frozenset(account.roles), None)
    news = None if account.active is False else "suspended"
    agreement = Agreement(account.model_copy(update={"active": False, "before": before}), news, before=before)
    agreement.groups_before, agreement.roles_before = sorted(before.groups), list(before.roles)
    agreement.applied_at = agreement.confirmed_at = agreement.deleted_at = now
    return agreement


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
    if written.trouble is None:
        agreement.roles_removed, agreement.roles_added = role_moves(planned.edits)
    if written.taken and any(edit.path is ACTIVE and edit.value is False for edit in planned.edits):
        agreement.suspended_at = datetime.now(UTC)
    return written.taken


def _removed_roles(planned: Plan) -> list[str]:
    return role_moves(planned.edits)[0]


def _names(found: Resource) -> set[str]:
    emails = attribute(found, "emails")
    addresses = [attribute(entry, "value") for entry in emails] if isinstance(emails, list) else []
    names = (attribute(found, "userName"), attribute(found, "externalId"), *addresses)
    return {str(name).lower() for name in names if name}


def _roles(task: Task, found: Resource) -> frozenset[str]:
    """Return the managed roles that the account has; of a leaver also those that a lost attempt may have taken."""
    account, shown = task.account, shown_roles(found)
    if task.wanted.active is False and account is not None and account.active is not False:
        shown |= set(account.roles)
    return shown & task.managed_roles


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
        agreement.attributes = agreement.attributes or (managed(wanted) if unseen else [])
        agreement.applied_at = agreement.applied_at or (agreement.before.at if agreement.before else datetime.now(UTC))
    if agreement.before is not None:
        agreement.groups_before, agreement.roles_before = sorted(agreement.before.groups), list(agreement.before.roles)
    known = account or Account(id=str(found["id"]))
    is_kept = wanted.active is None or agreement.trouble is not None
    agreement.account = Account(
        id=str(found["id"]),
        user_name=_user_name(account, wanted, found, taken=agrees and isinstance(agreement.trouble, Held | None)),
        active=is_active(found) if wanted.active is None else wanted.active,
        groups=memberships,
        roles=_roles_given(known, wanted, agreement),
        digest=digest if agreement.trouble is None else "",
        written=prints(wanted, terms_of(task)) if agrees else known.written,
        sessions_revoked=wanted.active is not True and is_revoked(account, agreement),
        settled_at=datetime.now(UTC),
        # Until somebody who is back has everything again, it is not forgotten.
        before=agreement.before or (known.before if is_kept else None),
        deletion=None if wanted.active else known.deletion,
    )


def _roles_given(known: Account, wanted: Wanted, agreement: Agreement) -> tuple[str, ...]:
    """Return the roles that the account has by our doing; whoever left has none."""
    if wanted.active is False:
        return ()
    return tuple(sorted(wanted.roles)) if agreement.trouble is None else known.roles


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
