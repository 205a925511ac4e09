"""HiBob webhooks, ``v2`` and the older ``v1``: an HMAC-SHA512 over the body; an event names the employee only.

Set-up at HiBob: Settings > Integrations > Webhooks > Manage, endpoint URL ``https://HOST/hooks/NAME``, version 2, the
events of the table below. Bob then sends a test with the words ``Ping test``, which is answered and is no event. Copy
the webhook's secret into ``secrets``.

Set ``timezone`` where your Bob does not tell its times in UTC: they come without a zone, and HiBob does not say which
one it is. A time that is more than five minutes ahead is taken for a wrong clock.

Rotation: add a second webhook with the same URL, put its secret first in ``secrets``, and delete the first webhook once
``gatepost check`` shows the new secret in use. Each tells of everything; what both say in the same bytes is one event.

It promises that the body is unchanged. No time is signed, so an old notice can come again; it is seen by its content.
HiBob promises the right order in ``v2``. Nothing tells of a deleted row of a table: let the directory be swept.

``employee.left`` comes at midnight of the site's time zone on the day it takes effect, on garden leave as well, and is
a leaver. ``employee.inactivated`` may be no more than a leave of absence, so the directory is asked. A row of a table
with a date ahead, as in ``table.entry.created``, is looked up on that date. ``employee.deleted`` is a leaver: the
record is gone, so a look would find nobody, and an account without a record behind it is the worse mistake.

``employee.access.revoked.immediately`` is a leaver, at once and before the last day: subscribe to it if whoever loses
Bob at once shall lose the targets at once. Read a person who joins or moves in a directory: the notice does not say
more than the id.

HiBob wants 200 and tries everything else again, for up to three days and ever more rarely. How long it waits for an
answer is not known. Whether the test is signed is not known either: it needs no proof, for it changes nothing.

``v1`` can no longer be set up; its notices also name the person, and are read as what came from such webhooks in
public code.

https://apidocs.hibob.com/reference/getting-started-webhooks
https://apidocs.hibob.com/docs/employee-data-webhooks
https://apidocs.hibob.com/docs/working-with-webhooks
"""

import base64
import hmac
from datetime import date, datetime
from typing import Any

from lifecycle.errors import Unreadable
from lifecycle.event import Event, Kind, Profile
from service.sources.base import (
    ORDINARY_BYTES,
    Answer,
    Assurance,
    Counts,
    Greeting,
    Notice,
    OwnOptions,
    Reading,
    Setup,
    header_secrets,
    no_greeting,
    no_keys,
    problem,
)
from service.sources.documents import Part, content_id, effect, in_zone, parsed, person_key, profile, source_time
from service.sources.proofs import proven, the_digest

BODY_BYTES_MIN = ORDINARY_BYTES
SIGNATURE = "bob-signature"
TESTS = frozenset({b"Pingtest", b'"Pingtest"', b'{"text":"Pingtest"}'})
"""The bodies of the test that a new webhook sends, without spaces."""
TEST_BYTES_MAX = 64
SPACES = b" \t\r\n"
ROW = "table.entry."

KINDS = {
    "employee.created": Kind.CHANGED,
    "employee.updated": Kind.CHANGED,
    "employee.deleted": Kind.LEAVER,
    "employee.joined": Kind.CHANGED,
    "employee.left": Kind.LEAVER,
    "employee.activated": Kind.CHANGED,
    "employee.inactivated": Kind.CHANGED,
    "employee.access.revoked.immediately": Kind.LEAVER,
    "table.entry.created": Kind.CHANGED,
    "table.entry.updated": Kind.CHANGED,
}

Options = OwnOptions
check, keys_at, refuse = header_secrets, no_keys, problem


class _Data(Part):
    employeeId: str | None = None  # noqa: N815 - HiBob's spelling
    email: str | None = None
    effectiveDate: date | None = None  # noqa: N815 - HiBob's spelling; of a row in a table with a history


class _Employee(Part):
    """Whom a notice of version 1 is about."""

    id: str
    email: str | None = None
    displayName: str | None = None  # noqa: N815 - HiBob's spelling
    firstName: str | None = None  # noqa: N815 - HiBob's spelling
    surname: str | None = None


class _Head(Part):
    type: str


class _Notice(_Head):
    triggeredAt: datetime | None = None  # noqa: N815 - HiBob's spelling
    data: _Data | None = None
    # Version 1 has these two in their place.
    creationDate: datetime | None = None  # noqa: N815 - HiBob's spelling
    employee: _Employee | None = None


def assurance(setup: Setup) -> Assurance:  # noqa: ARG001 - HiBob leaves no choice
    """Return that the body is signed."""
    return Assurance.SIGNED_BODY


def greet(notice: Notice, setup: Setup, now: datetime) -> Greeting | None:
    """Answer the test of a new webhook, whoever sends it: it says nothing, and nothing is kept."""
    no_greeting(notice, setup, now)
    if len(notice.body) > TEST_BYTES_MAX or notice.body.translate(None, SPACES) not in TESTS:
        return None
    return Greeting(Answer(200))


def verify(notice: Notice, setup: Setup, now: datetime) -> str:  # noqa: ARG001 - HiBob signs no time
    """Check the signature over the raw body, by any of the live secrets."""
    given = notice.headers.get(SIGNATURE, "").encode("latin-1", "replace")
    wanted = {secret: _signature(secret, notice.body) for secret in setup.secrets}
    return proven(the_digest(given, wanted), "the Bob-Signature header")


def read(notice: Notice, setup: Setup, now: datetime) -> Reading:
    """Return the one event of a notice; a type that we do not carry may have data of any shape."""
    vendor_kind = parsed(_Head, notice.body).type
    if vendor_kind not in KINDS:
        return Reading((), (vendor_kind,))
    told = parsed(_Notice, notice.body)
    happened_at = told.triggeredAt or told.creationDate
    if happened_at is None:
        raise Unreadable("a notice tells its triggeredAt", reason="time")
    who = _profile(told)
    event = Event(
        id=content_id(notice.body),
        source=setup.name,
        kind=KINDS[vendor_kind],
        person=person_key(who),
        profile=who,
        occurred_at=source_time(in_zone(happened_at, setup.timezone), now),
        received_at=now,
        vendor_kind=vendor_kind,
        **_effect(told),
    )
    return Reading((event,))


def answer(counts: Counts) -> Answer:  # noqa: ARG001 - HiBob reads the status only
    """Answer 200: HiBob tries again after all else."""
    return Answer(200)


def sign(notice: Notice, setup: Setup, now: datetime) -> Notice:  # noqa: ARG001 - HiBob signs no time
    """Sign as HiBob does."""
    made = _signature(setup.secrets[0], notice.body).decode()
    return notice._replace(headers={**notice.headers, "content-type": "application/json", SIGNATURE: made})


def _signature(secret: str, body: bytes) -> bytes:
    return base64.b64encode(hmac.digest(secret.encode(), body, "sha512"))


def _effect(told: _Notice) -> dict[str, Any]:
    """Return when a row of a table takes effect; all else comes when it has done so."""
    day = told.data.effectiveDate if told.data and told.type.startswith(ROW) else None
    return effect(day) if day else {}


def _profile(told: _Notice) -> Profile:
    data, employee = told.data or _Data(), told.employee
    if employee is None:
        return profile(external_id=data.employeeId, email=data.email)
    return profile(
        external_id=employee.id,
        email=employee.email,
        display_name=employee.displayName,
        given_name=employee.firstName,
        family_name=employee.surname,
    )
