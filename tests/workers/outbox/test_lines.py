"""Lines: order for each person, and nobody who waits for somebody else's subscriber."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

from lifecycle import keys
from lifecycle.outbox import DELIVERED, FAILED, WAITING, Way, drop_all, enlist_again
from lifecycle.outbox_scripts import CIRCUIT_FAILURES
from tests.workers.outbox.conftest import Open, ids, signal
from tests.workers.receiver import Receiver, told
from workers.outbox.post import CLAIM_MILLISECONDS
from workers.outbox.recorder import Attempt
from workers.outbox.schedule import Result, Says
from workers.subscribers.carrier import ANSWER_SECONDS


async def test_signals_of_one_person_go_out_in_order(office: Open) -> None:
    """The second waits for the first, whatever happens to that; those of another person do not."""
    first, second, other = signal("1"), signal("2"), signal("3", person="E2")
    with Receiver([told(500)]) as receiver:
        here = await office(receiver.url)
        here.keep(first, second)
        await here.spread()
        await here.send()
        here.keep(other)
        await here.spread()
        await here.send()
        between = ids(receiver)

        await here.again()
        await here.send()

    assert between == [first.id, other.id]
    assert ids(receiver)[2:] == [first.id, second.id]


async def test_line_goes_on_after_a_delivery_that_failed_for_good(office: Open) -> None:
    """A dead letter holds up nobody: not the rest of its own line either."""
    first, second = signal("1"), signal("2")
    with Receiver([told(500)] * 10) as receiver:
        here = await office(receiver.url)
        here.keep(first, second)
        await here.spread()
        for _ in range(10):
            await here.again()
        await here.again()

    assert here.delivery(first)["state"] == "failed"
    assert here.delivery(second)["state"] == "delivered"


async def test_signal_without_a_person_has_a_line_of_its_own(office: Open) -> None:
    """Two alarms of nobody in particular do not wait for each other."""
    with Receiver([told(500)]) as receiver:
        here = await office(receiver.url)
        await here.tell(signal("1", person=""), signal("2", person=""))

    assert len(receiver.taken) == 2


async def test_dead_subscriber_delays_nobody_else(office: Open) -> None:
    """Each has its own lines: one that is away keeps its own signals waiting alone."""
    ones = [signal(str(number), person=f"E{number}") for number in range(20)]
    with Receiver([told(500)] * 100) as dead, Receiver() as well:
        here = await office(dead={"url": dead.url}, well={"url": well.url})
        here.keep(*ones)
        await here.spread()
        while await here.send():
            pass

    assert sorted(ids(well)) == sorted(one.id for one in ones)
    assert here.redis.hget(keys.subscriber("dead"), "waiting") == b"20"


async def test_circuit_opens_after_failures_in_a_row_and_one_probe_closes_it(office: Open) -> None:
    """While it is open nothing is tried and no attempt is lost; then one goes, and after its success all others."""
    ones = [signal(str(number), person=f"E{number}") for number in range(CIRCUIT_FAILURES + 3)]
    with Receiver([told(500)] * CIRCUIT_FAILURES) as receiver:
        here = await office(receiver.url)
        await here.tell(*ones[:CIRCUIT_FAILURES])
        await here.tell(*ones[CIRCUIT_FAILURES:])
        opened = len(receiver.taken)

        here.redis.hset(keys.subscriber("siem"), "open_until", 1)
        probed = await here.send()
        after = await here.send()

    assert opened == CIRCUIT_FAILURES
    assert probed == 1
    assert after == 2
    assert all(here.delivery(one)["attempts"] == 1 for one in ones)


async def test_probe_that_fails_keeps_the_circuit_open_for_longer(office: Open) -> None:
    """A subscriber that stays away is asked less and less often."""
    ones = [signal(str(number), person=f"E{number}") for number in range(CIRCUIT_FAILURES + 2)]
    with Receiver([told(500)] * 20) as receiver:
        here = await office(receiver.url)
        await here.tell(*ones[:CIRCUIT_FAILURES])
        first = opens_after(here.redis)
        here.keep(*ones[CIRCUIT_FAILURES:])
        await here.spread()
        here.redis.hset(keys.subscriber("siem"), "open_until", 1)
        await here.send()

    assert opens_after(here.redis) > first * 1.5


async def test_probe_is_alone_for_as_long_as_it_may_take(office: Open) -> None:
    """Another process leaves the subscriber alone meanwhile, and what fails late says nothing of the probe."""
    ones = [signal(str(number), person=f"E{number}") for number in range(4)]
    here, other = await office("http://127.0.0.1:9/"), await office("http://127.0.0.1:9/")
    here.keep(*ones)
    await here.spread()
    late, *_ = await here.post._claim()
    here.make_due()
    here.redis.hset(keys.subscriber("siem"), "failures", CIRCUIT_FAILURES)

    (probe,) = await here.post._claim()
    after = opens_after(here.redis)
    second = await other.post._claim()
    failed = Result(WAITING, Says.ILL, "500", datetime.now(UTC))
    await here.post._recorder.record(Attempt(replace(late, item=ones[3].id, line="E3"), {}, failed))

    assert ANSWER_SECONDS < after < CLAIM_MILLISECONDS * 4 / 1000 + 1
    assert second == []
    assert here.redis.hget(keys.subscriber("siem"), "probing") == probe.item.encode()
    await here.post._recorder.record(Attempt(probe, {}, failed))
    assert opens_after(here.redis) < after
    assert here.redis.hget(keys.subscriber("siem"), "opened") == b"1"


async def test_probe_that_says_nothing_of_the_subscriber_makes_room_for_the_next(office: Open) -> None:
    """What is wrong with one letter is no reason to wait longer with the others."""
    here = await office("http://127.0.0.1:9/")
    here.keep(signal("1", person="E1"), signal("2", person="E2"))
    await here.spread()
    here.redis.hset(keys.subscriber("siem"), "failures", CIRCUIT_FAILURES)
    (probe,) = await here.post._claim()

    await here.post._recorder.record(Attempt(probe, {}, Result(FAILED, Says.NOTHING, "no_webhook")))

    (following,) = await here.post._claim()
    assert following.line != probe.line
    assert here.redis.hget(keys.subscriber("siem"), "failures") == str(CIRCUIT_FAILURES).encode()


def opens_after(redis: object) -> float:
    """Return for how many seconds the circuit is still open."""
    until = redis.hget(keys.subscriber("siem"), "open_until")  # type: ignore[attr-defined]
    return float(until) / 1000 - datetime.now(UTC).timestamp()


async def test_paused_subscriber_gets_all_of_it_later_in_order(office: Open) -> None:
    """Whoever pauses loses nothing."""
    ones = [signal(str(number)) for number in range(3)]
    with Receiver() as receiver:
        here = await office(receiver.url)
        here.redis.hset(keys.subscriber("siem"), "paused_at", 1)
        await here.tell(*ones)
        assert receiver.taken == []

        here.redis.hdel(keys.subscriber("siem"), "paused_at")
        while await here.send():
            pass

    assert ids(receiver) == [one.id for one in ones]


async def test_paused_stream_is_told_that_it_is_paused(office: Open) -> None:
    """The announcement is no event that waits until the pause is over."""
    with Receiver() as receiver:
        here = await office(receiver.url)
        here.redis.hset(keys.subscriber("siem"), "paused_at", 1)
        here.keep(signal())
        await here.spread()
        item = "sig_x~stream-updated"
        enlist_again(here.redis, [Way(item, "siem", item)])

        claims = await here.post._claim()

    assert [claim.item for claim in claims] == [item]


async def test_paused_stream_is_told_however_many_lines_wait(office: Open) -> None:
    """Again as well, where it did not take it the first time."""
    here, item = await office("http://127.0.0.1:9/"), "sig_x~stream-updated"
    enlist_again(here.redis, [Way(f"sig_{each}", "siem", f"E{each}") for each in range(1_500)])
    here.redis.hset(keys.subscriber("siem"), "paused_at", 1)
    enlist_again(here.redis, [Way(item, "siem", item)])

    first = await here.post._claim()
    here.redis.zadd(keys.lines("siem"), {item: here.redis.time()[0] * 1000})
    again = await here.post._claim()

    assert [claim.item for claim in (*first, *again)] == [item, item]


async def test_rate_is_kept(office: Open) -> None:
    """A second's worth goes out at once, then one after the other."""
    ones = [signal(str(number), person=f"E{number}") for number in range(9)]
    with Receiver() as receiver:
        here = await office(siem={"url": receiver.url, "requests_per_minute": 240})
        await here.tell(*ones)
        at_once = len(receiver.taken)
        await here.send()
        await asyncio.sleep(0.3)
        later = await here.send()

    assert at_once == 4
    assert later == 1


