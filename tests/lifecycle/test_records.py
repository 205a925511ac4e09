"""What people ask for, where the API's tests do not already tell it."""

import json
from datetime import UTC, datetime

import pytest
from redis import Redis

from lifecycle.aside import SetAside, drop_notice_commands, set_aside_command
from lifecycle.errors import Malformed, Unknown
from lifecycle.event import State
from lifecycle.pages import PAGE_MAX
from lifecycle.people import People
from lifecycle.queue import lanes
from lifecycle.records import Records
from lifecycle.settlement import Delivery
from tests.seed import event, put, settle


@pytest.fixture
def records(redis: Redis) -> Records:
    """Give the reads."""
    return Records(redis)


def run(redis: Redis, commands: list[tuple[object, ...]]) -> None:
    """Run the commands as the receiver does."""
    for command in commands:
        redis.execute_command(*command)  # type: ignore[no-untyped-call]


def test_notice_set_aside_comes_back_byte_for_byte(records: Records, redis: Redis) -> None:
    """Any body survives, and after it was read nothing of it is left."""
    aside = SetAside("n1", "hris", "POST", "a=b", {"x": "é"}, bytes(range(256)), datetime.now(UTC), "unreadable", "why")
    run(redis, [set_aside_command(aside)])
    found = records.set_aside("n1")

    run(redis, drop_notice_commands(aside))

    assert found == aside
    assert records.set_aside("n1") is None
    assert redis.keys("*") == []


def test_page_is_bounded_whatever_is_asked(records: Records, redis: Redis) -> None:
    """A caller cannot make us read everything at once."""
    put(redis, *(event(f"evt-{number}", f"E{number}") for number in range(PAGE_MAX + 1)))

    page = records.events(limit=10_000)

    assert len(page.items) == PAGE_MAX
    assert page.next


def test_failures_are_of_three_kinds_newest_first(records: Records, redis: Redis) -> None:
    """Notices, events and signals that wait for a person are one list; what no longer exists is passed over."""
    put(redis, event())
    settle(redis, "E1042", State.HELD, reason="ambiguous")
    redis.zadd("gatepost:failures", {"notice:gone": 1.0, "signal:gone:siem": 2.0, "event:hris:gone": 3.0})

    assert [(item["id"], item["state"]) for item in records.failures().items] == [("event:hris:evt-1", "held")]


def test_retry_offers_the_event_once(records: Records, redis: Redis) -> None:
    """A retried event is open, in its mailbox once, with all tries before it but no first one, and no failure."""
    put(redis, event())
    settle(redis, "E1042", State.FAILED)

    records.retry("event:hris:evt-1", actor="bo")

    kept = People(redis, lanes(redis)).mailbox("E1042")
    again = Delivery(State.POSTPONED, requests=2, attempts=1, reason="retry")
    assert [(each.event.id, each.state, each.deliveries) for each in kept] == [("evt-1", State.KEPT, {"crm": again})]
    assert records.failures().items == []
    assert json.loads(redis.lrange("gatepost:trace:hris:evt-1", -1, -1)[0])["detail"] == {"by": "bo"}
    with pytest.raises(Unknown):
        records.retry("event:hris:evt-1", actor="bo")


@pytest.mark.parametrize("failure", ["notice:n1", "x", ""])
def test_retry_of_a_notice_is_the_receivers(records: Records, failure: str) -> None:
    """Only the receiver has the reader."""
    with pytest.raises(Malformed):
        records.retry(failure, actor="bo")


def test_settled_events_leave_by_their_age_and_lists_do_not_trip(records: Records, redis: Redis) -> None:
    """A list may hold the name of a record that expired a moment ago; it is passed over."""
    put(redis, event(), event("evt-2"))
    redis.delete("gatepost:event:hris:evt-2")

    assert [item["id"] for item in records.events().items] == ["evt-1"]
    assert [each["id"] for each in records.person("E1042")["events"]] == ["evt-1"]
    with pytest.raises(Unknown):
        records.event("evt-2", ["hris"])
