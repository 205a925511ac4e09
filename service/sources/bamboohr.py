"""BambooHR webhooks: an HMAC over body and time; the notice names the employee and what changed, nothing more.

Set-up at BambooHR: Account Settings > Webhooks > Add, URL ``https://HOST/hooks/NAME``, format JSON, data structure
Event-Based, events ``employee.created``, ``employee.updated`` and ``employee.deleted``. Monitor at least ``Status``,
``Employment Status``, ``Employment Status: Date``, ``Hire Date``, ``Job Title``, ``Department``, ``Division``,
``Reporting to``, ``Work Email`` and the names. Generate the private key; it is shown once and goes into ``secrets``.
By the API (``POST /api/v1/webhooks``) name the events: without them a webhook silently gets the older form.

Set ``directory`` to one that reads BambooHR. A termination is an ``employee.updated`` that does not say so: without a
directory no leaver but a deleted record is ever seen.

Rotation: a key cannot be replaced, so create a second webhook with the same URL, put its key first in ``secrets`` and
delete the first webhook once ``gatepost check`` shows the new key in use. What both say meanwhile is one event.

It promises that the body is unchanged and at most five minutes old; BambooHR states no tolerance. It sends no event id,
so two changes of the same fields of one employee in the same second count as one. A new employee gives ``created`` and
then ``updated``. Fields with a history, such as the job title, are told of when a change takes effect, not when it is
entered. Nothing is said about order.

``employee.deleted`` is a leaver: the record is erased, so a look would find nobody, and an account without a record
behind it is the worse mistake. It suspends as any leaver does and counts for the safety limit.

Any 2xx is taken. After a 5xx BambooHR tries again 5 times, after 5, 10, 20, 40 and 80 minutes, and never after a 4xx,
which is for a wrong proof only. How long it waits for an answer is not known.

Read as well: form posts, and the older Field-Based form (``employee_with_fields.*``). Of that only the employee's id is
used: which fields come, and under which names, is each customer's choice. Without a time each copy is a reason to look.

The signed bytes, body and then the header's text, and the time as seconds since 1970 are from integrators and from a
request that one of them captured; another one's sample shows the time as ISO 8601. Both are read.

https://documentation.bamboohr.com/docs/webhooks
https://documentation.bamboohr.com/docs/event-based-webhooks
https://documentation.bamboohr.com/docs/field-based-webhooks
"""

import hmac
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from lifecycle.errors import Unreadable
from lifecycle.event import Event, Kind
from service.sources.base import (
    ORDINARY_BYTES,
    Assurance,
    Notice,
    OwnOptions,
    Reading,
    Setup,
    accepted,
    header_secrets,
    no_greeting,
    no_keys,
    problem,
)
from service.sources.documents import (
    Part,
    arrival_id,
    content_id,
    entry,
    in_zone,
    json_body,
    person_key,
    profile,
    read_each,
    source_time,
)
from service.sources.proofs import decimal_time, proven, recent, the_hex_hmac

BODY_BYTES_MIN = ORDINARY_BYTES
SIGNATURE, TIMESTAMP = "x-bamboohr-signature", "x-bamboohr-timestamp"
TOLERANCE = timedelta(minutes=5)
FIELDS_MAX = 100_000
"""Fields of a form."""
DEPTH_MAX = 4
"""Parts of a form's field name: ``employees[12][changedFields][0]`` has as many, and nothing that we read has more."""

FIELD_BASED = "employee_with_fields"
KINDS = {
    "employee.created": Kind.CHANGED,
    "employee.updated": Kind.CHANGED,
    "employee.deleted": Kind.LEAVER,
    f"{FIELD_BASED}.created": Kind.CHANGED,
    f"{FIELD_BASED}.updated": Kind.CHANGED,
    f"{FIELD_BASED}.deleted": Kind.LEAVER,
}

Options = OwnOptions
check, greet, keys_at, answer, refuse = header_secrets, no_greeting, no_keys, accepted, problem


class _Data(Part):
    companyId: str | None = None  # noqa: N815 - BambooHR's spelling
    employeeId: str  # noqa: N815 - BambooHR's spelling
    changedFields: Any = None  # noqa: N815 - BambooHR's spelling; a list, and in a form a mapping


class _Head(Part):
    type: str


class _Notice(_Head):
    timestamp: datetime | None = None
    data: _Data


class _Employee(Part):
    id: str
    # The oldest form tells of changes only, and does not say so.
    action: str = "Updated"
    timestamp: datetime | None = None
    changedFields: Any = None  # noqa: N815 - BambooHR's spelling; empty, it is a mapping


