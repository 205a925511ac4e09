"""Events with a date, from the mailbox to the schedule: when they are looked at, and what anybody can read of it."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.config import Config, Source
from lifecycle.event import Event, Kind
from lifecycle.people import People
from lifecycle.queue import LATEST, LEAVERS, PEOPLE, lanes
from lifecycle.secrets import Secret
from lifecycle.signal import iso
from tests.workers.fake_scim import FakeScim
from tests.workers.stories import BO, Stage, event, target
from workers.sweeper import Sweeper

NEW_YORK, TOKYO = "America/New_York", "Asia/Tokyo"
JOINED = event(Kind.JOINER, "joined", **BO)
# On this Sunday New York changes to summer time, so that the day has 23 hours.
CHANGE, ENDS = "2099-03-08", datetime(2099, 3, 9, 4, tzinfo=UTC)
ENDS_IN_TOKYO = datetime(2099, 3, 8, 15, tzinfo=UTC)


@pytest.fixture
def fake() -> FakeScim:
    """Give an empty server."""
    return FakeScim()


@pytest.fixture
def stage(redis: Redis, fake: FakeScim) -> Stage:
    """Give a stage with one target, and a source whose dates are New York's."""
    secret = Secret("env:HRIS_WHSEC", "whsec_x")
    hris = Source(adapter="standard_webhooks", secrets=[secret], timezone=NEW_YORK)
    config = Config(sources={"hris": hris}, targets={"crm": target()})
    return Stage(redis, config, {"crm": httpx.MockTransport(fake)})


def leaves(event_id: str, effective_at: datetime | str, minute: int = 5) -> Event:
    """Make a leaver with a date."""
    return event(Kind.LEAVER, event_id, minute=minute, effective_at=effective_at)


def local(zone: str, ahead: timedelta) -> str:
    """Return what the clocks of a zone will show, without saying which zone it is."""
    return (datetime.now(ZoneInfo(zone)) + ahead).replace(tzinfo=None).isoformat()


def due_at(stage: Stage, event_id: str) -> datetime | None:
    """Return when the index of all that is due says that an event is."""
    score: Any = stage.redis.zscore(keys.DUE, f"hris:{event_id}")
    return datetime.fromtimestamp(score / 1000, UTC) if score is not None else None


def steps(stage: Stage, event_id: str) -> list[dict[str, Any]]:
    """Return what the timeline says of a schedule."""
    return [step["detail"] for step in stage.found(event_id)["timeline"] if step["step"] == "fold"]


def test_date_without_a_zone_is_read_by_the_sources_clocks(stage: Stage, fake: FakeScim) -> None:
    """On the day of a change of clocks too; schedule, index, record and timeline say one moment."""
    stage.tell(JOINED)
    leaver = leaves("leaves", CHANGE)
    stage.hear(leaver)
    unread = stage.found("leaves")["effective_at"]

    stage.work()

    assert unread is None
    assert stage.state("leaves") == "scheduled"
    assert stage.later("leavers") == [ENDS]
    assert due_at(stage, "leaves") == ENDS
    assert stage.found("leaves")["effective_at"] == iso(ENDS)
    assert steps(stage, "leaves") == [{"scheduled_for": iso(ENDS)}]
    assert fake.user("bo.ray@acme.example")["active"] is True


def test_date_moves_with_the_person(stage: Stage) -> None:
    """The zone becomes known after the leaver was scheduled: it is looked at when the day ends there, sooner."""
    stage.tell(JOINED)
    stage.tell(leaves("leaves", CHANGE))

    stage.tell(event(Kind.MOVER, "moved", minute=6, timezone=TOKYO))

    assert stage.later("leavers") == [ENDS_IN_TOKYO, ENDS]
    assert due_at(stage, "leaves") == ENDS_IN_TOKYO
    assert stage.found("leaves")["effective_at"] == iso(ENDS_IN_TOKYO)
    assert steps(stage, "leaves")[1:] == [{"scheduled_for": iso(ENDS_IN_TOKYO), "before": iso(ENDS)}]


