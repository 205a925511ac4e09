"""Genesys Cloud CX: SCIM for the account and its groups, the platform API for tokens and queues.

Attributes and their fields: https://help.mypurecloud.com/articles/scim-and-genesys-cloud-field-mappings/. Requests,
permissions and limits: https://developer.genesys.cloud/platform/api and the definitions that its SDKs carry. Skills,
languages and external ids are managed by mapping them, as lists of entries, under the extension URN below; roles by
the policy's grants.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from lifecycle.errors import Postponed, Refused
from lifecycle.paths import Path
from lifecycle.target import Profile
from workers.http import Answer
from workers.resource import attribute
from workers.scim.agreement import agree as agree_by_scim
from workers.scim.answers import document
from workers.scim.client import NO_CONTENT, NOT_FOUND, OK, Conversation
from workers.scim.lockout import was_revoked
from workers.task import Agreement, Task, worse

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
GENESYS = "urn:ietf:params:scim:schemas:extension:genesys:purecloud:2.0:User"

# Skills and languages: at most so many, each with a proficiency up to so much.
ROUTED, ROUTED_MAX, PROFICIENCY_MAX = frozenset({"routingSkills", "routingLanguages"}), 50, 5.0

# There is no name.givenName, no nickName, no address: displayName is the one name, and it is required.
NAME = (
    "person.display_name != null ? person.display_name"
    " : person.given_name != null && person.family_name != null ? person.given_name + ' ' + person.family_name"
    " : person.given_name != null ? person.given_name : person.family_name"
)
ATTRIBUTES = {
    "userName": "person.email != null ? person.email : person.user_name",  # the main e-mail address
    "displayName": NAME,
    "title": "person.title",
    'phoneNumbers[type eq "work"].value': "person.phone",
    f"{ENTERPRISE}:department": "person.department",
    f"{ENTERPRISE}:division": "person.division",  # by name; it has to exist
    f"{ENTERPRISE}:employeeNumber": "person.employee_number",
}

PROFILE = Profile(
    discovery=True,
    patch=True,
    operations_max=20,  # no limit is published; one concern a request is what the vendor's own clients keep to
    active_alone=True,  # a change of state goes by itself: other fields of the same request are not applied
    etag=True,  # strong tags; a mismatch is 400 invalidVers, not 412
    bulk=False,
    filter=True,
    find_by=["externalId", "userName"],
    hides_inactive=True,  # a list without a filter holds active users only
    restores=True,  # a deleted user of this address comes back under the old id, without its roles
    cursor=False,
    page_size=25,  # more of the costly attributes "may exceed internal limits and answer 429"
    member_remove="filter",
    member_batch=50,
    create_groups=False,  # the definition has no POST of groups
    lag_seconds=180,  # the vendor's own provider waits so long for a search to show what was written
    revoke_sessions=True,
    leave_queues=False,
)
REQUESTS_PER_MINUTE = 300
"""``client.credentials.token.rate.per.minute``, of one OAuth client."""

# Where SCIM stands beside the platform API: both ``/scim/v2`` and ``/scim`` are published.
SCIM = re.compile(r"/scim(/v2)?", re.IGNORECASE)
QUEUES_PAGE, QUEUE_PAGES_MAX = 100, 10

# What the definitions say that a request needs, by method and the start of its path: the first that fits counts.
USER_PARTS = "authorization:grant:add, authorization:grant:delete, routing:skill:assign, routing:language:assign"
PERMISSIONS = (
    ("POST", "/users", f"directory:user:add; for roles, skills and languages {USER_PARTS}"),
    ("PATCH", "/users", f"directory:user:edit; for roles, skills and languages {USER_PARTS}"),
    ("PUT", "/users", f"directory:user:edit; for roles, skills and languages {USER_PARTS}"),
    ("DELETE", "/users", "directory:user:delete"),
    ("GET", "/groups", "directory:group:edit"),
    ("PATCH", "/groups", "directory:group:edit"),
    ("PUT", "/groups", "directory:group:edit"),
    ("DELETE", "/api/v2/tokens", "oauth:token:delete"),
    ("GET", "/api/v2/users", "routing:queue:view"),
    ("DELETE", "/api/v2/routing/queues", "routing:queue:edit"),
)
FORBIDDEN = 403
NEEDS = " (needs "


def agree(task: Task) -> Agreement:
    """Make the account agree; of a leaver the tokens too, and the queues where the profile says so.

    Raises as a plain SCIM target does; what is forbidden names the permission.
    """
    task, refused = _fitting(task)
    try:
        agreement = agree_by_scim(task, locked_out=lock_out)
    except Refused as error:
        raise _named(error, task.talk) from error
    agreement.trouble = worse(agreement.trouble, refused)
    if isinstance(agreement.trouble, Refused):
        agreement.trouble = _named(agreement.trouble, task.talk)
    return agreement


def _fitting(task: Task) -> tuple[Task, Refused | None]:
    """Leave out skills and languages that cannot be: the schema does not tell their documented limits."""
    bad = {path: why for path, value in task.wanted.attributes.items() if (why := _unfit(path, value))}
    if not bad:
        return task, None
    attributes = {path: value for path, value in task.wanted.attributes.items() if path not in bad}
    refused = Refused("; ".join(f"{path.text}: {why}" for path, why in bad.items()), reason="value")
    return replace(task, wanted=replace(task.wanted, attributes=attributes)), refused


def _unfit(path: Path, value: Any) -> str | None:  # noqa: ANN401 - a SCIM value
    if path.urn != GENESYS or path.name not in ROUTED or not isinstance(value, list):
        return None
    if len(value) > ROUTED_MAX:
        return f"found {len(value)} entries; allowed: {ROUTED_MAX}"
    levels = [attribute(entry, "proficiency") for entry in value]
    is_good = all(each is None or (isinstance(each, int | float) and 0 <= each <= PROFICIENCY_MAX) for each in levels)
    return None if is_good else f"a proficiency is out of range; allowed: 0 to {PROFICIENCY_MAX}"


def lock_out(task: Task, agreement: Agreement, account_id: str) -> None:
    """Delete the tokens of somebody who is inactive now: an inactive user's session would go on until it ends.

    Suspended first, revoked second, so that no new session can begin between the two. Of somebody who was out before,
    only what is not done yet.
    """
    account = task.account
    was_out = account is not None and account.active is False and agreement.applied_at is None
    is_settled = was_out and account is not None and account.digest != ""
    if was_revoked(account, agreement):
        # Where reads lag, an attempt that could not be confirmed revoked them, and nobody was told.
        agreement.sessions_revoked = account is not None and account.active is not False
    elif task.can.revoke_sessions and _try(agreement, _revoke, task, account_id):
        agreement.sessions_revoked = True
        agreement.applied_at = agreement.applied_at or datetime.now(UTC)
    if task.can.leave_queues and not is_settled:
        _try(agreement, _leave_queues, task, account_id)


def _try(agreement: Agreement, step: Callable[[Task, str], None], task: Task, account_id: str) -> bool:
    """Take a step; its trouble is kept, for the account itself is locked already."""
    try:
        step(task, account_id)
    except Refused as error:
        agreement.trouble = worse(agreement.trouble, _named(error, task.talk))
    except Postponed as error:
        agreement.trouble = worse(agreement.trouble, error)
    else:
        return True
    return False


def _revoke(task: Task, account_id: str) -> None:
    _platform(task, "DELETE", f"/tokens/{quote(account_id, safe='')}", allow={OK, NO_CONTENT, NOT_FOUND})


def _leave_queues(task: Task, account_id: str) -> None:
    user = quote(account_id, safe="")
    for queue in _queues(task, user):
        path = f"/routing/queues/{quote(queue, safe='')}/members/{user}"
        _platform(task, "DELETE", path, allow={OK, NO_CONTENT, NOT_FOUND})


def _queues(task: Task, user: str) -> list[str]:
    """Return the ids of a user's queues; paged until a page brings none that is new."""
    queues: dict[str, None] = {}
    for number in range(1, QUEUE_PAGES_MAX + 1):
        query = f"pageSize={QUEUES_PAGE}&pageNumber={number}"
        page = document(_platform(task, "GET", f"/users/{user}/queues?{query}", allow={OK}))
        entities = attribute(page, "entities")
        ids = [attribute(each, "id") for each in entities] if isinstance(entities, list) else []
        found = dict.fromkeys(str(each) for each in ids if each)
        count = attribute(page, "pageCount")
        if found.keys() <= queues.keys() or (isinstance(count, int) and number >= count):
            return list(queues | found)
        queues |= found
    raise Refused(f"the account is in more than {len(queues)} queues", reason="refused")


def _platform(task: Task, method: str, path: str, *, allow: set[int]) -> Answer:
    """Ask the platform API, which stands beside SCIM."""
    base = urlsplit(task.client.base)
    found = SCIM.search(base.path)
    if found is None:
        raise Refused("base_url has no /scim in it, so the platform API is not known", reason="refused")
    url = base._replace(path=base.path[: found.start()]).geturl() + path
    return task.client.send(task.talk, method, url, allow=allow, shown=urlsplit(url).path)


def _named(error: Refused, talk: Conversation) -> Refused:
    """Name the permission that the request needed which was forbidden, once."""
    refused = next((each for each in reversed(talk.exchanges) if each.status == FORBIDDEN), None)
    if error.reason != "forbidden" or refused is None or NEEDS in error.message:
        return error
    method, path = refused.method, refused.path.lower()
    needs = next((needs for verb, start, needs in PERMISSIONS if verb == method and path.startswith(start)), None)
    return Refused(f"{error.message}{NEEDS}{needs})", reason=error.reason) if needs else error
