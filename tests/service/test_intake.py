"""The way of notices into Redis: shared round trips, and an answer for each."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from redis import Redis

from lifecycle.errors import Unavailable
from lifecycle.event import Event, Kind, Profile
from service.intake import ROUND_TRIP_MAX, WAITING_MAX, Intake
from tests.redis_server import RedisServer

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def event(event_id: str, person: str = "E1042", kind: Kind = Kind.LEAVER) -> Event:
    """Return an event; what a test does not say does not matter."""
    profile = Profile(external_id=person)
    return Event(
        id=event_id,
        source="hris",
        kind=kind,
        person=person,
        profile=profile,
        occurred_at=NOW,
        received_at=NOW,
        vendor_kind="x",
    )


@pytest.fixture
async def intake(redis_server: RedisServer) -> AsyncIterator[Intake]:
    """Give an intake whose script is loaded."""
    opened = Intake(redis_server.url)
    await opened.put([event("warm-up", "nobody")])
    yield opened
    await opened.close()


def reads(redis: Redis) -> int:
    """Count how often Redis read from a client's socket; one read may carry many commands."""
    info: Any = redis.info("stats")
    return int(info["total_reads_processed"])


def evaluated(redis: Redis) -> int:
    """Count the notices that Redis was asked to keep."""
    info: Any = redis.info("commandstats")
    return int(info.get("cmdstat_evalsha", {"calls": 0})["calls"])


@pytest.fixture
def counted(redis: Redis) -> Redis:
    """Give a client to count with, from zero."""
    redis.config_resetstat()
    return redis


async def test_notices_of_one_moment_share_a_round_trip(intake: Intake, counted: Redis) -> None:
    """A hundred concurrent notices are a hundred evaluations in a handful of reads, not in a hundred."""
    before = reads(counted)

    answers = await asyncio.gather(*(intake.put([event(f"evt-{number}")]) for number in range(100)))

    read = reads(counted) - before - 1
    assert answers == [1] * 100
    assert evaluated(counted) == 100
    # A hundred notices are some 100 kB and Redis reads 16 kB at a time; one read each would be a hundred.
    assert read <= 20


async def test_lonely_notice_does_not_wait_for_company(intake: Intake, counted: Redis) -> None:
    """One after the other, each notice has a round trip of its own and its answer at once."""
    before = reads(counted)

    answers = [await intake.put([event(f"evt-{number}")]) for number in range(10)]

    assert answers == [1] * 10
    assert reads(counted) - before - 1 == 10


async def test_each_notice_gets_its_own_count(intake: Intake) -> None:
    """Notices that share a round trip do not share an answer: new events count where they came first."""
    answers = await asyncio.gather(
        intake.put([event("a"), event("b")]),
        intake.put([event("b"), event("c"), event("c")]),
        intake.put([event("a")]),
    )

    assert list(answers) == [2, 1, 0]


async def test_more_than_a_round_trip_holds_is_kept_too(intake: Intake, redis: Redis) -> None:
    """What does not fit into one round trip goes with the next."""
    many = 2 * ROUND_TRIP_MAX + 1

    answers = await asyncio.gather(*(intake.put([event(f"evt-{number}")]) for number in range(many)))

    assert sum(answers) == many
    assert redis.zcard("gatepost:events") == many + 1


async def test_too_many_waiting_notices_are_refused_at_once(intake: Intake) -> None:
    """Memory has a bound: past it a notice is refused while those before it are kept."""
    waiting = [asyncio.ensure_future(intake.put([event("evt")])) for _ in range(WAITING_MAX)]
    last = asyncio.ensure_future(intake.put([event("one-too-many")]))

    answers = await asyncio.gather(*waiting)

    assert sum(answers) == 1
    with pytest.raises(Unavailable) as refused:
        await last
    assert refused.value.reason == "overloaded"


async def test_client_that_went_away_does_not_disturb_the_others(intake: Intake) -> None:
    """A request that is cancelled while it waits leaves its neighbours' answers whole."""
    gone, stays = (asyncio.ensure_future(intake.put([event(name)])) for name in ("gone", "stays"))
    await asyncio.sleep(0)

    gone.cancel()

    assert await stays == 1
    assert gone.cancelled()


async def test_everyone_who_waits_is_told_when_redis_is_away(intake: Intake, redis_server: RedisServer) -> None:
    """Each concurrent notice gets its own Unavailable, and the next one after the restart is kept."""
    redis_server.kill()

    answers = await asyncio.gather(*(intake.put([event(f"{n}")]) for n in range(5)), return_exceptions=True)
    redis_server.start()

    assert [type(answer) for answer in answers] == [Unavailable] * 5
    assert await intake.put([event("after")]) == 1
