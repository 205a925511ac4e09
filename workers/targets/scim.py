"""Any SCIM 2.0 service provider, by the book (RFC 7643, RFC 7644).

Look up, verify, then write: a filter that a server ignores answers with somebody else, so every hit is compared with
what was asked. A conflict on create means that the account is there already; it is adopted when it belongs to nobody
else. Success is what the target shows: after a suspension the account is read back.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from lifecycle.errors import GatepostError, Held, Postponed, Refused
from lifecycle.person import Account
from lifecycle.target import Profile
from workers.http import Answer
from workers.plan import Resource, attribute, changes, essential, is_active, new_account
from workers.policy import Wanted
from workers.scim.answers import failure, parse, scim_type
from workers.scim.change import USERS, Change
from workers.targets.base import Agreement, Task

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"

ATTRIBUTES = {
    "userName": "person.user_name != null ? person.user_name : person.email",
    "displayName": "person.display_name",
    "name.givenName": "person.given_name",
    "name.familyName": "person.family_name",
    "title": "person.title",
    'emails[type eq "work"].value': "person.email",
    'phoneNumbers[type eq "work"].value': "person.phone",
    f"{ENTERPRISE}:department": "person.department",
    f"{ENTERPRISE}:division": "person.division",
    f"{ENTERPRISE}:costCenter": "person.cost_center",
    f"{ENTERPRISE}:organization": "person.organization",
    f"{ENTERPRISE}:employeeNumber": "person.employee_number",
}

PROFILE = Profile(
    discovery=True, patch="discover", etag="discover", bulk="discover", filter="discover", cursor="discover"
)
REQUESTS_PER_MINUTE = None

# 409 is the rule; 400 and 500 were seen for duplicates, so after those a look-up decides too.
CONFLICT, BAD_REQUEST, SERVER_ERROR = 409, 400, 500
UNPROCESSABLE = 422
CONTENT = {BAD_REQUEST, UNPROCESSABLE}
CREATE_REFUSALS = CONTENT | {CONFLICT, SERVER_ERROR}


def agree(task: Task) -> Agreement:
    """Find the account, create it if somebody joined, change what differs, confirm a suspension, keep the groups."""
    found = _find(task)
    created = False
    if found is None:
        if task.wanted.active is not True:
            return Agreement(note="no account")
        found, created = _create(task)
    if _names(found) & task.protected:
        return Agreement(ignored="protected")
    before = _memberships(task, found)
    agreement = Agreement(groups_before=sorted(before))
    operations = [] if created else changes(found, task.wanted, adopt=_adopts(task))
    taken, trouble = _change_of(task).write(found, operations) if operations else (created, None)
    agreement.trouble = trouble
    if taken:
        agreement.applied_at = datetime.now(UTC)
    if task.wanted.active is False:
        if operations:
            _confirm(task, found)
        agreement.confirmed_at = datetime.now(UTC)
    memberships = _keep_groups(task, str(found["id"]), before, agreement)
    _conclude(task, found, memberships, agreement)
    return agreement


# ---- find


def _find(task: Task) -> Resource | None:
    """Return the person's account: by the id we know, else by externalId, else by userName; each hit verified."""
    wanted, account = task.wanted, task.account
    if account is not None:
        found = task.client.get(task.talk, USERS, account.id)
        if found is not None:
            return _verified(found, account, wanted)
    if wanted.external_id:
        hits = _hits(task, "externalId", wanted.external_id)
        if hits:
            return _only(hits, "externalId")
        # A joiner is most often new, and the target refuses a second userName: the create tells, and saves a request.
        if wanted.active and not task.cautious and account is None:
            return None
    return _find_by_name(task)


def _find_by_name(task: Task) -> Resource | None:
    name = task.wanted.user_name
    return _mine(task, _hits(task, "userName", name)) if name else None


def _find_among_all(task: Task) -> Resource | None:
    name = task.wanted.user_name
    try:
        everyone = task.client.everyone(task.talk, USERS)
    except Refused:
        return None
    return _mine(task, _fitting(everyone, "userName", name)) if name else None


