"""Any SCIM 2.0 service provider as the source: an identity provider's own SCIM, or an HR system that speaks it.

Set-up: a bearer for reading, or client credentials (RFC 6749 section 4.4)::

    [directories.hr]
    adapter = "scim"
    base_url = "https://hr.acme.example/scim/v2"       # what stands before /Users
    token = "env:HR_SCIM_TOKEN"                        # or token_url, client_id, client_secret and scopes

Who works here: whose ``active`` is true. RFC 7643 does not say what it means that it is absent, so nothing is told of
somebody who has none. Whoever is deleted is not in the directory, and is taken for a leaver only where a
notice says so: let the provider set ``active`` to false first.

The subject's ``external_id`` is the provider's ``id``, or with ``external_id = "externalId"`` the id that somebody else
gave the person and that notices name. By the first a person is read directly; by the others they are looked for with a
filter of one comparison, and whoever is found is compared with what was asked, for servers were seen that answer
everybody, or nobody, to a filter that they do not know. A server that refuses the filter, or answers with the first
page of everybody, is read whole, as far as the time goes.

A provider may answer from a copy, and does not tell how old that is; so that somebody works here is said as of five
minutes ago, and takes back no leave that is younger.

``groups`` are those that the person's own record names. What a record does not have at all is not known, and clears
nothing. Limits: 429 or 503, with ``Retry-After``; a look-up takes one request where the filter works.

https://www.rfc-editor.org/rfc/rfc7643, https://www.rfc-editor.org/rfc/rfc7644
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import model_validator
from redis import Redis

from lifecycle.errors import GatepostError
from lifecycle.fields import HttpUrl, Section, Words
from lifecycle.secrets import Secret
from workers.directories.answers import NOT_FOUND, objects, read, segment
from workers.directories.api import ANSWER_BYTES_MAX, Api, Talk
from workers.directories.base import COPIES_LAG, Glance, Opening, Record, Subject, normal
from workers.directories.credentials import Credential, Fetched, Grant, Static
from workers.directories.people import Attributes, attributes_of, id_of, present, record_of, status_unknown
from workers.http import Answer, Http
from workers.resource import is_active
from workers.scim import paging
from workers.scim.answers import honest
from workers.scim.client import ACCEPT, BAD_REQUEST, NOT_IMPLEMENTED, OK
from workers.scim.filters import equals
from workers.scim.grants import by_basic

ENTERPRISE = '"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"'
ATTRIBUTES = {
    "user_name": "userName",
    "email": "((emails[?primary] | [0]) || (emails[?type == 'work'] | [0]) || emails[0]).value",
    "given_name": "name.givenName",
    "family_name": "name.familyName",
    "display_name": "displayName || name.formatted",
    "title": "title",
    "department": f"{ENTERPRISE}.department",
    "division": f"{ENTERPRISE}.division",
    "cost_center": f"{ENTERPRISE}.costCenter",
    "organization": f"{ENTERPRISE}.organization",
    "employee_number": f"{ENTERPRISE}.employeeNumber",
    "manager": f"{ENTERPRISE}.manager.value",
    "user_type": "userType",
    "phone": "((phoneNumbers[?type == 'work'] | [0]) || phoneNumbers[0]).value",
    "locale": "preferredLanguage || locale",
    "timezone": "timezone",
    "groups": "groups[].[display || value][]",
}
PAGE, LIST_PAGES_MAX = 100, 5_000
FILTERED = frozenset({BAD_REQUEST, NOT_IMPLEMENTED})

Users = Sequence[dict[str, Any]]


class Options(Section):
    """The keys of ``[directories.NAME]`` that are this adapter's own."""

    base_url: HttpUrl
    """What stands before ``/Users``."""
    token: Secret | None = None
    """A static bearer; or else the three that follow."""
    token_url: HttpUrl | None = None
    client_id: Secret | None = None
    client_secret: Secret | None = None
    scopes: list[Words] = []  # noqa: RUF012 - pydantic copies a default
    external_id: Literal["id", "externalId"] = "id"
    """Which of the two ids a notice names."""
    attributes: Attributes = {}  # noqa: RUF012 - pydantic copies a default
    """More of the user, as in ``"custom.desk" = "\\"urn:acme:2.0:User\\".desk"``."""

    @model_validator(mode="after")
    def _check(self) -> "Options":
        credentials = (self.token_url, self.client_id, self.client_secret)
        if (self.token is None) == (None in credentials) or (self.token and any(credentials)):
            msg = "either token, or token_url with client_id and client_secret"
            raise ValueError(msg)
        return self


