"""Google Workspace, by the Admin SDK's Directory API: who has an account, their profile and the names of their groups.

Set-up: Google Cloud console > a project > enable "Admin SDK API" > IAM > Service accounts > create one, and for it a
key of type JSON; Google Admin console > Security > API controls > Domain-wide delegation > Add new: the service
account's **client id** (a number) with the scopes
``https://www.googleapis.com/auth/admin.directory.user.readonly`` and
``https://www.googleapis.com/auth/admin.directory.group.readonly``. ``subject`` is an administrator in whose name is
read; a custom role with "Users > Read" and "Groups > Read" is enough::

    [directories.google]
    adapter = "google"
    credentials = "file:google.json"       # the key, as it was downloaded
    subject = "gatepost@acme.example"

Who works here: whoever is neither ``suspended`` nor ``archived``. Whoever was deleted is found for 20 days among the
deleted, and does not work here; after that nobody knows them, and they are taken for leavers only where a notice says
so. Of the deleted 2,000 are looked through; that there are more is noted in the log (``google.deleted_not_read``).

Google answers from copies, and tells no bound of how old they are; what a look shows right after a change may be what
was. So that somebody works here is said as of five minutes ago, and takes back no leave that is younger.

``external_id`` is Google's id, a number of 21 digits, which notifications name. The user name and the e-mail address
are both the primary address; an alias is nobody's name. ``person.user_type`` is the "type of employee", which Google
keeps as the description of the organization. Groups have names that need not be unique.

Limits: 2,400 queries a minute and project, told by 429 or by 403 with ``quotaExceeded``, ``rateLimitExceeded`` or
``userRateLimitExceeded``, and no time to wait; of somebody found by id one request, with ``groups`` two of who works
here. The list of everybody names no groups. That a quota ends in 403, and the words of its reasons, are what Google's
own client libraries go by; the days of the deleted are from its help pages.

https://developers.google.com/admin-sdk/directory/reference/rest/v1/users/list,
https://developers.google.com/admin-sdk/directory/v1/guides/search-users,
https://developers.google.com/identity/protocols/oauth2/service-account
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from typing import Annotated, Any

import structlog
from pydantic import AfterValidator, model_validator

from lifecycle.fields import HttpUrl, Section, Words
from lifecycle.secrets import Secret
from workers.directories.answers import FORBIDDEN, NOT_FOUND, objects, read, segment
from workers.directories.api import ANSWER_BYTES_MAX, PAGES_MAX, Api, Page, Talk
from workers.directories.base import COPIES_LAG, Glance, Opening, Record, Subject, normal
from workers.directories.credentials import Fetched, Grant, in_the_name_of, service_account
from workers.directories.people import Attributes, attributes_of, id_of, record_of
from workers.http import Answer, Http

DIRECTORY = "https://admin.googleapis.com/admin/directory/v1"
TOKEN = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
SCOPE = "https://www.googleapis.com/auth/admin.directory."
# The organization that is marked as the primary one, or else the first.
PRIMARY = "((organizations[?primary] | [0]) || organizations[0])"
ATTRIBUTES = {
    "user_name": "primaryEmail",
    "email": "primaryEmail",
    "given_name": "name.givenName",
    "family_name": "name.familyName",
    "display_name": "name.displayName || name.fullName",
    "title": f"{PRIMARY}.title",
    "department": f"{PRIMARY}.department",
    "cost_center": f"{PRIMARY}.costCenter",
    "organization": f"{PRIMARY}.name",
    "employee_number": "(externalIds[?type == 'organization'] | [0]).value",
    "manager": "(relations[?type == 'manager'] | [0]).value",
    "user_type": f"{PRIMARY}.description",
    "phone": "((phones[?type == 'work'] | [0]) || phones[0]).value",
    "locale": "((languages[?preference == 'preferred'] | [0]) || languages[0]).languageCode",
}
BUSY = frozenset({"quotaExceeded", "rateLimitExceeded", "userRateLimitExceeded"})
PAGE, GROUPS_PAGE = "500", "200"
# Of people deleted within 20 days, for somebody who is in no other list.
DELETED_PAGES_MAX, GROUP_PAGES_MAX, SAME_ADDRESS_PAGES_MAX = 4, 5, 1

log = structlog.get_logger()

Users = Sequence[dict[str, Any]]


def _key(found: Secret) -> Secret:
    try:
        service_account(found)
    except ValueError:
        msg = f"{found.reference} is no service account's key; allowed: the JSON file as it was downloaded"
        # Its words may quote the key.
        raise ValueError(msg) from None
    return found


class Options(Section):
    """The keys of ``[directories.NAME]`` that are this adapter's own."""

    credentials: Annotated[Secret, AfterValidator(_key)]
    """The service account's key, in JSON, best by ``file:``."""
    subject: Words
    """The address of the administrator in whose name is read."""
    customer: Words | None = None
    """Whose accounts are read; absent, those of the administrator's own customer."""
    domain: Words | None = None
    """One domain of them, instead."""
    groups: bool = True
    """Whether the names of a person's groups are read, by one request more."""
    base_url: HttpUrl = DIRECTORY
    """Where the API is."""
    token_url: HttpUrl = TOKEN
    """Where the bearer is fetched."""
    attributes: Attributes = {}  # noqa: RUF012 - pydantic copies a default
    """More of the user, as in ``"custom.badge" = "customSchemas.Facility.badge"``."""

    @model_validator(mode="after")
    def _check(self) -> "Options":
        if self.customer and self.domain:
            msg = "either customer or domain"
            raise ValueError(msg)
        return self