async def test_claim_of_a_process_that_died_ends(office: Open) -> None:
    """What was on its way when a process died is sent by another, under the same id; while it lives, by nobody."""
    one = signal()
    with Receiver() as receiver:
        here, other = await office(receiver.url), await office(receiver.url)
        here.keep(one)
        await here.spread()
        (claim,) = await here.post._claim()
        at_once = await other.send()
        await here.post.renew([claim])
        here.redis.zadd(keys.lines("siem"), {"E1042": int(claim.until) - CLAIM_MILLISECONDS})

        later = await other.send()

    assert (at_once, later) == (0, 1)
    assert ids(receiver) == [one.id]


async def test_what_was_paused_for_longer_than_signals_are_kept_leaves_nothing_for_ever(office: Open) -> None:
    """Its signal is gone, and so is in time what is kept of the attempt that found this out."""
    here, one = await office("http://127.0.0.1:9/"), signal()
    here.keep(one)
    await here.spread()
    here.redis.delete(keys.signal(one.id), keys.delivery(one.id, "siem"))
    here.known._signals.clear()

    await here.send()

    assert here.redis.hget(keys.delivery(one.id, "siem"), "reason") == b"signal_unknown"
    assert here.redis.ttl(keys.delivery(one.id, "siem")) > 0


async def test_what_waits_for_a_deleted_subscriber_is_dropped(office: Open) -> None:
    """Nothing is left behind, and what was on its way is recorded nowhere."""
    ones = [signal(str(number), person=f"E{number % 2}") for number in range(4)]
    here = await office("http://127.0.0.1:9/")
    here.keep(*ones)
    await here.spread()

    assert drop_all(here.redis, "siem", "subscriber_deleted") == 4

    assert {here.delivery(one)["state"] for one in ones} == {"dropped"}
    assert here.redis.hget(keys.subscriber("siem"), "waiting") == b"0"
    assert not here.redis.exists(keys.lines("siem"), keys.line("siem", "E0"), keys.line("siem", "E1"))


async def test_line_goes_on_as_soon_as_its_first_is_recorded(office: Open) -> None:
    """The task of the one before it may not have seen that yet: the next is sent, and waits for no claim to end."""
    first, second = signal("1"), signal("2")
    with Receiver() as receiver:
        here = await office(receiver.url)
        here.keep(first, second)
        await here.spread()
        (claim,) = await here.post._claim()
        task = asyncio.create_task(asyncio.sleep(CLAIM_MILLISECONDS))
        here.post._claims[task] = claim
        await here.post._recorder.record(Attempt(claim, {"status": 204}, Result(DELIVERED, Says.WELL)))

        await here.post.step()

        here.post._claims.pop(task)
        task.cancel()
        await here.post.settle()

    assert ids(receiver) == [second.id]