@dataclass(frozen=True)
class ScimDirectory:
    """A provider that is asked."""

    api: Api
    attributes: Attributes
    id_name: str

    lags = True
    needs = "give a bearer that may read /Users; base_url is what stands before /Users"

    def find(self, subject: Subject) -> Sequence[Record]:
        """Return the records that bear the strongest name that any bears. Raises Postponed or Refused."""
        talk, as_of = self.api.talk(subject), datetime.now(UTC)
        for name, value in subject._asdict().items():
            found = self._found(talk, name, value) if value else []
            records = [self._record(each, as_of) for each in found if _may_have(each, value)]
            if bearers := [each for each in records if _has(each, name, str(value))]:
                return bearers
        return []

    def list(self) -> Iterator[Record]:
        """Yield everybody. Raises Postponed or Refused."""
        as_of = datetime.now(UTC)
        yield from (self._record(each, as_of) for each in _everyone(self.api.listing(), LIST_PAGES_MAX))

    def glance(self) -> Glance:
        """Read one page. Raises Postponed or Refused."""
        as_of = datetime.now(UTC)
        answer = honest(self.api.talk().get("/Users", {"startIndex": "1", "count": str(PAGE)}))
        users = _users(answer)
        return Glance.of([self._record(each, as_of) for each in users], is_all=paging.is_whole(answer))

    def notes(self) -> Sequence[str]:
        """Return nothing: every value is one that the provider chose."""
        return []

    def _found(self, talk: Talk, name: str, value: str) -> Users:
        """Return who may have this name; whether they do is compared later."""
        if name == "external_id" and self.id_name == "id":
            answer = honest(talk.get(f"/Users/{segment(value)}", allow={NOT_FOUND}))
            return objects([read(answer)]) if answer.status == OK else []
        path = {"external_id": "externalId", "user_name": "userName", "email": "emails.value"}[name]
        query = {"filter": equals(path, value)}
        answer = honest(talk.get("/Users", query, allow=FILTERED))
        if answer.status == OK and paging.is_whole(answer):
            return _users(answer)
        return _everyone(talk, paging.PAGES_MAX)

    def _record(self, user: dict[str, Any], as_of: datetime) -> Record:
        external_id, works_here = id_of(user, self.id_name), is_active(user)
        if works_here is None:
            raise status_unknown(external_id)
        told = present(user, self.attributes)
        return record_of(user, told, {"external_id": external_id}, works_here=works_here, as_of=as_of - COPIES_LAG)


def open_directory(opening: Opening) -> ScimDirectory:
    """Return the directory, unasked. Raises Misconfigured."""
    options, http = opening.options(Options), Http(bytes_max=ANSWER_BYTES_MAX)
    api = Api(options.base_url, _credential(options, http, opening.redis), http, opening.redis, {"accept": ACCEPT})
    return ScimDirectory(api, attributes_of(ATTRIBUTES, options.attributes), options.external_id)


def _credential(options: Options, http: Http, redis: Redis | None) -> Credential:
    if options.token_url is None or options.client_id is None or options.client_secret is None:
        return Static("Bearer", options.token.value if options.token else "")
    grant = Grant(options.token_url, options.client_id, options.client_secret, options.scopes)
    return Fetched(grant, http, redis, by_basic)


def _everyone(talk: Talk, pages_max: int) -> Users:
    def fetch(query: paging.Query) -> Answer:
        return honest(talk.get("/Users", query, allow=paging.ANSWERS))

    try:
        return paging.read(fetch, paging.Listing(page_size=PAGE), pages_max)
    except GatepostError as error:
        # It makes its own errors of the answers that it is given.
        talk.clean(error)
        raise


def _may_have(user: dict[str, Any], value: str | None) -> bool:
    """Tell whether a record has a name anywhere: what is wrong with others', of everybody, keeps nobody waiting."""
    return json.dumps(value, ensure_ascii=False)[1:-1].lower() in json.dumps(user, ensure_ascii=False).lower()


def _has(record: Record, name: str, value: str) -> bool:
    return normal(name, str(getattr(record.profile, name))) == normal(name, value)


def _users(answer: Answer) -> Users:
    return paging.resources(answer)
