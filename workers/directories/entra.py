"""Microsoft Entra ID, by Microsoft Graph: who may sign in, their profile, their manager and the names of their groups.

Set-up: Entra admin centre > App registrations > New registration; API permissions > Microsoft Graph > **application**
permissions ``User.Read.All`` and, with ``groups``, ``GroupMember.Read.All`` (with ``leave_date`` also
``User-LifeCycleInfo.Read.All``) > Grant admin consent; Certificates & secrets > New client secret, whose **value** is
shown once and which lives two years at most::

    [directories.entra]
    adapter = "entra"
    tenant = "7e7a0000-1111-4222-8333-444455556666"     # or a domain of the tenant
    client_id = "env:ENTRA_CLIENT_ID"
    client_secret = "env:ENTRA_CLIENT_SECRET"

National clouds have hosts of their own: ``graph_url = "https://graph.microsoft.us/v1.0"`` and ``token_url =
"https://login.microsoftonline.us/TENANT/oauth2/v2.0/token"``.

Who works here: whose ``accountEnabled`` is true. Whoever was deleted is found for 30 days among the deleted items, and
does not work here; a notification that Graph sent for a creation or a deletion says "updated" either way, so the look
decides. After that nobody knows them, and they are taken for leavers only where a notice says so. Guests are people of
the tenant like others: ``person.user_type`` is their employee type, or else ``Member`` or ``Guest``.

``external_id`` is the object id, which is what notifications name. A person is looked for by it, then by user principal
name, then by ``mail``; other addresses are nobody's name. Of a deleted person Entra puts the object id before the
user principal name; it is taken off.

Graph answers from copies that lag behind each other by seconds, rarely minutes: a look right after a change may show
what was. So that somebody works here is said as of five minutes ago, and takes back no leave that is younger; the delta
query, read now and then, mends the rest. Limits: 429 with ``Retry-After``,
for which all workers wait. A look-up takes one request, with ``groups`` two of who works here; of somebody deleted, one
more for each name. The list of everybody names no groups.

https://learn.microsoft.com/graph/api/user-get, https://learn.microsoft.com/graph/api/directory-deleteditems-list,
https://learn.microsoft.com/graph/throttling, https://learn.microsoft.com/graph/aad-advanced-queries
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any
from urllib.parse import quote

from lifecycle.errors import Refused
from lifecycle.fields import HttpUrl, Section, Words
from lifecycle.secrets import Secret
from workers.directories import entra_delta
from workers.directories.answers import NOT_FOUND, objects, read, segment
from workers.directories.api import ANSWER_BYTES_MAX, Api, Page, Talk
from workers.directories.base import COPIES_LAG, Glance, Opening, Record, Subject, normal
from workers.directories.changes import Changes
from workers.directories.credentials import Fetched, Grant, by_form
from workers.directories.entra_delta import next_page
from workers.directories.people import Attributes, attributes_of, id_of, present, record_of, roots, status_unknown
from workers.http import Answer, Http

GRAPH = "https://graph.microsoft.com/v1.0"
LOGIN = "https://login.microsoftonline.com"
ATTRIBUTES = {
    "user_name": "userPrincipalName",
    "email": "mail",
    "given_name": "givenName",
    "family_name": "surname",
    "display_name": "displayName",
    "title": "jobTitle",
    "department": "department",
    "division": "employeeOrgData.division",
    "cost_center": "employeeOrgData.costCenter",
    "organization": "companyName",
    "employee_number": "employeeId",
    "manager": "manager.id",
    "user_type": "employeeType || userType",
    "phone": "businessPhones[0] || mobilePhone",
    "locale": "preferredLanguage",
    "start_at": "employeeHireDate",
}
LEAVE_DATE = {"end_at": "employeeLeaveDateTime"}
OBJECT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
USERS, DELETED = "/users", "/directory/deletedItems/microsoft.graph.user"
# Of people who were not deleted: what else Graph tells of those is not documented.
MANAGER = {"$expand": "manager($select=id)"}
# Of 999 that may be asked for; each brings a manager.
PAGE, GROUPS_PAGE, GROUP_PAGES_MAX, SAME_NAME_PAGES_MAX = "500", "999", 2, 2
GROUP = "#microsoft.graph.group"

Users = Sequence[dict[str, Any]]


class Options(Section):
    """The keys of ``[directories.NAME]`` that are this adapter's own."""

    tenant: Words
    """The id of the tenant, or a domain of it."""
    client_id: Secret
    client_secret: Secret
    token_url: HttpUrl | None = None
    """Where the bearer is fetched, in a national cloud."""
    graph_url: HttpUrl = GRAPH
    """Where Graph is, with its version."""
    groups: bool = True
    """Whether the names of a person's groups are read, by one request more: those that they are members of directly."""
    leave_date: bool = False
    """Whether ``employeeLeaveDateTime`` is read, as ``end_at``."""
    attributes: Attributes = {}  # noqa: RUF012 - pydantic copies a default
    """More of the user, as in ``"custom.site" = "onPremisesExtensionAttributes.extensionAttribute1"``."""


