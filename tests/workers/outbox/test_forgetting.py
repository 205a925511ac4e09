"""Forgetting: of whoever is gone nothing is left, and nothing outlives what it is about."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from lifecycle import asked, keys
from lifecycle.outbox import drop_all, end_polled, enlist_again
from lifecycle.subscribers import Subscribers
from tests.seed import SALT
from tests.workers.outbox.conftest import Office, Open, signal
from tests.workers.receiver import Receiver, told
from workers.outbox.lane import dismiss

NOWHERE = "http://127.0.0.1:9/"
RETENTION_MILLISECONDS = keys.RETENTION_SECONDS * 1000


def subscribers(here: Office) -> Subscribers:
    """Return the store of those that the API makes."""
    here.redis.set(keys.SALT, SALT)
    return Subscribers(here.redis, here.config)


def make(here: Office, url: str = NOWHERE) -> None:
    """Make a subscriber as the API does."""
    body = {"name": "soar", "url": url, "allow_private": True}
    subscribers(here).create(*asked.created(body, here.config, datetime.now(UTC)), actor="test")


async def test_subscriber_that_is_made_while_a_process_starts_is_not_dismissed(office: Open) -> None:
    """A process that read the roster before it was made drops nothing of what waits for it."""
    here, starting = await office(siem={"url": NOWHERE}), await office(siem={"url": NOWHERE})
    await starting.known.refresh()
    make(here)
    await here.known.refresh()
    here.keep(one := signal())
    await here.spread()

    dismiss(starting.redis, starting.config)

    assert here.delivery(one, "soar")["state"] == "waiting"


async def test_whoever_is_gone_from_the_file_is_forgotten(office: Open) -> None:
    """Who comes back by that name is not disabled since another one was, and has failed at nothing."""
    with Receiver([told(410)]) as receiver, Receiver() as fresh:
        before = await office(siem={"url": receiver.url}, other={"url": NOWHERE})
        await before.tell(signal())
        assert len(before.failures()) == before.counted("failed") == 1

        between = await office(other={"url": NOWHERE})
        dismiss(between.redis, between.config)
        forgotten = between.failures(), between.counted("failed"), between.redis.exists(keys.subscriber("siem"))
        after = await office(siem={"url": fresh.url})
        await after.tell(two := signal("2"))

    assert forgotten == ([], 0, 0)
    assert after.delivery(two)["state"] == "delivered"


async def test_stream_whose_receiver_is_not_configured_stays_as_it_was_left(office: Open) -> None:
    """What waits for it is dropped; one that its receiver has disabled tells nothing when that comes back."""
    here = await office(other={"url": NOWHERE})
    here.redis.hset(keys.STREAMS, "ssf-1", "{}")
    here.redis.sadd(keys.SUBSCRIBER_NAMES, "ssf-1")
    here.redis.hset(keys.subscriber("ssf-1"), "disabled_at", 1)

    dismiss(here.redis, here.config)

    assert here.redis.hkeys(keys.subscriber("ssf-1")) == [b"disabled_at"]
    assert not here.redis.sismember(keys.SUBSCRIBER_NAMES, "ssf-1")


async def test_whoever_is_deleted_is_counted_no_more(office: Open) -> None:
    """The metrics do not grow with every name that there ever was."""
    with Receiver([told(204), told(500)]) as receiver:
        here = await office(other={"url": NOWHERE})
        make(here, receiver.url)
        await here.known.refresh()
        await here.tell(signal("1"))
        await here.tell(signal("2"))
        counted = here.counted("delivered", "soar"), here.counted("retried", "soar")

        subscribers(here).delete("soar", actor="test")

    assert counted == (1, 1)
    assert [field for field in here.redis.hkeys(keys.METRICS) if b"soar" in field] == []
    assert here.counted("retried", "other") == 1


async def test_what_failed_is_forgotten_with_its_signal(office: Open) -> None:
    """After the retention, of whoever subscribes no longer too; what else waits for a person stays."""
    here = await office(NOWHERE)
    old, young = time.time() - keys.RETENTION_SECONDS - 60, time.time() - 60
    failed = {f"signal:sig_{number}:siem": old for number in range(1_500)}
    others = {"event:hris:1": old, "notice:n1": old, "target:crm": old, "signal:sig_young~a:siem": young}
    here.redis.zadd(keys.FAILURES, failed | others | {"signal:sig_old:gone": old})
    here.redis.zadd(keys.failed("siem"), {name.split(":")[1]: score * 1000 for name, score in failed.items()})
    here.redis.zadd(keys.failed("siem"), {"sig_young~a": young * 1000})
    here.redis.zadd(keys.failed("gone"), {"sig_old": old * 1000})

    await here.fan_out._trim()

    stay: Any = here.redis.zrange(keys.FAILURES, 0, -1)
    assert {name.decode() for name in stay} == set(others)
    assert here.redis.zrange(keys.failed("siem"), 0, -1) == [b"sig_young~a"]
    assert not here.redis.exists(keys.failed("gone"))


@pytest.mark.parametrize("format_", ["standard_webhooks", "ssf_poll"])
async def test_delivery_that_ends_after_it_was_forgotten_is_forgotten_again(office: Open, format_: str) -> None:
    """A subscriber that was paused for longer than anything is kept leaves nothing behind for ever."""
    here, one = await office(NOWHERE), signal()
    subscriber = here.config.subscribers["siem"].model_copy(update={"format": format_})
    here.keep(one)
    enlist_again(here.redis, [subscriber.way("siem", one.id, "E1042")])
    here.redis.delete(keys.signal(one.id), keys.delivery(one.id, "siem"))

    ended = (
        end_polled(here.redis, "siem", [(one.id, "failed", "x")], seen=True)
        if format_ == "ssf_poll"
        else drop_all(here.redis, "siem", "x")
    )

    assert ended == 1
    assert 0 < here.redis.pttl(keys.delivery(one.id, "siem")) <= RETENTION_MILLISECONDS
