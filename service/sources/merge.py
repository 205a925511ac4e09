"""Merge, which reads HR systems for others: HMAC-SHA256 in base64url over the body, and whole records in it.

Set-up: in Merge's dashboard, Advanced, Webhooks, add ``https://HOST/hooks/NAME`` for "Common Model changed data" of
``Employee`` and ``Employment``: added, changed, removed. The secret is the signature key under Security on that page.
One key is for the whole organisation, so name in ``linked_accounts`` whose employees this source hears.

It promises that the body is unchanged. There is no signed time, so an old notice can be sent again: it is known by its
content as long as ids are kept, and its ``modified_at`` keeps it behind what came since. Merge sends no id of the
event. It is late by the interval at which Merge reads the HR system behind it, up to a day; order and repeats are not
spoken of.

A record of an employee is a state, of when it was modified, and is told as that. ``INACTIVE`` is a leaver at once,
whatever the dates say (that no system behind Merge means a leave of absence by it was not found: ask). ``ACTIVE`` is a
joiner as of ``start_date``: a mere change of a telephone number brings nobody back whom somebody else locked out since,
and a rehire, which has a later ``start_date``, does. A termination that is undone under the old start is for an
operator: restore. Active with a ``termination_date`` to come is a leaver on that day as well, and active with one that
is over says nothing. A ``start_date`` to come is a joiner on that day. Without a status, or active without a start
unless it was just added, only the attributes count.

``Employee.removed`` and ``remote_was_deleted`` only make the source's ``directory`` be asked: what Merge no longer sees
may be out of sight. So do records of ``Employment``. ``LinkedAccount.*``, ``*.synced`` and lists offboard nobody.

Team, groups, locations and company come as Merge's ids and are not used; ``manager`` is one too, and kept. A null is
not known to Merge, and clears nothing. Dates are days, whatever time stands behind them.

Rotation: there is one key, and "regenerate" ends the old one at once. Put the new key in front, ``secrets = [NEW,
OLD]``, and start the receiver again without delay; what is refused meanwhile is said to be tried again 5 times within
an hour (by others; not found at Merge). It answers 200; Merge waits 10 seconds, by the same account.

https://docs.merge.dev/basics/webhooks/merge-webhooks
https://docs.merge.dev/merge-unified/hris/common-models/employees/the-employee-object
"""

import base64
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field

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
    in_utc,
    in_zone,
    parsed,
    person_key,
    profile,
    source_time,
)
from service.sources.proofs import proven, the_digest

BODY_BYTES_MIN = ORDINARY_BYTES
SIGNATURE = "x-merge-webhook-signature"
EMPLOYEE, EMPLOYMENT = "Employee", "Employment"
ADDED, CHANGED, REMOVED = "added", "changed", "removed"
ACTIVE, INACTIVE, STARTS, ENDS = "ACTIVE", "INACTIVE", "start_date", "termination_date"
FIRST_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)
"""Who is said to work here for longer, as by a year 1 for "unknown", works here since about then."""

# Merge's help names the verbs added, changed and removed, and others' readers the second ones.
VERBS = {
    "added": ADDED,
    "created": ADDED,
    "changed": CHANGED,
    "updated": CHANGED,
    "removed": REMOVED,
    "deleted": REMOVED,
}
MODELS = {"employee": EMPLOYEE, "employment": EMPLOYMENT}

# A word of Merge's, and where it is an employee's record what of it counts.
KINDS = {
    **{f"{EMPLOYEE}.{verb}": Kind.MOVER for verb in (ADDED, CHANGED)},
    **{f"{EMPLOYEE}.{verb} {ACTIVE}": Kind.JOINER for verb in (ADDED, CHANGED)},
    **{f"{EMPLOYEE}.{verb} {STARTS}": Kind.JOINER for verb in (ADDED, CHANGED)},
    **{f"{EMPLOYEE}.{verb} {INACTIVE}": Kind.LEAVER for verb in (ADDED, CHANGED)},
    **{f"{EMPLOYEE}.{verb} {ENDS}": Kind.LEAVER for verb in (ADDED, CHANGED)},
    f"{EMPLOYEE}.{REMOVED}": Kind.CHANGED,
    **{f"{EMPLOYMENT}.{verb}": Kind.CHANGED for verb in (ADDED, CHANGED, REMOVED)},
}

greet, keys_at, answer, refuse, check = no_greeting, no_keys, ok, problem, header_secrets


class Options(OwnOptions):
    """Which of an organisation's customers this source hears."""

    linked_accounts: Annotated[list[str], Field(max_length=1_000)] = Field(default_factory=list)
    """Merge's id of each linked account, or your ``end_user_origin_id`` of it; without any, all are heard."""


def _id_of(found: object) -> object:
    """Return the id of a relation, which Merge sends as an id or, expanded, as an object."""
    return found.get("id") if isinstance(found, dict) else found


def _day(found: object) -> object:
    """Return the day of a date that is written with a time of no meaning."""
    return found[: len("2026-03-06")] or None if isinstance(found, str) else found


Related = Annotated[str | None, BeforeValidator(_id_of)]
Day = Annotated[date | None, BeforeValidator(_day)]


class _Hook(Part):
    event: str


class _Account(Part):
    id: str | None = None
    end_user_origin_id: str | None = None


class _Body(Part):
    hook: _Hook
    linked_account: Annotated[
        _Account, BeforeValidator(lambda found: {"id": found} if isinstance(found, str) else found)
    ] = _Account()
    data: Any = None


class _Record(Part):
    modified_at: datetime | None = None


class _Employment(_Record):
    employee: Related = None


