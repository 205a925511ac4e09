"""Merge tells states: what a run of them comes to, in the fold that the workers make of it."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from lifecycle.config import Config
from lifecycle.event import Event, Kind, State
from lifecycle.person import Person, Status
from lifecycle.settlement import Kept
from service.sources import merge
from service.sources.base import Notice, Setup
from workers.fold import fold

MARCH = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)
SOURCE = Setup("merge", ("key",), merge.Options())


def told(at: datetime, verb: str = "changed", **record: object) -> list[Event]:
    """Return what Merge says of Bo at this moment."""
    data = {"id": "bo", "modified_at": at.isoformat(), "start_date": "2020-10-11T00:00:00Z", **record}
    body = {"hook": {"event": f"Employee.{verb}"}, "linked_account": {"id": "a"}, "data": data}
    return list(merge.read(Notice("POST", "", {}, json.dumps(body).encode()), SOURCE, at).events)


def active(at: datetime, verb: str = "changed", **record: object) -> list[Event]:
    """Return that Bo works here."""
    return told(at, verb, employment_status="ACTIVE", **record)


def inactive(at: datetime) -> list[Event]:
    """Return that Bo does not."""
    return told(at, employment_status="INACTIVE")


def locked_out(at: datetime) -> list[Event]:
    """Return what another source says: Bo is suspended there."""
    (event,) = inactive(at)
    return [event.model_copy(update={"source": "okta", "id": f"okta-{at}"})]


def ends(at: datetime, day: str) -> list[Event]:
    """Return that Bo works here until this day."""
    return active(at, termination_date=f"{day}T00:00:00Z")


@pytest.mark.parametrize(
    ("story", "status"),
    [
        pytest.param([active(MARCH, "added")], Status.ACTIVE, id="added"),
        pytest.param([active(MARCH)], Status.ACTIVE, id="first heard of by a change"),
        pytest.param([active(MARCH), inactive(MARCH + DAY)], Status.LEFT, id="leaves"),
        pytest.param(
            [active(MARCH), locked_out(MARCH + DAY), active(MARCH + 2 * DAY, mobile_phone_number="+1")],
            Status.LEFT,
            id="a telephone number brings nobody back",
        ),
        pytest.param(
            [active(MARCH), inactive(MARCH + DAY), active(MARCH + 9 * DAY, start_date="2026-03-10T00:00:00Z")],
            Status.ACTIVE,
            id="a rehire does",
        ),
        pytest.param([ends(MARCH, "2026-03-06")], Status.LEFT, id="the end comes"),
        pytest.param([ends(MARCH, "2026-03-20")], Status.ACTIVE, id="the end is to come"),
        pytest.param(
            [ends(MARCH, "2026-03-06"), active(MARCH + DAY)], Status.ACTIVE, id="the end is taken back before it comes"
        ),
        pytest.param(
            [ends(MARCH, "2026-03-06"), ends(MARCH + DAY, "2026-03-20")], Status.ACTIVE, id="the end is put off"
        ),
        pytest.param(
            [ends(MARCH, "2026-03-20"), ends(MARCH + DAY, "2026-03-06")], Status.LEFT, id="the end is put forward"
        ),
        pytest.param(
            [told(MARCH, "added", employment_status="PENDING", start_date="2026-03-06T00:00:00Z")],
            Status.ACTIVE,
            id="the first day comes",
        ),
        pytest.param(
            [told(MARCH, "added", employment_status="PENDING", start_date="2026-03-20T00:00:00Z")],
            None,
            id="the first day is to come",
        ),
        pytest.param([told(MARCH, employment_status="PENDING", start_date=None)], None, id="nothing is said of it"),
        pytest.param([active(MARCH), told(MARCH + DAY, "removed")], Status.ACTIVE, id="out of sight is not gone"),
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_states_come_to_what_is_so(story: list[list[Event]], status: Status | None, *, backwards: bool) -> None:
    """Twelve days later, whatever the order of arrival."""
    mailbox = [Kept(event, State.KEPT, {}) for events in story for event in events]

    found = fold(Config(), Person(key="bo"), mailbox[::-1] if backwards else mailbox, MARCH + 12 * DAY)

    known = found.person.status
    assert (known.value if known else None) == (status.value if status else None)


def test_what_is_out_of_sight_only_makes_look() -> None:
    """No record that Merge deletes is a leaver by itself."""
    kinds = {
        event.kind for events in (told(MARCH, "removed"), active(MARCH, remote_was_deleted=True)) for event in events
    }

    assert kinds == {Kind.CHANGED}