@dataclass(frozen=True)
class GoogleDirectory:
    """A customer who is asked."""

    api: Api
    attributes: Attributes
    groups: bool
    whose: Mapping[str, str]

    lags = True
    needs = (
        "delegate the scopes admin.directory.user.readonly and, for groups, admin.directory.group.readonly to the "
        "service account's client id in the Admin console, and let subject be an administrator who may read users"
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
        """Yield everybody, and those deleted of late, without their groups. Raises Postponed or Refused."""
        talk = self.api.listing()
        # The deleted last: whoever is deleted meanwhile is told twice, the second time as they are.
        for page in chain(self._pages(talk), self._pages(talk, showDeleted="true")):
            as_of = datetime.now(UTC)
            yield from (self._record(each, as_of, None) for each in _all(page, "users"))

    def glance(self) -> Glance:
        """Read one page, and somebody's groups. Raises Postponed or Refused."""
        talk, as_of = self.api.talk(), datetime.now(UTC)
        page = next(self._pages(talk))
        users = _all(page, "users")
        if at_work := next(filter(_works_here, users), None):
            self._groups(talk, at_work)
        return Glance.of([self._record(each, as_of, None) for each in users], is_all=not _token(page))

    def notes(self) -> Sequence[str]:
        """Return nothing: every value of a profile is one that the customer chose."""
        return []

    def _found(self, talk: Talk, name: str, value: str) -> Users:
        """Return who has this name, among the deleted where nobody else has it."""
        if name == "external_id":
            field, found = "id", self._by_id(talk, value)
        else:
            field, query = "primaryEmail", f"email={_quoted(value)}"
            pages = self._pages(talk, pages_max=SAME_ADDRESS_PAGES_MAX, query=query)
            found = [each for page in pages for each in _all(page, "users")]
        # The query finds whom an alias belongs to as well.
        bearers = [each for each in found if normal(name, str(each.get(field))) == normal(name, value)]
        return bearers or self._deleted(talk, name, field, value)

    def _by_id(self, talk: Talk, external_id: str) -> Users:
        # Anything else would be taken for an address.
        if not (external_id.isascii() and external_id.isdigit()):
            return []
        answer = talk.get(f"/users/{segment(external_id)}", {"projection": "full"}, allow={NOT_FOUND})
        return objects([read(answer)]) if answer.status != NOT_FOUND else []

    def _deleted(self, talk: Talk, name: str, field: str, value: str) -> Users:
        """Return who of the deleted had this name, of the first pages: Google has no way to ask for one of them."""
        found: list[dict[str, Any]] = []
        for number, page in enumerate(self._pages(talk, showDeleted="true"), 1):
            people = _all(page, "users")
            found += [each for each in people if normal(name, str(each.get(field))) == normal(name, value)]
            if found and name == "external_id":
                break
            if number == DELETED_PAGES_MAX and _token(page):
                log.warning("google.deleted_not_read", pages=number, found=len(found))
                break
        return found

    def _pages(self, talk: Talk, *, pages_max: int = PAGES_MAX, **more: str) -> Iterator[Answer]:
        first = Page("/users", {**self.whose, "projection": "full", "maxResults": PAGE, **more})
        return talk.pages(first, partial(_following, first), pages_max)

    def _groups(self, talk: Talk, user: dict[str, Any]) -> Sequence[str] | None:
        """Return the names of somebody's groups; None where they are not asked for, as of who does not work here."""
        if not self.groups or not _works_here(user):
            return None
        first = Page("/groups", {"userKey": id_of(user), "maxResults": GROUPS_PAGE})
        pages = talk.pages(first, partial(_following, first), GROUP_PAGES_MAX, of_somebody=True)
        return [str(group.get("name") or group.get("email")) for page in pages for group in _all(page, "groups")]

    def _record(self, user: dict[str, Any], as_of: datetime, groups: Sequence[str] | None) -> Record:
        ours = {"external_id": id_of(user)} | ({"groups": groups} if groups is not None else {})
        return record_of(user, self.attributes, ours, works_here=_works_here(user), as_of=as_of - COPIES_LAG)


def open_directory(opening: Opening) -> GoogleDirectory:
    """Return the directory, unasked. Raises Misconfigured."""
    options, http = opening.options(Options), Http(bytes_max=ANSWER_BYTES_MAX)
    key, reference = service_account(options.credentials), options.credentials.reference
    # Bearers are of a service account and of whom it acts for.
    client = Secret(reference, f"{key.client_email} {options.subject}")
    scopes = [f"{SCOPE}user.readonly", *([f"{SCOPE}group.readonly"] if options.groups else [])]
    grant = Grant(options.token_url, client, Secret(reference, key.private_key), scopes)
    ask = in_the_name_of(options.subject, key.client_email, key.private_key_id)
    api = Api(options.base_url, Fetched(grant, http, opening.redis, ask), http, opening.redis, is_busy=is_busy)
    whose = {"domain": options.domain} if options.domain else {"customer": options.customer or "my_customer"}
    return GoogleDirectory(api, attributes_of(ATTRIBUTES, options.attributes), options.groups, whose)


def is_busy(answer: Answer) -> bool:
    """Tell whether an answer that forbids is one of a quota."""
    return answer.status == FORBIDDEN and any(f'"{reason}"'.encode() in answer.body for reason in BUSY)


def _following(first: Page, answer: Answer) -> Page | None:
    token = _token(answer)
    return first._replace(query={**(first.query or {}), "pageToken": token}) if token else None


def _token(answer: Answer) -> str | None:
    found = read(answer)
    token = found.get("nextPageToken") if isinstance(found, dict) else None
    return token if isinstance(token, str) and token else None


def _all(answer: Answer, name: str) -> Users:
    """Return the objects of a page. Google leaves out a list that is empty; what has no kind is none of its pages."""
    found = read(answer)
    has_kind = isinstance(found, dict) and "kind" in found
    return objects(found.get(name, []) if has_kind else None)


def _works_here(user: Mapping[str, Any]) -> bool:
    return not (user.get("suspended") or user.get("archived") or "deletionTime" in user)


def _quoted(value: str) -> str:
    """Return a value of a query, which no character of it can end."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