class _Employee(_Record):
    id: str
    employee_number: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    display_full_name: str | None = None
    username: str | None = None
    work_email: str | None = None
    mobile_phone_number: str | None = None
    manager: Related = None
    start_date: Day = None
    termination_date: Day = None
    employment_status: str | None = None
    remote_was_deleted: bool | None = None


class _Told(NamedTuple):
    """What of a record is the same in each event of it."""

    profile: Profile
    content: str
    at: datetime


class _Claim(NamedTuple):
    """One thing that a record says: the word for it, and the fields of the event that say since or from when."""

    word: str
    since: dict[str, Any]


def assurance(setup: Setup) -> Assurance:  # noqa: ARG001 - Merge leaves no choice
    """Return that the body is signed."""
    return Assurance.SIGNED_BODY


def verify(notice: Notice, setup: Setup, now: datetime) -> str:  # noqa: ARG001 - no time is signed
    """Check the signature over the raw body, by any of the live keys; some senders leave out the padding."""
    wanted = {secret: _digest(secret, notice.body).rstrip(b"=") for secret in setup.secrets}
    given = notice.headers.get(SIGNATURE, "").rstrip("=").encode("latin-1", "replace")
    return proven(the_digest(given, wanted), f"the {SIGNATURE} header")


def read(notice: Notice, setup: Setup, now: datetime) -> Reading:
    """Return what a record says of its person; what is of another customer or of no person is left out."""
    body = parsed(_Body, notice.body)
    options: Options = setup.options
    account = body.linked_account
    is_meant = not options.linked_accounts or {account.id, account.end_user_origin_id} & set(options.linked_accounts)
    model, _, verb = body.hook.event.partition(".")
    model, verb = MODELS.get(model.lower(), ""), VERBS.get(verb.lower(), "")
    # A list, or the state of a synchronisation, is of many at once: of nobody in particular.
    if not (model and verb and is_meant and isinstance(body.data, dict)) or "sync_status" in body.data:
        return Reading((), (body.hook.event,))
    content = content_id(f"{model}.{verb}", account.id or "", json.dumps(body.data, sort_keys=True))
    if model == EMPLOYMENT:
        employment = entry(_Employment, body.data)
        told = _Told(profile(external_id=employment.employee), content, _modified_at(employment, setup, now))
        return Reading((_event(told, _Claim(f"{model}.{verb}", {}), setup, now),))
    record = entry(_Employee, body.data)
    at = _modified_at(record, setup, now)
    if verb == REMOVED or record.remote_was_deleted:
        return Reading((_event(_Told(_names(record), content, at), _Claim(f"{model}.{REMOVED}", {}), setup, now),))
    told = _Told(_profile(record), content, at)
    return Reading(tuple(_event(told, claim, setup, now) for claim in _claims(verb, record, setup.timezone, at)))


def sign(notice: Notice, setup: Setup, now: datetime) -> Notice:  # noqa: ARG001 - no time is signed
    """Sign as Merge does."""
    sent = {SIGNATURE: _digest(setup.secrets[0], notice.body).decode(), "content-type": "application/json"}
    return notice._replace(headers={**notice.headers, **sent})


def _digest(secret: str, body: bytes) -> bytes:
    return base64.urlsafe_b64encode(hmac.digest(secret.encode(), body, "sha256"))


def _modified_at(record: _Record, setup: Setup, now: datetime) -> datetime:
    return source_time(in_zone(record.modified_at, setup.timezone), now) if record.modified_at else now


def _event(told: _Told, claim: _Claim, setup: Setup, now: datetime) -> Event:
    return Event(
        # The end of a record that says two things is another event.
        id=content_id(told.content, ENDS) if claim.word.endswith(ENDS) else told.content,
        source=setup.name,
        kind=KINDS[claim.word],
        person=person_key(told.profile),
        profile=told.profile,
        occurred_at=told.at,
        received_at=now,
        vendor_kind=claim.word,
        **claim.since,
    )


def _claims(verb: str, record: _Employee, zone: str, at: datetime) -> Iterator[_Claim]:
    """Yield what a record of this moment says of whether its person works here."""
    word, today = f"{EMPLOYEE}.{verb}", max(at, FIRST_MOMENT).astimezone(ZoneInfo(zone)).date()
    start, end = record.start_date, record.termination_date
    if record.employment_status == INACTIVE:
        yield _Claim(f"{word} {INACTIVE}", {})
        return
    # The end of an earlier stay stays in the record of somebody who is back.
    end = None if end and start and end < start else end
    if start is not None and start > today:
        yield _Claim(f"{word} {STARTS}", effect(start))
    elif record.employment_status != ACTIVE or (end is not None and end < today) or (start is None and verb != ADDED):
        yield _Claim(word, {})
    else:
        yield _Claim(f"{word} {ACTIVE}", {} if start is None else {"status_at": min(_first_moment(start, zone), at)})
    if end is not None and end >= today:
        yield _Claim(f"{word} {ENDS}", effect(end))


def _first_moment(day: date, zone: str) -> datetime:
    return in_utc(in_zone(datetime.combine(max(day, FIRST_MOMENT.date()), time.min), zone))


def _names(record: _Employee) -> Profile:
    """Return what somebody is found by: of what is gone, the rest has no say."""
    return profile(external_id=record.id, email=record.work_email, employee_number=record.employee_number)


def _profile(record: _Employee) -> Profile:
    return profile(
        external_id=record.id,
        user_name=record.username,
        email=record.work_email,
        given_name=record.first_name,
        family_name=record.last_name,
        display_name=record.display_full_name,
        employee_number=record.employee_number,
        manager=record.manager,
        phone=record.mobile_phone_number,
        start_at=record.start_date and record.start_date.isoformat(),
        end_at=record.termination_date and record.termination_date.isoformat(),
    )
