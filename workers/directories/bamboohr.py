"""BambooHR, by its employees API: who is employed, and what the key may see of them.

Set-up: a user of its own for Gatepost, in an access level that sees the fields below of **all** employees, who logs in,
opens the menu at their name > API Keys > Add New Key. A key sees what its user sees, and ends with the user::

    [directories.bamboohr]
    adapter = "bamboohr"
    base_url = "https://acme.bamboohr.com"
    api_key = "env:BAMBOOHR_API_KEY"

Who works here: whose ``status`` is ``Active``. BambooHR sets it to ``Inactive`` when a termination takes effect, and
gives the values of today and not those entered for later. Whoever was erased is taken for a leaver only where a notice
says so. Whether somebody hired for a later date is active until then is not documented: ``start_at`` tells the date,
for the policy.

``external_id`` is the employee id that webhooks name (not the employee number, which people choose). A person is looked
for by it, or by the work address: for that a report of all ids and addresses is asked for, and kept for a minute. There
is no user name. **What the key may not see is left out of an answer, and is then not known; it clears nothing**; but of
somebody whose status it may not see nothing can be told.

Limits are not published: 429 or 503, with ``Retry-After``. A look-up by id takes one request. The list of everybody is
one answer, of some 20,000 people at most, by the report that BambooHR says it will replace one day.

https://documentation.bamboohr.com/reference/get-employee, https://documentation.bamboohr.com/reference/list-employees,
https://documentation.bamboohr.com/reference/request-custom-report
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from lifecycle.errors import Postponed
from lifecycle.fields import HttpUrl, Section
from lifecycle.secrets import Secret
from workers.directories.answers import NOT_FOUND, objects, read, segment
from workers.directories.api import ANSWER_BYTES_MAX, Api, Talk
from workers.directories.base import Glance, Opening, Record, Subject, normal
from workers.directories.credentials import basic
from workers.directories.people import (
    Attributes,
    attributes_of,
    id_of,
    present,
    record_of,
    roots,
    status_unknown,
    unusable,
)
from workers.http import Http

STATUSES = {"active": True, "inactive": False}
# What a date is that nobody entered.
NO_DATE = "0000-00-00"
ATTRIBUTES = {
    "email": "workEmail",
    "given_name": "firstName",
    "family_name": "lastName",
    "display_name": "displayName",
    "title": "jobTitle",
    "department": "department",
    "division": "division",
    "employee_number": "employeeNumber",
    "manager": "supervisorEmail",
    "user_type": "employmentHistoryStatus",
    "phone": "workPhone || mobilePhone",
    "start_at": f"[hireDate][?@ != '{NO_DATE}'] | [0]",
    "end_at": f"[terminationDate][?@ != '{NO_DATE}'] | [0]",
}
# Of one request.
FIELDS_MAX = 400
PAGE = 100
# An address that nobody had may have been given meanwhile.
ADDRESSES_SECONDS, NEW_SECONDS = 60.0, 5.0
SAME_ADDRESS_MAX = 20


class Options(Section):
    """The keys of ``[directories.NAME]`` that are this adapter's own."""

    base_url: HttpUrl
    """The company's address, as in ``https://acme.bamboohr.com``."""
    api_key: Secret
    attributes: Attributes = {}  # noqa: RUF012 - pydantic copies a default
    """More of the employee, by the names of https://documentation.bamboohr.com/docs/list-of-field-names."""


class Addresses:
    """Who has which work address, as last asked; a storm of look-ups by address is one request a minute."""

    def __init__(self) -> None:
        """Know nobody."""
        self._found: Mapping[str, Sequence[str]] = {}
        self._at = float("-inf")
        self._lock = Lock()

    def ids(self, directory: "BambooDirectory", talk: Talk, email: str) -> Sequence[str]:
        """Return the ids of whoever has an address. Raises as a request does."""
        with self._lock:
            age = time.monotonic() - self._at
            if age > ADDRESSES_SECONDS or (normal("email", email) not in self._found and age > NEW_SECONDS):
                found: dict[str, list[str]] = defaultdict(list)
                for each in directory.report(talk, ["workEmail"]):
                    if each.get("workEmail"):
                        found[normal("email", str(each["workEmail"]))].append(id_of(each))
                self._found, self._at = found, time.monotonic()
            return self._found.get(normal("email", email), [])[:SAME_ADDRESS_MAX]


