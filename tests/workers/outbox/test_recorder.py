"""What attempts came to: kept in one step with all that follows from it, whoever hears of that."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from lifecycle import keys, outbox
from lifecycle.outbox import DELIVERED, FAILED, WAITING
from tests.workers.outbox.conftest import Office, Open, signal
from workers.outbox.pace import STEP_SECONDS
from workers.outbox.recorder import Attempt, Recorder
from workers.outbox.schedule import Result, Says

NOWHERE = "http://127.0.0.1:9/"
SECONDS_MAX = 5
PAUSE_MILLISECONDS = 500


class Deaf(Redis):
    """Does what it is asked to, and the answer is lost."""

    async def eval(self, *arguments: Any) -> Any:  # noqa: ANN401 - the library's signature
        """Do it; the connection died before it was told."""
        await super().eval(*arguments)
        raise RedisConnectionError("lost")


def announced(here: Office) -> list[dict[str, Any]]:
    """Return what is told of subscribers that were disabled."""
    found: Any = here.redis.xrange(keys.OUTBOX)
    signals = outbox.told_all(here.redis, [fields[b"id"].decode() for _, fields in found])
    return [told.data for told in signals if told and told.type == "subscriber.disabled" and told.besides == "siem"]


@pytest.mark.parametrize(
    ("result", "failing_days", "reason"),
    [
        (Result(FAILED, Says.ILL, "410", disables=True), 0, "gone"),
        (Result(WAITING, Says.ILL, "500", datetime.now(UTC)), 5, "failing"),
        (Result(WAITING, Says.BUSY, "429", datetime.now(UTC), datetime.now(UTC)), 6, "failing"),
    ],
)
async def test_subscriber_is_disabled_though_nobody_hears_that_the_attempt_is_kept(
    office: Open, result: Result, failing_days: int, reason: str
) -> None:
    """The answer of Redis was lost, or the process died then: the same step has disabled it and told the others."""
    here = await office(NOWHERE)
    here.keep(signal())
    await here.spread()
    (claim,) = await here.post._claim()
    since = datetime.now(UTC) - timedelta(days=failing_days)
    standing = {
        "failing_since": int(since.timestamp() * 1000),
        "last_failure_at": int(datetime.now(UTC).timestamp() * 1000),
    }
    here.redis.hset(keys.subscriber("siem"), mapping=standing)  # type: ignore[arg-type]

    with pytest.raises(RedisConnectionError):
        await Recorder(Deaf(connection_pool=here.wire.connection_pool)).record(Attempt(claim, {}, result))
    again = await Recorder(here.wire).record(Attempt(claim, {}, result))

    assert again is False
    assert here.redis.hget(keys.subscriber("siem"), "reason") == reason.encode()
    (told,) = announced(here)
    assert (told["subscriber"], told["reason"]) == ("siem", reason)


async def test_subscriber_is_disabled_once(office: Open) -> None:
    """Two letters were on their way when it went: the others hear of it once, and the first reason stands."""
    here = await office(NOWHERE)
    here.keep(signal("1", person="E1"), signal("2", person="E2"))
    await here.spread()
    claims = await here.post._claim()
    gone = Result(FAILED, Says.ILL, "410", disables=True)

    kept = await asyncio.gather(*(here.post._recorder.record(Attempt(claim, {}, gone)) for claim in claims))

    assert kept == [True, True]
    assert len(announced(here)) == 1


async def test_whatever_goes_wrong_nobody_waits_for_ever(office: Open) -> None:
    """What cannot be written fails all that were to be written with it; each is made again when its claim ends."""
    here = await office(NOWHERE)
    here.keep(*(signal(str(number), person=f"E{number}") for number in range(3)))
    await here.spread()
    first, bad, good = (Attempt(claim, {}, Result(DELIVERED, Says.WELL)) for claim in await here.post._claim())
    recorder = Recorder(here.wire)
    await recorder.record(first)

    async with asyncio.timeout(SECONDS_MAX):
        unwritable = Attempt(bad.claim, {"answer": object()}, bad.result)
        ends = await asyncio.gather(recorder.record(unwritable), recorder.record(good), return_exceptions=True)

    assert [type(end) for end in ends] == [TypeError, TypeError]
    assert await recorder.record(good)
    assert json.loads(here.redis.lindex(keys.attempts(good.claim.item, "siem"), 0))["number"] == 1  # type: ignore[arg-type]


async def test_nobody_waits_for_a_step_that_was_broken_off(office: Open) -> None:
    """Whoever writes for the others may be stopped in the middle of it."""
    here = await office(NOWHERE)
    here.keep(*(signal(str(number), person=f"E{number}") for number in range(3)))
    await here.spread()
    first, writes, waits = (Attempt(claim, {}, Result(DELIVERED, Says.WELL)) for claim in await here.post._claim())
    recorder = Recorder(here.wire)
    await recorder.record(first)
    here.redis.execute_command("CLIENT", "PAUSE", PAUSE_MILLISECONDS, "WRITE")  # type: ignore[no-untyped-call]

    tasks = [asyncio.create_task(recorder.record(attempt)) for attempt in (writes, waits)]
    await asyncio.sleep(5 * STEP_SECONDS)
    tasks[0].cancel()

    async with asyncio.timeout(SECONDS_MAX):
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [asyncio.CancelledError] * 2
