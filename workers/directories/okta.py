"""An Okta organisation, by its Users API: who works there, their profile, and the names of their groups.

Set-up: either **an API token** (Security > API > Tokens), made by a service account that is a Read-only Administrator,
for a token may do what its maker may, and dies with the maker's account or after 30 days without use::

    [directories.okta]
    adapter = "okta"
    base_url = "https://acme.okta.com"          # the organisation's own address, not -admin
    token = "env:OKTA_API_TOKEN"

or, with fewer rights, **a service app** (Applications > Create App Integration > API Services; client authentication
"Public key / Private key"; "Require DPoP" off; scope ``okta.users.read`` granted, which is for groups too; admin role
Read-only Administrator) with ``client_id``, ``private_key`` (RSA, PEM) and ``key_id``, the ``kid`` of the public key.

Who works here: ``ACTIVE``, ``PROVISIONED`` (activated, first sign-in to come), ``RECOVERY``, ``PASSWORD_EXPIRED`` and
``LOCKED_OUT``: those are states of a password, not of a job. Who does not: ``SUSPENDED``, ``DEPROVISIONED``, and
``STAGED``, which is an account that nobody activated yet. Whoever was deleted for good is not in the directory, and is
taken for a leaver only where a notice says so: Okta deletes only who was deactivated before.

``external_id`` is Okta's id (``00u...``), which is what its event hooks name. A person is read by id or login, which is
what Okta answers from its newest data; an address is looked for by ``filter`` and by ``search``, for only the first is
up to date and only the second ignores letter case, and whoever is found by search is read again by id.

Limits: by endpoint and organisation, told in ``X-Rate-Limit-*`` with every answer; where one is used up, all workers
wait until it begins anew. A look-up takes two requests, one without ``groups`` and of who does not work here. The list
of everybody names no groups, for that would be a request a person, and has the deactivated people in it, which Okta
leaves out unless it is asked.

https://developer.okta.com/docs/api/openapi/okta-management/management/tag/User/,
https://developer.okta.com/docs/reference/rl-best-practices/
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pydantic import model_validator
from redis import Redis

from lifecycle.fields import HttpUrl, Section, Words
from lifecycle.secrets import Secret
from workers.directories import okta_log
from workers.directories.answers import NOT_FOUND, next_link, objects, read, segment
from workers.directories.api import ANSWER_BYTES_MAX, Api, Page, Talk
from workers.directories.base import Glance, Opening, Record, Subject, normal
from workers.directories.changes import Changes
from workers.directories.credentials import Credential, Fetched, Grant, Static, by_client_key
from workers.directories.people import Attributes, attributes_of, id_of, record_of, status_unknown
from workers.http import Answer, Http
from workers.scim.filters import equals

Users = Sequence[dict[str, Any]]

STATUSES = {
    "ACTIVE": True,
    "PROVISIONED": True,
    "RECOVERY": True,
    "PASSWORD_EXPIRED": True,
    "LOCKED_OUT": True,
    "STAGED": False,
    "SUSPENDED": False,
    "DEPROVISIONED": False,
}
ATTRIBUTES = {
    "user_name": "profile.login",
    "email": "profile.email",
    "given_name": "profile.firstName",
    "family_name": "profile.lastName",
    "display_name": "profile.displayName || join(' ', [profile.firstName, profile.lastName][?@])",
    "title": "profile.title",
    "department": "profile.department",
    "division": "profile.division",
    "cost_center": "profile.costCenter",
    "organization": "profile.organization",
    "employee_number": "profile.employeeNumber",
    "manager": "profile.managerId || profile.manager",
    "user_type": "profile.userType",
    "phone": "profile.primaryPhone || profile.mobilePhone",
    "locale": "profile.preferredLanguage || profile.locale",
    "timezone": "profile.timezone",
}
SCOPE = "okta.users.read"
# As many as Okta gives.
PAGE = "200"
# Whoever has one address; more are no answer to anything.
SAME_ADDRESS_MAX = 20
GROUP_PAGES_MAX = 10
# Without the state of passwords and links to change it, which nobody here has any use for.
HEADERS = {
    "accept": "application/json",
    "content-type": "application/json; okta-response=omitCredentials,omitCredentialsLinks",
}


class Options(Section):
    """The keys of ``[directories.NAME]`` that are this adapter's own."""

    base_url: HttpUrl
    """The organisation's address, as in ``https://acme.okta.com``."""
    token: Secret | None = None
    """An API token; or else the three that follow."""
    client_id: Secret | None = None
    private_key: Secret | None = None
    """The service app's RSA key in PEM, best by ``file:``."""
    key_id: str | None = None
    """The ``kid`` under which Okta has the public key."""
    scopes: list[Words] = [SCOPE]  # noqa: RUF012 - pydantic copies a default
    """What a service app asks for: all of it must be granted, else it gets nothing."""
    groups: bool = True
    """Whether the names of a person's groups are read, by one request more."""
    attributes: Attributes = {}  # noqa: RUF012 - pydantic copies a default
    """More of the profile, as in ``"custom.badge" = "profile.badgeNumber"``."""

    @model_validator(mode="after")
    def _check(self) -> "Options":
        if (self.token is None) == (None in {self.client_id, self.private_key}):
            msg = "either token, or client_id with private_key"
            raise ValueError(msg)
        return self