class BambooDirectory:
    """A company that is asked."""

    lags = False
    needs = (
        "give the API key of a user whose access level shows status, names and job fields of all employees; base_url "
        "is https://COMPANY.bamboohr.com"
    )

    def __init__(self, api: Api, attributes: Attributes) -> None:
        """Keep how it is asked."""
        self._api = api
        self._attributes = attributes
        self._fields = list(dict.fromkeys(["status", *roots(attributes)]))
        self._addresses = Addresses()

    def find(self, subject: Subject) -> Sequence[Record]:
        """Return the records that bear the strongest name that any bears. Raises Postponed or Refused."""
        talk = self._api.talk(subject)
        found = self._by_id(talk, subject.external_id) if subject.external_id else []
        if found or not subject.email:
            return found
        ids = self._addresses.ids(self, talk, subject.email)
        hits = [record for employee in ids for record in self._by_id(talk, employee)]
        return [each for each in hits if normal("email", each.profile.email or "") == normal("email", subject.email)]

    def list(self) -> Iterator[Record]:
        """Yield everybody. Raises Postponed or Refused."""
        as_of = datetime.now(UTC)
        yield from (self._record(each, as_of) for each in self.report(self._api.listing(), self._fields))

    def glance(self) -> Glance:
        """Read one page of names, and one employee in full. Raises Postponed or Refused."""
        talk = self._api.talk()
        found = read(talk.get("/api/v1/employees", {"page[limit]": str(PAGE)}))
        people = objects(found.get("data") if isinstance(found, dict) else None)
        works = [self._works_here(each, id_of(each, "employeeId")) for each in people]
        if people:
            self._by_id(talk, id_of(people[0], "employeeId"))
        return Glance(works.count(True), works.count(False), is_all=len(people) < PAGE)

    def notes(self) -> Sequence[str]:
        """Return nothing: what a key may not see differs by employee."""
        return []

    def report(self, talk: Talk, fields: Sequence[str]) -> Sequence[dict[str, Any]]:
        """Return these fields of all employees, whether they left or not. Raises Postponed or Refused."""
        body = {"title": "Gatepost", "fields": ["id", *fields][:FIELDS_MAX]}
        found = read(talk.post("/api/v1/reports/custom?format=JSON&onlyCurrent=true", body))
        employees = objects(found.get("employees") if isinstance(found, dict) else None)
        if not employees:
            raise Postponed("the report has nobody in it", reason="broken")
        return employees

    def _by_id(self, talk: Talk, external_id: str) -> Sequence[Record]:
        # Employee 0 is whoever the key belongs to.
        if not (external_id.isascii() and external_id.isdigit() and int(external_id)):
            return []
        as_of, query = datetime.now(UTC), {"fields": ",".join(self._fields[:FIELDS_MAX]), "onlyCurrent": "true"}
        answer = talk.get(f"/api/v1/employees/{segment(external_id)}", query, allow={NOT_FOUND})
        found = objects([read(answer)]) if answer.status != NOT_FOUND else []
        return [self._record(each, as_of) for each in found if id_of(each) == external_id]

    def _record(self, employee: dict[str, Any], as_of: datetime) -> Record:
        external_id = id_of(employee)
        works_here = self._works_here(employee, external_id)
        told = present(employee, self._attributes)
        return record_of(employee, told, {"external_id": external_id}, works_here=works_here, as_of=as_of)

    @staticmethod
    def _works_here(employee: Mapping[str, Any], external_id: str) -> bool:
        if "status" not in employee:
            raise unusable(external_id, "a status that the key may not see")
        found = STATUSES.get(str(employee["status"]).lower())
        if found is None:
            raise status_unknown(external_id)
        return found


def open_directory(opening: Opening) -> BambooDirectory:
    """Return the directory, unasked. Raises Misconfigured."""
    options, http = opening.options(Options), Http(bytes_max=ANSWER_BYTES_MAX)
    # The key is the user; what stands in the place of the password does not count.
    api = Api(options.base_url, basic(options.api_key.value, "x"), http, opening.redis)
    return BambooDirectory(api, attributes_of(ATTRIBUTES, options.attributes))
