"""Deel: HMAC-SHA256 in hex over the word ``POST`` and the body; events of contracts, workers and employees.

Set-up: in Deel, More, Developer, Webhooks, create a webhook with the URL ``https://HOST/hooks/NAME`` (it cannot be
changed later) and the events below that you use; the signing key is shown there. Deel's "Simulate" sends a sample,
marked ``is_simulation``: it is answered and left out.

It promises that the body is unchanged. There is no signed time, so an old notice can be sent again: it is known by its
id as long as ids are kept, and its time keeps it behind what came since. That id is Deel's ``event_id`` where it sends
one; else it is made of the content and of ``tracking_id``, for ``event_type_id`` is said to name the event and in
Deel's own samples names its type. Deel says that a notice may come twice and is not sure to come at all: sweep.

Who it is about, in ``resource``, is a worker's profile (``worker.v2.*``, ``employee.*.direct``) or a contract
(``contract.*``, ``employee.created.contractor`` and ``.eor``, ``onboarding.status.updated``): two ids of one person,
which the address joins where both tell it. Most notices are little more than the id and are read again in the source's
``directory``. ``contract.terminated`` has the contract's id and ``completion_date``, on which it takes effect; it acts
on whoever was told of under that contract's id, or has the address that stands beside it. Somebody whose contract ends
because another one begins is a leaver by it: hear ``worker.v2.updated`` with a directory where that happens.
``worker.v2.deleted`` is a leaver too. Offboardings that are only begun or confirmed are left out, as are drafts
(``contract.duplicated``, ``contract.sign.*``). The names are Deel's; of ``resource`` only some fields are documented.

Rotation: create a second webhook for the same events (with ``?2`` behind the address, should Deel want another one),
put its key in front, ``secrets = [NEW, OLD]``, and delete the first webhook, then its key. ``x-deel-hmac-label`` names
the key, but is not signed: every key is tried.

It answers 200 within Deel's 30 seconds. Anything but 2xx is tried again 9 times, after 1, 5, 15 and 30 minutes and 1,
2, 4, 8 and 16 hours; then Deel disables the webhook and tells its administrator by e-mail.

https://developer.deel.com/docs/webhooks-get-started
https://developer.deel.com/docs/webhook-event-types
"""

import hmac
import json
from collections.abc import Iterator
from datetime import date, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator

from lifecycle.event import Event, Kind, Profile
from service.sources.base import (
    ORDINARY_BYTES,
    Assurance,
    Notice,
    OwnOptions,
    Reading,
    Setup,
    header_secrets,
    no_greeting,
    no_keys,
    ok,
    problem,
)
from service.sources.documents import (
    Part,
    content_id,
    effect,
    entry,
    event_id,
    in_zone,
    parsed,
    person_key,
    profile,
    read_each,
    source_time,
)
from service.sources.proofs import proven, the_hex_hmac

BODY_BYTES_MIN = ORDINARY_BYTES
SIGNATURE, METHOD = "x-deel-signature", b"POST"

KINDS = {
    "employee.created.direct": Kind.CHANGED,
    "employee.created.contractor": Kind.CHANGED,
    "employee.created.eor": Kind.CHANGED,
    "employee.updated.direct": Kind.CHANGED,
    "worker.created": Kind.CHANGED,
    "worker.v2.created": Kind.CHANGED,
    "worker.v2.updated": Kind.CHANGED,
    "worker.v2.deleted": Kind.LEAVER,
    "onboarding.status.updated": Kind.CHANGED,
    "contract.created": Kind.CHANGED,
    "contract.amended": Kind.CHANGED,
    "contract.status.updated": Kind.CHANGED,
    "contract.archived": Kind.CHANGED,
    "contract.terminated": Kind.LEAVER,
}
OF_A_PROFILE = ("worker.", "employee.created.direct", "employee.updated.direct")

Options = OwnOptions
greet, keys_at, answer, refuse, check = no_greeting, no_keys, ok, problem, header_secrets


def _text_or_none(found: object) -> object:
    """Leave out what is no plain value: SCIM's name is an object, and so may be what Deel sends tomorrow."""
    return found if isinstance(found, str | int) and not isinstance(found, bool) else None


Plain = Annotated[str | None, BeforeValidator(_text_or_none)]


class _Worker(Part):
    email: Plain = None
    full_name: Plain = None
    first_name: Plain = None
    last_name: Plain = None


class _Resource(_Worker):
    id: Plain = None
    hris_profile_id: Plain = None
    contract_id: Plain = None
    worker_email: Plain = None
    user_name: Plain = None
    name: Plain = None
    completion_date: datetime | date | None = None
    worker: _Worker | None = None