@dataclass(frozen=True)
class EntraDirectory:
    """A tenant that is asked."""

    api: Api
    attributes: Attributes
    groups: bool

    lags = True
    needs = (
        "give the tenant, the client id and a client secret's value that has not expired; grant the application "
        "permissions User.Read.All and, for groups, GroupMember.Read.All, with admin consent"
    )

    def find(self, subject: Subject) -> Sequence[Record]:
        """Return the records that bear the strongest name that any bears. Raises Postponed or Refused."""
        talk, as_of = self.api.talk(subject), datetime.now(UTC)
        for name, value in subject._asdict().items():
            found = self._found(talk, name, value) if value else []
            if found:
                return [self._record(each, as_of, self._groups(talk, each)) for each in found]
        return []

    def list(self) -> Iterator[Record]:
        """Yield everybody, and those deleted within 30 days, without their groups. Raises Postponed or Refused."""
        # The deleted last: whoever is deleted meanwhile is told twice, the second time as they are.
        for page, is_deleted in chain(self._pages(USERS), self._pages(DELETED)):
            as_of = datetime.now(UTC)
            for user in objects(_value(page)):
                yield self._record(_as_deleted(user) if is_deleted else user, as_of, None)

    def glance(self) -> Glance:
        """Read one page, one of the deleted, and somebody's groups. Raises Postponed or Refused."""
        talk, as_of = self.api.talk(), datetime.now(UTC)
        page = talk.get(USERS, self._query(MANAGER | {"$top": PAGE}))
        talk.get(DELETED, self._query({"$top": "1"}))
        users = objects(_value(page))
        if at_work := next(filter(_works_here, users), None):
            self._groups(talk, at_work)
        records = [self._record(user, as_of, None) for user in users]
        return Glance.of(records, is_all=next_page(page) is None)

    def changes(self, position: str | None, now: datetime) -> Changes:
        """Make one step of the delta queries. Raises Postponed or Refused."""
        tracked = entra_delta.Tracked(("accountEnabled", *roots(self.attributes)), self.groups)
        return entra_delta.changes(self.api, position, now, tracked)

    def notes(self) -> Sequence[str]:
        """Return nothing: whoever is shown no attribute is told so by an error."""
        return []

    def _found(self, talk: Talk, name: str, value: str) -> Users:
        """Return who has this name, among the deleted where nobody else has it."""
        if name == "external_id":
            # Anything else would be taken for a user principal name.
            return self._by_id(talk, value) if OBJECT_ID.fullmatch(value) else []
        field = {"user_name": "userPrincipalName", "email": "mail"}[name]
        found = self._filtered(talk, USERS, f"{field} eq {quoted(value)}")
        if not found and name == "email":
            found = [_as_deleted(each) for each in self._filtered(talk, DELETED, f"mail eq {quoted(value)}")]
        elif not found:
            found = self._deleted_by_ending(value)
        return [each for each in found if normal(name, str(each.get(field))) == normal(name, value)]

    def _by_id(self, talk: Talk, object_id: str) -> Users:
        answer = talk.get(f"{USERS}/{segment(object_id)}", self._query(MANAGER), allow={NOT_FOUND})
        if answer.status != NOT_FOUND:
            found: Users = objects([read(answer)])
        else:
            found = [_as_deleted(each) for each in self._filtered(talk, DELETED, f"id eq {quoted(object_id)}")]
        return [each for each in found if id_of(each) == object_id]

    def _filtered(self, talk: Talk, path: str, text: str, **more: str) -> Users:
        query = self._query((MANAGER if path == USERS else {}) | {"$filter": text, **more})
        pages = talk.pages(Page(path, query), next_page, SAME_NAME_PAGES_MAX)
        return [each for page in pages for each in objects(_value(page))]

    def _deleted_by_ending(self, name: str) -> Users:
        """Return the deleted whose user principal name was this: only the ending is left as it was."""
        # What Graph calls an advanced query, of an index that lags.
        api = replace(self.api, headers={**self.api.headers, "consistencylevel": "eventual"})
        text = f"endswith(userPrincipalName,{quoted(name)})"
        found = self._filtered(api.talk([name]), DELETED, text, **{"$count": "true"})
        return [_as_deleted(each) for each in found]

    def _pages(self, path: str) -> Iterator[tuple[Answer, bool]]:
        first = Page(path, self._query((MANAGER if path == USERS else {}) | {"$top": PAGE}))
        return ((page, path == DELETED) for page in self.api.listing().pages(first, next_page))

    def _query(self, query: Mapping[str, str]) -> dict[str, str]:
        fields = dict.fromkeys(["id", "accountEnabled", *roots(self.attributes)])
        return {"$select": ",".join(name for name in fields if name != "manager"), **query}

    def _groups(self, talk: Talk, user: dict[str, Any]) -> Sequence[str] | None:
        """Return the names of somebody's groups; None where they are not asked for, as of who does not work here."""
        if not self.groups or not _works_here(user):
            return None
        query = {"$select": "id,displayName", "$top": GROUPS_PAGE}
        first = Page(f"{USERS}/{segment(id_of(user))}/memberOf", query)
        pages = talk.pages(first, next_page, GROUP_PAGES_MAX, of_somebody=True)
        found = [each for page in pages for each in objects(_value(page))]
        names = [each.get("displayName") for each in found if each.get("@odata.type", GROUP) == GROUP]
        if None in names:
            raise Refused("Graph shows groups without their names", reason="credentials")
        return [str(name) for name in names]

    def _record(self, user: dict[str, Any], as_of: datetime, groups: Sequence[str] | None) -> Record:
        works_here = _works_here(user)
        if works_here is None:
            raise status_unknown(id_of(user))
        ours = {"external_id": id_of(user)} | ({"groups": groups} if groups is not None else {})
        told = present(user, self.attributes) if user.get("deleted") else self.attributes
        return record_of(user, told, ours, works_here=works_here, as_of=as_of - COPIES_LAG)