def test_look_at_the_old_moment_does_nothing(stage: Stage, fake: FakeScim) -> None:
    """The date moved to later, and the job of the old one comes all the same."""
    stage.tell(JOINED)
    stage.tell(event(Kind.MOVER, "moved", minute=4, timezone=TOKYO))
    stage.tell(leaves("leaves", CHANGE))
    stage.tell(event(Kind.MOVER, "back", minute=6, timezone=NEW_YORK))
    before = stage.later("leavers")

    stage.work(lane="leavers")

    assert (before, stage.later("leavers")) == ([ENDS_IN_TOKYO, ENDS], [ENDS_IN_TOKYO, ENDS])
    assert stage.state("leaves") == "scheduled"
    assert len(steps(stage, "leaves")) == 2
    assert fake.user("bo.ray@acme.example")["active"] is True


@pytest.mark.parametrize("zone", [TOKYO, NEW_YORK, "Pacific/Apia"])
def test_local_moment_is_one_of_the_persons_zone(stage: Stage, fake: FakeScim, zone: str) -> None:
    """A minute ago by the person's clocks is past, in a minute is ahead, wherever that is."""
    stage.tell(event(Kind.JOINER, "joined", timezone=zone, **BO))

    stage.tell(leaves("ahead", local(zone, timedelta(minutes=1))))
    before = (stage.state("ahead"), fake.user("bo.ray@acme.example")["active"])
    stage.tell(leaves("past", local(zone, -timedelta(minutes=1)), minute=6))

    assert before == ("scheduled", True)
    assert (stage.state("past"), fake.user("bo.ray@acme.example")["active"]) == ("applied", False)


def test_nobody_was_late_because_a_date_was_told_months_before(stage: Stage, redis: Redis) -> None:
    """How long an event took is counted from its date on."""
    stage.tell(JOINED)

    stage.tell(leaves("leaves", local(NEW_YORK, -timedelta(minutes=1))))

    seconds: Any = redis.hget(keys.METRICS, json.dumps(["gatepost_event_latency_seconds", "leaver", "sum"]))
    assert 60 <= float(seconds) < 120


def test_leaver_of_another_day_takes_the_place_of_the_first(stage: Stage, fake: FakeScim) -> None:
    """The first one is superseded at once, by its successor's name; only the second waits."""
    stage.tell(JOINED)
    stage.tell(leaves("first", CHANGE))

    stage.tell(leaves("second", "2099-05-01", minute=6))

    first = stage.found("first")
    assert (first["state"], first["detail"]) == ("superseded", "outranked by hris:second")
    assert stage.state("second") == "scheduled"
    assert (due_at(stage, "first"), due_at(stage, "second")) == (None, datetime(2099, 5, 2, 4, tzinfo=UTC))
    assert first["effective_at"] == iso(ENDS)
    assert steps(stage, "first")[-1] == {"superseded_by": "hris:second"}
    assert fake.user("bo.ray@acme.example")["active"] is True


def test_date_of_an_event_that_never_waited_is_shown(stage: Stage) -> None:
    """Both were told in one go, so that the first was moved before anybody looked at it."""
    stage.tell(leaves("first", CHANGE), leaves("second", "2099-05-01", minute=6))

    assert (stage.state("first"), stage.found("first")["effective_at"]) == ("superseded", iso(ENDS))


def test_rehire_before_the_day_cancels_it(stage: Stage) -> None:
    """What does not happen does not wait for its day."""
    stage.tell(JOINED)
    stage.tell(leaves("leaves", CHANGE))

    stage.tell(event(Kind.JOINER, "stays", minute=6, **BO))

    assert (stage.state("leaves"), stage.found("leaves")["detail"]) == ("superseded", "outranked by hris:stays")
    assert due_at(stage, "leaves") is None
    assert stage.mailbox() == []