def assurance(setup: Setup) -> Assurance:  # noqa: ARG001 - BambooHR leaves no choice
    """Return that body and time are signed."""
    return Assurance.SIGNED_BODY_WITH_TIME


def verify(notice: Notice, setup: Setup, now: datetime) -> str:
    """Check the signature over the raw body and the time, by any of the live keys."""
    stamp = notice.headers.get(TIMESTAMP, "")
    signed = notice.body + stamp.encode("latin-1", "replace")
    given = notice.headers.get(SIGNATURE, "")
    secret = proven(the_hex_hmac(given, signed, setup.secrets), "the X-BambooHR-Signature header")
    recent(_sent_at(stamp), now, TOLERANCE)
    return secret


def read(notice: Notice, setup: Setup, now: datetime) -> Reading:
    """Return the event of a notice, or those of the older form."""
    document = _document(notice.body)
    if isinstance(document, dict) and "employees" in document:
        employees = _employees(document["employees"])
        return read_each(employees, lambda found: _field_based(found, setup, now))
    return read_each([document], lambda found: _event_based(found, setup, now))


def sign(notice: Notice, setup: Setup, now: datetime) -> Notice:
    """Sign as BambooHR does."""
    stamp = str(int(now.timestamp()))
    made = hmac.new(setup.secrets[0].encode(), notice.body + stamp.encode(), "sha256").hexdigest()
    sent = {"content-type": "application/json", **notice.headers, SIGNATURE: made, TIMESTAMP: stamp}
    return notice._replace(headers=sent)


def _sent_at(stamp: str) -> datetime | None:
    try:
        moment = decimal_time(stamp) or datetime.fromisoformat(stamp)
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _event_based(found: object, setup: Setup, now: datetime) -> Event | str:
    vendor_kind = entry(_Head, found).type
    if vendor_kind not in KINDS:
        return vendor_kind
    told = entry(_Notice, found)
    employee = _Employee(id=told.data.employeeId, timestamp=told.timestamp, changedFields=told.data.changedFields)
    return _event(vendor_kind, employee, told.data.companyId or "", setup, now)


def _field_based(found: object, setup: Setup, now: datetime) -> Event | str:
    employee = entry(_Employee, found)
    vendor_kind = f"{FIELD_BASED}.{employee.action.lower()}"
    return _event(vendor_kind, employee, "", setup, now) if vendor_kind in KINDS else vendor_kind


def _event(vendor_kind: str, employee: _Employee, company: str, setup: Setup, now: datetime) -> Event:
    who = profile(external_id=employee.id)
    person = person_key(who)
    content = (vendor_kind, company, person, str(employee.timestamp), *_texts(employee.changedFields))
    is_told_once = employee.timestamp is not None or KINDS[vendor_kind] is not Kind.CHANGED
    return Event(
        id=content_id(*content) if is_told_once else arrival_id(now, *content),
        source=setup.name,
        kind=KINDS[vendor_kind],
        person=person,
        profile=who,
        occurred_at=source_time(in_zone(employee.timestamp or now, setup.timezone), now),
        received_at=now,
        vendor_kind=vendor_kind,
    )


def _texts(found: object) -> list[str]:
    values = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
    return [value for value in values if isinstance(value, str)]


def _document(body: bytes) -> Any:  # noqa: ANN401 - JSON, or a form as JSON would have it
    return json_body(body) if body.lstrip().startswith(b"{") else _form(body)


def _employees(found: object) -> list[Any]:
    """Return the employees of the older form: a list, or in a form a mapping by their ids. Raises Unreadable."""
    if isinstance(found, dict):
        return [{**told, "id": employee} for employee, told in found.items() if isinstance(told, dict)]
    if isinstance(found, list):
        return found
    raise Unreadable("employees is no list", reason="unreadable")


def _form(body: bytes) -> dict[str, Any]:
    """Return a form as nested as its field names say, as PHP reads it. Raises Unreadable."""
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX)
    except ValueError as error:
        raise Unreadable("the body is neither JSON nor a form", reason="unreadable") from error
    form: dict[str, Any] = {}
    for name, value in fields:
        path = [part.partition("]")[0] for part in name.split("[", DEPTH_MAX)]
        if len(path) <= DEPTH_MAX:
            _put(form, path, value)
    return form


def _put(form: dict[str, Any], path: list[str], value: str) -> None:
    place = form
    for part in path[:-1]:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise Unreadable("a field of the form has a value and fields of its own", reason="unreadable")
    place[path[-1]] = value