def _mine(task: Task, hits: list[Resource]) -> Resource | None:
    """Return the account of our person's userName. Raises Held when it is somebody else's, or one of several."""
    if not hits:
        return None
    found = _only(hits, "userName")
    owner = attribute(found, "externalId")
    if owner and owner != task.wanted.external_id:
        raise Held(f"the account {found['id']} of this userName belongs to another externalId", reason="other_owner")
    return found


def _hits(task: Task, name: str, value: str) -> list[Resource]:
    """Return the hits that are what was asked, whatever the target made of the filter."""
    hits = task.client.query(task.talk, USERS, name, value, allow={SERVER_ERROR} if task.cautious else None)
    return _fitting(hits, name, value)


def _fitting(hits: Sequence[Resource], name: str, value: str) -> list[Resource]:
    """Return those with this value: externalId is case-exact, userName is not (RFC 7643)."""
    fold = str.lower if name == "userName" else str
    fitting = [hit for hit in hits if attribute(hit, "id") and fold(str(attribute(hit, name) or "")) == fold(value)]
    return [{**hit, "id": str(attribute(hit, "id"))} for hit in fitting]


def _only(hits: list[Resource], name: str) -> Resource:
    if len({hit["id"] for hit in hits}) > 1:
        ids = ", ".join(sorted(hit["id"] for hit in hits))
        raise Held(f"several accounts have this {name}: {ids}", reason="several_accounts")
    return hits[0]


def _verified(found: Resource, account: Account, wanted: Wanted) -> Resource:
    """Check that the id still names the same person: the RFC reuses none, but targets are restored and rebuilt."""
    owner = attribute(found, "externalId")
    names = {str(name).lower() for name in (account.user_name, wanted.user_name) if name}
    name = str(attribute(found, "userName") or "").lower()
    if owner and wanted.external_id:
        if owner != wanted.external_id:
            raise Held(f"the account {account.id} now belongs to another externalId", reason="other_owner")
    elif name and names and name not in names:
        raise Held(f"the account {account.id} now has another userName", reason="other_owner")
    return {**found, "id": account.id}


def _names(found: Resource) -> set[str]:
    emails = attribute(found, "emails")
    addresses = [attribute(entry, "value") for entry in emails] if isinstance(emails, list) else []
    return {
        str(name).lower() for name in (attribute(found, "userName"), attribute(found, "externalId"), *addresses) if name
    }


# ---- create


def _create(task: Task) -> tuple[Resource, bool]:
    """Create the account, or return the one that stood in its way. The flag tells which."""
    if not task.wanted.user_name:
        raise Refused(
            "neither user_name nor email is known, and an account needs a userName",
            reason="user_name_missing",
        )
    body = new_account(task.wanted)
    answer = task.client.create(task.talk, USERS, body, allow=CREATE_REFUSALS)
    complete = True
    if answer.status in CREATE_REFUSALS:
        found = _in_the_way(task, answer) if answer.status != UNPROCESSABLE else None
        if found is not None:
            return found, False
        # Some refuse a whole account for an attribute that they do not know; what is left out is written next.
        less = essential(body)
        if answer.status not in CONTENT or not _names_one(answer, {"primary"} | (body.keys() - less.keys())):
            raise failure(answer, datetime.now(UTC))
        body, complete = less, False
        answer = task.client.create(task.talk, USERS, body, allow=set())
    resource_id = _id_of(answer)
    if resource_id is None:
        # Created, but the target does not say as what: the next attempt looks for it.
        raise Postponed("the target created an account and gave no id", reason="no_answer")
    return {**body, **parse(answer), "id": resource_id}, complete


def _names_one(answer: Answer, names: Iterable[str]) -> bool:
    text = answer.body.decode("utf-8", "replace").lower()
    return any(name.lower() in text for name in names)


def _in_the_way(task: Task, answer: Answer) -> Resource | None:
    """Return the account that a refused create points at, None when there is none."""
    if answer.status == BAD_REQUEST and scim_type(answer) not in {"", "uniqueness"}:
        return None
    found = _find_by_name(task)
    if found is None and task.wanted.external_id:
        hits = _hits(task, "externalId", task.wanted.external_id)
        found = _only(hits, "externalId") if hits else None
    if found is None and answer.status == CONFLICT:
        # Some answer a filter that they do not know with nobody; the conflict says that there is somebody.
        found = _find_among_all(task)
    return found


