"""Find a person's account: by the id we know, else by externalId, else by userName; each hit verified.

A filter that a server ignores answers with somebody else, so every hit is compared with what was asked. E-mail
addresses are given again to others: an account of this userName is adopted only when it belongs to nobody else.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from lifecycle.errors import Held, Postponed
from lifecycle.person import Account
from workers.resource import Resource, attribute, is_active
from workers.scim.capabilities import PAGE_SIZE
from workers.task import Task

USERS = "Users"
SERVER_ERROR = 500
INACTIVE = "active eq false"
# Without the attributes that are costly on Genesys Cloud, externalId among them, a page there may be as long as others.
LISTED = ("id", "userName", "active")


def find(task: Task) -> Resource | None:
    """Return the account; None where there is none, or where the create will tell.

    Raises Held when it is somebody else's or one of several, Postponed when the target may not show it yet.
    """
    account = task.account
    if account is not None:
        shown = task.client.get(task.talk, USERS, account.id)
        if shown is not None:
            return _verified(shown, account, task)
        _check_lag(task, account)
        if task.deletes and account.active is False:
            # What was out under this id and is gone was deleted. Whoever bears the name alone is somebody else by now.
            return _by_external_id(task) if task.can.filter else None
    if not task.can.filter:
        return _among(task, task.client.everyone(task.talk, USERS))
    return _looked_up(task)


def _looked_up(task: Task) -> Resource | None:
    """Return the account by the person's names; None too for a joiner of whom the create will tell."""
    wanted, account = task.wanted, task.account
    if (found := _by_external_id(task)) is not None:
        return found
    if _create_tells(task):
        return None
    found = find_by_name(task)
    if found is None and wanted.active is False and account is None and not task.believes_nobody():
        # Somebody leaves, and the target's "nobody" proves nothing: everybody is looked through.
        return find_among_all(task, None)
    return found


def _create_tells(task: Task) -> bool:
    """Tell whether a look-up less is enough: a joiner is most often new, and most targets refuse a second userName."""
    is_looked_for = bool(task.wanted.external_id) and "externalId" in task.can.find_by
    is_first = bool(task.wanted.active) and not task.cautious and task.account is None
    return is_looked_for and is_first and not task.can.look_twice


def _by_external_id(task: Task) -> Resource | None:
    external_id = task.wanted.external_id
    if not external_id or "externalId" not in task.can.find_by:
        return None
    return mine(task, hits_of(task, "externalId", external_id), "externalId")


def find_by_name(task: Task) -> Resource | None:
    """Return the account of the person's userName."""
    name = task.wanted.user_name
    if not name or "userName" not in task.can.find_by:
        return None
    return mine(task, hits_of(task, "userName", name), "userName")


def find_among_all(task: Task, only: str | None) -> Resource | None:
    """Return the account of the person's userName from everybody, or from those of a filter.

    Raises Refused when they are too many to be read.
    """
    name = task.wanted.user_name
    if not name:
        return None
    if not task.can.hides_inactive:
        return mine(task, fitting(task.client.everyone(task.talk, USERS, only=only), "userName", name), "userName")
    few = task.client.everyone(task.talk, USERS, only=only, attributes=LISTED, page_size=PAGE_SIZE)
    whole = [task.client.get(task.talk, USERS, str(hit["id"])) for hit in fitting(few, "userName", name)]
    return mine(task, fitting([hit for hit in whole if hit], "userName", name), "userName")


def hits_of(task: Task, name: str, value: str) -> list[Resource]:
    """Return the hits that are what was asked, whatever the target made of the filter."""
    hits = task.client.query(task.talk, USERS, name, value, allow={SERVER_ERROR} if task.cautious else None)
    return fitting(hits, name, value)


def fitting(hits: Sequence[Resource], name: str, value: str) -> list[Resource]:
    """Return those with this value: externalId is case-exact, userName is not (RFC 7643 sections 3.1 and 4.1.1)."""
    fold = str.lower if name == "userName" else str
    found = [hit for hit in hits if attribute(hit, "id") and fold(str(attribute(hit, name) or "")) == fold(value)]
    return [{**hit, "id": str(attribute(hit, "id"))} for hit in found]


def mine(task: Task, hits: list[Resource], name: str) -> Resource | None:
    """Return the one hit, when it is nobody else's. Raises Held with the accounts that are in question."""
    if not hits:
        return None
    if len({hit["id"] for hit in hits}) > 1:
        raise Held(f"several accounts have this {name}: {_shown(hits)}", reason="several_accounts")
    found = hits[0]
    external_id, owner = attribute(found, "externalId"), task.owner_of(str(found["id"]))
    known = f", and this person's is {task.account.id}" if task.account else ""
    if name != "externalId" and external_id and external_id not in {task.wanted.external_id, *task.ids}:
        text = f"the account of this userName belongs to another externalId: {_shown(hits)}{known}"
        raise Held(text, reason="other_owner")
    # Whom we know by this very name alone may be the same human; not so when that one left and the name is used again.
    same_name = owner is not None and owner.lower() == str(task.wanted.user_name).lower()
    if owner not in {None, task.person} and not (same_name and is_active(found) is not False):
        raise Held(f"the account {found['id']} was settled as another person's: {owner}{known}", reason="other_owner")
    return found


def _among(task: Task, everyone: Sequence[Resource]) -> Resource | None:
    """Return the person's account from everybody, who were read once for both names."""
    external_id, name = task.wanted.external_id, task.wanted.user_name
    hits = fitting(everyone, "externalId", external_id) if external_id else []
    found = mine(task, hits, "externalId")
    return found or (mine(task, fitting(everyone, "userName", name), "userName") if name else None)


def _shown(hits: Iterable[Resource]) -> str:
    lines = {f"{hit['id']} (externalId {attribute(hit, 'externalId') or 'empty'})" for hit in hits}
    return ", ".join(sorted(lines))


def _verified(found: Resource, account: Account, task: Task) -> Resource:
    """Check that the id still names the same person: the RFC reuses none, but targets are restored and rebuilt."""
    wanted, owner = task.wanted, attribute(found, "externalId")
    names = {str(name).lower() for name in (account.user_name, wanted.user_name) if name}
    name = str(attribute(found, "userName") or "").lower()
    if owner and wanted.external_id:
        if owner not in {wanted.external_id, *task.ids}:
            raise Held(
                f"the account {account.id} now belongs to another externalId: {owner}, not {wanted.external_id}",
                reason="other_owner",
            )
    elif name and names and name not in names:
        raise Held(f"the account {account.id} now has another userName", reason="other_owner")
    return {**found, "id": account.id}


def _check_lag(task: Task, account: Account) -> None:
    """Raise Postponed while a read may not show yet what was written: a second create would make a second account."""
    until = (account.settled_at or datetime.min.replace(tzinfo=UTC)) + timedelta(seconds=task.can.lag_seconds)
    if datetime.now(UTC) < until:
        raise Postponed("the target does not show the account yet", reason="lag")
