"""How the outbox stands, as an operator's graphs show it."""

import time

import pytest
from redis import Redis

from lifecycle import keys, outbox
from lifecycle.outbox_standing import Outbox, standing
from tests.seed import signal


@pytest.fixture
def siem(redis: Redis) -> str:
    """Give a subscriber for whom three persons' signals wait: one to be tried again later, one only by a replay."""
    redis.sadd(keys.SUBSCRIBER_NAMES, "siem")
    outbox.enlist_again(redis, [outbox.Way(f"sig_{person}", "siem", person) for person in ("E1", "E2", "E3")])
    redis.zrem(keys.replays("siem"), "E1", "E2")
    redis.zadd(keys.lines("siem"), {"E1": (time.time() + 300) * 1000, "E2": (time.time() - 7) * 1000})
    return "siem"


def test_what_is_due_is_the_lanes_work_and_what_waits_for_its_time_is_not(redis: Redis, siem: str) -> None:
    """More processes would send the two at once, and the third not sooner."""
    found = Outbox.of(redis)

    assert found.depth == 2
    assert found.oldest_seconds == pytest.approx(7, abs=2)
    assert standing(redis, siem).waiting == 3


@pytest.mark.parametrize("field", ["paused_at", "disabled_at", "open_until", "rest_until"])
def test_subscriber_that_is_not_to_be_told_now_makes_no_lane_late(redis: Redis, siem: str, field: str) -> None:
    """Nobody is to be woken at night because one of them is paused or away."""
    redis.hset(keys.subscriber(siem), field, int((time.time() + 60) * 1000))

    assert Outbox.of(redis) == Outbox(0, 0.0)


def test_subscriber_that_cannot_be_opened_makes_no_lane_late(redis: Redis, siem: str) -> None:
    """What waits for it is sent when its key is back, however many processes there are."""
    redis.sadd(keys.SUBSCRIBER_NAMES, "well")
    outbox.enlist_again(redis, [outbox.Way("sig_E1", "well", "E1")])

    found = Outbox.of(redis, lambda: {siem})

    assert found == Outbox(1, 0.0)  # a replay is late for nobody


def test_signal_that_is_not_fanned_out_yet_counts(redis: Redis) -> None:
    """It is late from the moment at which it was kept."""
    with redis.pipeline() as pipe:
        outbox.keep(pipe, signal())
        pipe.execute()

    found = Outbox.of(redis)

    assert found.depth == 1
    assert 0 <= found.oldest_seconds < 5