def _id_of(answer: Answer) -> str | None:
    found = attribute(parse(answer), "id")
    if found:
        return str(found)
    return answer.headers.get("location", "").rstrip("/").rpartition("/")[2] or None


# ---- confirm, groups, conclude


def _confirm(task: Task, found: Resource) -> None:
    """Read the account back. Raises Postponed until the target shows it inactive: some answer 200 and do nothing."""
    shown = task.client.get(task.talk, USERS, str(found["id"]))
    if task.cautious and shown is not None and is_active(shown) is not False:
        _change_of(task).replace(found)
        shown = task.client.get(task.talk, USERS, str(found["id"]))
    if shown is not None and is_active(shown) is not False:
        raise Postponed("the target does not show the account as inactive", reason="unconfirmed")


def _change_of(task: Task) -> Change:
    return Change(task.client, task.talk, task.wanted, adopt=_adopts(task), cautious=task.cautious)


def _adopts(task: Task) -> bool:
    """Tell whether our externalId is written too; nothing may stand in the way of a leaver's access."""
    return task.account is None and task.wanted.active is not False


def _memberships(task: Task, found: Resource) -> dict[str, str]:
    """Return the managed groups that the account is in: what we did, and what the account itself shows."""
    known = dict(task.account.groups) if task.account else {}
    shown = attribute(found, "groups")
    for entry in shown if isinstance(shown, list) else []:
        name, group_id = attribute(entry, "display"), attribute(entry, "value")
        if name in task.managed and group_id:
            known[str(name)] = str(group_id)
    return known


def _keep_groups(task: Task, account_id: str, before: dict[str, str], agreement: Agreement) -> dict[str, str]:
    """Join and leave; one group that fails does not keep the account from the others."""
    memberships = dict(before)
    for name in sorted(set(before) - task.wanted.groups):
        try:
            task.groups.leave(task.talk, before[name], account_id)
        except (Postponed, Refused) as error:
            agreement.trouble = _worse(agreement.trouble, error)
        else:
            del memberships[name]
            agreement.groups_removed.append(name)
    for name in sorted(task.wanted.groups - set(before)):
        try:
            memberships[name] = task.groups.join(task.talk, name, account_id)
            agreement.groups_added.append(name)
        except (Postponed, Refused) as error:
            agreement.trouble = _worse(agreement.trouble, error)
    return memberships


def _worse(first: GatepostError | None, second: GatepostError) -> GatepostError:
    """Postponed comes before Refused: what time can mend is tried first, and the rest is found again then."""
    return first if isinstance(first, Postponed) else second


def _conclude(task: Task, found: Resource, memberships: dict[str, str], agreement: Agreement) -> None:
    account, wanted = task.account, task.wanted
    digest = _digest(wanted)
    moved = bool(agreement.groups_added or agreement.groups_removed)
    # A write whose answer was lost is found done; that the digest differs shows that it was never told.
    unseen = account is None or account.digest not in {"", digest} or _switched(account, wanted)
    if agreement.applied_at is not None or moved or unseen:
        agreement.change = _change(account, wanted, wrote=agreement.applied_at is not None)
        agreement.applied_at = agreement.applied_at or datetime.now(UTC)
    agreement.account = Account(
        id=str(found["id"]),
        user_name=wanted.user_name or attribute(found, "userName"),
        active=is_active(found) if wanted.active is None else wanted.active,
        groups=memberships,
        digest=digest if agreement.trouble is None else "",
        settled_at=datetime.now(UTC),
    )


def _switched(account: Account, wanted: Wanted) -> bool:
    return wanted.active is not None and account.active is not wanted.active


def _change(account: Account | None, wanted: Wanted, *, wrote: bool) -> str:
    was_active = None if account is None else account.active
    if wanted.active is False:
        return "updated" if was_active is False and not wrote else "suspended"
    if was_active is False and wanted.active:
        return "restored"
    return "provisioned" if account is None and wanted.active else "updated"


def _digest(wanted: Wanted) -> str:
    attributes = {path.text: value for path, value in wanted.attributes.items()}
    text = json.dumps([wanted.active, attributes, sorted(wanted.groups)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