@dataclass(frozen=True)
class OktaDirectory:
    """An organisation that is asked."""

    api: Api
    attributes: Attributes
    groups: bool

    lags = False
    needs = (
        "give the API token of a Read-only Administrator, one used within the last 30 days, or grant a service app "
        f"{SCOPE} and that role; base_url is the organisation's own address"
    )

    def find(self, subject: Subject) -> Sequence[Record]:
        """Return the records that bear the strongest name that any bears. Raises Postponed or Refused."""
        talk, as_of = self.api.talk(subject), datetime.now(UTC)
        found = self._by_id(talk, subject.external_id)
        found = found or self._by_login(talk, subject.user_name)
        found = found or self._by_email(talk, subject.email)
        return [self._record(each, as_of, self._groups(talk, each)) for each in found]

    def list(self) -> Iterator[Record]:
        """Yield everybody, without their groups. Raises Postponed or Refused."""
        for page in self._pages():
            as_of = datetime.now(UTC)
            yield from (self._record(each, as_of, None) for each in objects(read(page)))

    def glance(self) -> Glance:
        """Read one page. Raises Postponed or Refused."""
        page = next(self._pages(self.api.talk()))
        users = objects(read(page))
        records = [self._record(each, datetime.now(UTC), None) for each in users]
        if at_work := next(filter(_works_here, users), None):
            self._groups(self.api.talk(), at_work)
        return Glance.of(records, is_all=next_link(page) is None)

    def changes(self, position: str | None, now: datetime) -> Changes:
        """Make one step in the System Log. Raises Postponed or Refused."""
        return okta_log.changes(self.api, position, now)

    def notes(self) -> Sequence[str]:
        """Return nothing: every value of a profile is one that the organisation chose."""
        return []

    def _pages(self, talk: Talk | None = None) -> Iterator[Answer]:
        # Deactivated people are in a list only where they are asked for.
        everybody = " or ".join(equals("status", status) for status in STATUSES)
        first = Page("/api/v1/users", {"filter": everybody, "limit": PAGE})
        return (talk or self.api.listing()).pages(first, _following)

    def _by_id(self, talk: Talk, external_id: str | None) -> Users:
        found = self._user(talk, external_id)
        # A login, the short form of one, and "me" are answered as well.
        return [each for each in found if id_of(each) == external_id]

    def _by_login(self, talk: Talk, login: str | None) -> Users:
        if login and "/" in login:
            # A path cannot hold it.
            found = self._users(talk, {"filter": equals("profile.login", login)})
        else:
            found = self._user(talk, login)
        return [each for each in found if _has(each, "login", login)]

    def _by_email(self, talk: Talk, email: str | None) -> Users:
        if not email:
            return []
        text = equals("profile.email", email)
        found = {id_of(each): each for each in self._users(talk, {"filter": text})}
        for hit in self._users(talk, {"search": text}):
            if id_of(hit) not in found:
                # A search may show what was.
                found |= {id_of(each): each for each in self._user(talk, id_of(hit)) if id_of(each) == id_of(hit)}
        return [each for each in found.values() if _has(each, "email", email)]

    def _user(self, talk: Talk, name: str | None) -> Users:
        if not name:
            return []
        answer = talk.get(f"/api/v1/users/{segment(name)}", allow={NOT_FOUND})
        return objects([read(answer)]) if answer.status != NOT_FOUND else []

    def _users(self, talk: Talk, query: dict[str, str]) -> Users:
        return objects(read(talk.get("/api/v1/users", {**query, "limit": str(SAME_ADDRESS_MAX)})))

    def _groups(self, talk: Talk, user: dict[str, Any]) -> Sequence[str] | None:
        """Return the names of somebody's groups; None where they are not asked for, as of who does not work here."""
        if not self.groups or not _works_here(user):
            return None
        first = Page(f"/api/v1/users/{segment(id_of(user))}/groups", {"limit": PAGE})
        pages = talk.pages(first, _following, GROUP_PAGES_MAX, of_somebody=True)
        names = [(group.get("profile") or {}).get("name") for page in pages for group in objects(read(page))]
        return [name for name in names if isinstance(name, str)]

    def _record(self, user: dict[str, Any], as_of: datetime, groups: Sequence[str] | None) -> Record:
        works_here = _works_here(user)
        if works_here is None:
            raise status_unknown(id_of(user))
        ours = {"external_id": id_of(user)} | ({"groups": groups} if groups is not None else {})
        return record_of(user, self.attributes, ours, works_here=works_here, as_of=as_of)


def open_directory(opening: Opening) -> OktaDirectory:
    """Return the directory, unasked. Raises Misconfigured."""
    options, http = opening.options(Options), Http(bytes_max=ANSWER_BYTES_MAX)
    api = Api(options.base_url, _credential(options, http, opening.redis), http, opening.redis, HEADERS)
    return OktaDirectory(api, attributes_of(ATTRIBUTES, options.attributes), options.groups)


def _credential(options: Options, http: Http, redis: Redis | None) -> Credential:
    if options.client_id is None or options.private_key is None:
        return Static("SSWS", options.token.value if options.token else "")
    token_url = f"{options.base_url.rstrip('/')}/oauth2/v1/token"
    grant = Grant(token_url, options.client_id, options.private_key, options.scopes)
    return Fetched(grant, http, redis, partial(by_client_key, key_id=options.key_id))


def _following(answer: Answer) -> Page | None:
    link = next_link(answer)
    return Page(link) if link else None


def _works_here(user: dict[str, Any]) -> bool | None:
    return STATUSES.get(str(user.get("status")))


def _has(user: dict[str, Any], name: str, value: str | None) -> bool:
    theirs = (user.get("profile") or {}).get(name)
    return bool(value) and isinstance(theirs, str) and normal(name, theirs) == normal(name, str(value))