class _Meta(Part):
    event_type: str
    event_id: str | None = None
    tracking_id: str | None = None
    organization_id: str | None = None
    occurred_at: datetime | None = None
    is_simulation: bool = False


class _Data(Part):
    meta: _Meta
    resource: Any = None
    is_simulation: bool = False


class _Body(Part):
    data: _Data
    timestamp: datetime | None = None
    is_simulation: bool = False


def assurance(setup: Setup) -> Assurance:  # noqa: ARG001 - Deel leaves no choice
    """Return that the body is signed."""
    return Assurance.SIGNED_BODY


def verify(notice: Notice, setup: Setup, now: datetime) -> str:  # noqa: ARG001 - no time is signed
    """Check the signature over ``POST`` and the raw body, by any of the live keys."""
    given = notice.headers.get(SIGNATURE, "")
    return proven(the_hex_hmac(given, METHOD + notice.body, setup.secrets), f"the {SIGNATURE} header")


def read(notice: Notice, setup: Setup, now: datetime) -> Reading:
    """Return the events of a notice, one for each resource; simulations and other kinds are left out."""
    body = parsed(_Body, notice.body)
    meta = body.data.meta
    if body.is_simulation or body.data.is_simulation or meta.is_simulation:
        return Reading((), (f"{meta.event_type} (simulation)",))
    if meta.event_type not in KINDS:
        return Reading((), (meta.event_type,))
    # Deel shows the resource as an object in its samples and as a list in its guide.
    found = body.data.resource
    resources = found if isinstance(found, list) else [found]
    named = list(zip(_ids(meta, resources, body.timestamp), resources, strict=True))
    return read_each(named, lambda each: _event(body, each[0], entry(_Resource, each[1]), setup, now))


def sign(notice: Notice, setup: Setup, now: datetime) -> Notice:  # noqa: ARG001 - no time is signed
    """Sign as Deel does."""
    digest = hmac.digest(setup.secrets[0].encode(), METHOD + notice.body, "sha256").hex()
    sent = {SIGNATURE: digest, "content-type": "application/json"}
    return notice._replace(headers={**notice.headers, **sent})


def _event(body: _Body, told_id: str, resource: _Resource, setup: Setup, now: datetime) -> Event:
    meta = body.data.meta
    told_at = meta.occurred_at or body.timestamp
    person = _profile(meta.event_type, resource)
    ends_on = resource.completion_date if meta.event_type == "contract.terminated" else None
    return Event(
        id=event_id(told_id),
        source=setup.name,
        kind=KINDS[meta.event_type],
        person=person_key(person),
        profile=person,
        occurred_at=source_time(in_zone(told_at, setup.timezone), now) if told_at else now,
        received_at=now,
        vendor_kind=meta.event_type,
        **effect(_day(ends_on)),
    )


def _ids(meta: _Meta, resources: list[Any], sent_at: datetime | None) -> Iterator[str]:
    """Name each event: by Deel's id and its place, else by what it says and by what Deel tracks it under."""
    for place, resource in enumerate(resources):
        if meta.event_id:
            yield meta.event_id if len(resources) == 1 else f"{meta.event_id}.{place}"
            continue
        # The time is that of the sending, by one of Deel's two accounts of it: a repeat may have another.
        tracked = meta.tracking_id or (sent_at.isoformat() if sent_at else "")
        content = json.dumps(resource, sort_keys=True)
        yield content_id(meta.event_type, meta.organization_id or "", tracked, content)


def _profile(event_type: str, resource: _Resource) -> Profile:
    is_of_profile = event_type.startswith(OF_A_PROFILE)
    own_id = resource.hris_profile_id if is_of_profile else resource.contract_id
    worker = resource.worker or _Worker()
    is_contract = event_type.startswith("contract.")
    return profile(
        external_id=own_id or resource.id,
        user_name=resource.user_name,
        email=resource.worker_email or worker.email or resource.email,
        given_name=worker.first_name or resource.first_name,
        family_name=worker.last_name or resource.last_name,
        # A contract's own name is its title.
        display_name=worker.full_name or resource.full_name or (None if is_contract else resource.name),
    )


def _day(told: date | None) -> date | None:
    """Return the day of a date that Deel writes as midnight in UTC, or as its last moment; another moment as it is."""
    if isinstance(told, datetime) and told.time().replace(microsecond=0).isoformat() in {"00:00:00", "23:59:59"}:
        return told.date()
    return told