def open_directory(opening: Opening) -> EntraDirectory:
    """Return the directory, unasked. Raises Misconfigured."""
    options, http = opening.options(Options), Http(bytes_max=ANSWER_BYTES_MAX)
    token_url = options.token_url or f"{LOGIN}/{quote(options.tenant, safe='')}/oauth2/v2.0/token"
    scope = f"{'/'.join(options.graph_url.split('/', 3)[:3])}/.default"
    grant = Grant(token_url, options.client_id, options.client_secret, (scope,))
    api = Api(options.graph_url, Fetched(grant, http, opening.redis, by_form), http, opening.redis)
    own = ATTRIBUTES | (LEAVE_DATE if options.leave_date else {})
    return EntraDirectory(api, attributes_of(own, options.attributes), options.groups)


def quoted(value: str) -> str:
    """Return a text of OData, which no character of it can end."""
    return "'" + value.replace("'", "''") + "'"


def _value(answer: Answer) -> Any:  # noqa: ANN401 - JSON
    found = read(answer)
    return found.get("value") if isinstance(found, dict) else None


def _works_here(user: dict[str, Any]) -> bool | None:
    found = False if user.get("deleted") else user.get("accountEnabled")
    return found if isinstance(found, bool) else None


def _as_deleted(user: dict[str, Any]) -> dict[str, Any]:
    name, mark = str(user.get("userPrincipalName") or ""), id_of(user).replace("-", "")
    return {**user, "userPrincipalName": name.removeprefix(mark), "deleted": True}