def test_joiner_of_a_future_day_is_nobody_before(stage: Stage, fake: FakeScim) -> None:
    """A start in spring and an end in autumn, told in one go: both wait, and no account is made ahead of time."""
    stage.tell(event(Kind.JOINER, "joins", effective_at="2099-03-01", **BO), leaves("leaves", "2099-08-31"))

    assert (stage.state("joins"), stage.state("leaves")) == ("scheduled", "scheduled")
    assert stage.later("people") == [datetime(2099, 3, 1, 5, tzinfo=UTC)]
    assert stage.later("leavers") == [datetime(2099, 9, 1, 4, tzinfo=UTC)]
    assert fake.users() == []


def test_whoever_does_not_come_is_not_let_in(stage: Stage, fake: FakeScim) -> None:
    """A leaver before the first day: the joiner is over."""
    stage.tell(event(Kind.JOINER, "joins", effective_at="2099-03-01", **BO))

    stage.tell(event(Kind.LEAVER, "no-show", minute=5, **BO))

    assert (stage.state("joins"), stage.found("joins")["detail"]) == ("superseded", "outranked by hris:no-show")
    assert stage.mailbox() == []
    assert fake.users() == []


@pytest.mark.parametrize("never", ["9999-12-31", "9999-12-31T23:59:59", datetime.max.replace(tzinfo=UTC)], ids=str)
def test_leaver_of_the_end_of_the_calendar_waits(stage: Stage, redis: Redis, never: str | datetime) -> None:
    """What some write for "never" is kept for as long, and neither the schedule nor the sweeper trips over it."""
    stage.tell(JOINED)
    stage.tell(leaves("leaves", never))
    queues = lanes(redis)
    queues[LEAVERS].empty()  # type: ignore[no-untyped-call]
    sweeper = Sweeper(redis, "me", People(redis, queues), queues)

    sweeper.resume_due()
    sweeper.audit()

    assert stage.state("leaves") == "scheduled"
    assert stage.found("leaves")["effective_at"] == iso(LATEST)
    assert (stage.later("leavers"), due_at(stage, "leaves")) == ([LATEST], LATEST)
    assert queues[LEAVERS].job_ids == []


@pytest.mark.parametrize("always", ["0001-01-01", "0001-01-01T00:00:00"])
def test_leaver_of_the_begin_of_the_calendar_is_done(stage: Stage, fake: FakeScim, always: str) -> None:
    """What some write for "no date" is past."""
    stage.tell(JOINED)

    stage.tell(leaves("leaves", always))

    assert stage.state("leaves") == "applied"
    assert fake.user("bo.ray@acme.example")["active"] is False


def test_moment_that_moved_survives_the_loss_of_every_job(stage: Stage, redis: Redis) -> None:
    """The index has the new moment: the sweeper offers the leaver when it has passed, whatever became of the jobs."""
    stage.tell(JOINED)
    zone = event(Kind.MOVER, "moved", minute=6, timezone=TOKYO)
    leaver = leaves("leaves", local(TOKYO, -timedelta(minutes=1)))
    stage.tell(leaver)
    waits = stage.state("leaves")
    stage.hear(zone)
    people = lanes(redis)[PEOPLE]
    for queue in (people, lanes(redis)[LEAVERS]):
        queue.empty()  # type: ignore[no-untyped-call]
        redis.delete(queue.scheduled_job_registry.key)
    redis.zadd(keys.DUE, {leaver.ref: time.time() * 1000 - 60_000})

    queues = lanes(redis)
    Sweeper(redis, "me", People(redis, queues), queues).resume_due()
    offered = queues[LEAVERS].job_ids
    stage.work(lane="leavers")

    assert (waits, len(offered)) == ("scheduled", 1)
    assert stage.state("leaves") == "applied"
    assert due_at(stage, "leaves") is None
