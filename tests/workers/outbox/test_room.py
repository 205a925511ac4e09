"""Room: so much may wait for a subscriber, replays leave some of it free, and what finds none is told."""

from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from lifecycle import keys
from lifecycle.errors import Conflict
from lifecycle.outbox import BATCH_MAX, DELIVERED, WAITING, drop_all
from lifecycle.outbox_scripts import REPLAYED_MAX, WAITING_MAX
from lifecycle.records import Records
from lifecycle.replay import Replay, Replayed
from tests.workers.outbox.conftest import Office, Open, ids, signal
from tests.workers.receiver import Receiver, told
from workers.outbox.post import ON_THEIR_WAY_MAX
from workers.outbox.recorder import Attempt, Recorder
from workers.outbox.schedule import Result, Says

NOWHERE = "http://127.0.0.1:9/"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def fill(here: Office, number: int) -> None:
    """Let so many deliveries wait."""
    here.redis.hset(keys.subscriber("siem"), "waiting", number)


async def test_signal_that_finds_no_room_has_failed_where_people_look(office: Open) -> None:
    """It is a failure, it is counted, the log names whose it is, and it can be replayed."""
    here, one = await office(siem={"url": NOWHERE}, well={"url": NOWHERE}), signal()
    fill(here, WAITING_MAX)
    here.keep(one, signal("2"))
    with capture_logs() as logs:
        assert await here.spread() == 2

    assert (here.delivery(one)["state"], here.delivery(one)["reason"]) == ("failed", "outbox_full")
    assert here.delivery(one, "well")["state"] == "waiting"
    assert f"signal:{one.id}:siem" in here.failures()
    assert (here.counted("failed"), here.counted("failed", "well")) == (2, 0)
    assert logs == [{"event": "subscriber.outbox_full", "subscriber": "siem", "failed": 2, "log_level": "error"}]

    fill(here, 0)
    assert Replay(here.redis, here.config, "siem").failed(actor="test").enlisted == 2
    assert here.failures() == []


async def test_replay_into_a_full_box_leaves_deliveries_as_they_were(office: Open) -> None:
    """What was delivered stays delivered, what failed stays failed; each way of asking says that there is no room."""
    with Receiver([told(204), told(410)]) as receiver:
        here = await office(receiver.url)
        well, ill = signal("1"), signal("2", person="E2")
        await here.tell(well)
        await here.tell(ill)
    before, failures = [here.delivery(each) for each in (well, ill)], here.failures()
    fill(here, REPLAYED_MAX)
    here.redis.hdel(keys.subscriber("siem"), "disabled_at")
    replay = Replay(here.redis, here.config, "siem")

    since, one, failed = (
        replay.since(LONG_AGO, actor="test"),
        replay.one(well.id, actor="test"),
        replay.failed(actor=""),
    )

    assert [here.delivery(each) for each in (well, ill)] == before
    assert here.failures() == failures == [f"signal:{ill.id}:siem"]
    assert one == failed == Replayed(0, None, is_full=True)
    assert since.next is not None
    assert (since.enlisted, since.is_full, since.next < datetime.now(UTC)) == (0, True, True)


async def test_replay_leaves_room_for_what_happens_and_goes_on_where_it_ended(office: Open) -> None:
    """A leaver's signal is not refused because somebody replays a year."""
    ones = [signal(str(number), person=f"E{number}") for number in range(5)]
    with Receiver() as receiver:
        here = await office(receiver.url)
        for each in ones:
            await here.tell(each)
        fill(here, REPLAYED_MAX - 2)

        first = Replay(here.redis, here.config, "siem").all_since(LONG_AGO, actor="test")
        here.keep(live := signal("live", person="E9"))
        assert await here.spread() == 1
        fill(here, 3)
        assert first.next is not None
        second = Replay(here.redis, here.config, "siem").all_since(first.next, actor="test")

    assert (first.enlisted, first.is_full) == (2, True)
    assert second == Replayed(3, None)
    assert {here.delivery(each)["state"] for each in (*ones, live)} == {"waiting"}


async def test_retry_of_a_signal_says_why_it_does_not_wait(office: Open) -> None:
    """No room, or a subscriber for which nothing is kept while it is disabled; it stays a failure."""
    with Receiver([told(410)]) as receiver:
        here, one = await office(siem={"url": receiver.url}), signal()
        await here.tell(one)
    failure = f"signal:{one.id}:siem"
    fill(here, REPLAYED_MAX)

    with pytest.raises(Conflict) as full:
        here.records.retry(failure, actor="test")
    push = {"format": "ssf_push", "audience": "siem"}
    sections = {"siem": here.config.subscribers["siem"].model_copy(update=push)}
    pushed = Records(here.redis, here.config.model_copy(update={"subscribers": sections}))
    with pytest.raises(Conflict) as disabled:
        pushed.retry(failure, actor="test")

    assert (full.value.reason, disabled.value.reason) == ("outbox_full", "subscriber_disabled")
    assert here.failures() == [failure]


async def test_what_is_replayed_to_who_subscribed_later_is_shown(office: Open) -> None:
    """A signal names all to whom it goes, in the list for one of them too."""
    before, one = await office(other={"url": NOWHERE}), signal()
    before.keep(one)
    await before.spread()
    with Receiver([told(500)]) as receiver:
        here = await office(siem={"url": receiver.url}, other={"url": NOWHERE})

        for _ in range(2):
            Replay(here.redis, here.config, "siem").since(LONG_AGO, actor="test")
        await here.send()

    shown = here.records.signals({"subscriber": "siem"}).items
    assert [each["id"] for each in shown] == [one.id]
    assert [each["subscriber"] for each in shown[0]["deliveries"]] == ["other", "siem"]
    assert len(here.delivery(one)["tried"]) == 1


async def test_what_is_replayed_before_it_is_fanned_out_is_shown(office: Open) -> None:
    """Its filter would not let it through; the fan-out does not forget that somebody asked for it."""
    here = await office(siem={"url": NOWHERE, "events": ["person.deleted"]}, other={"url": NOWHERE})
    here.keep(one := signal())

    Replay(here.redis, here.config, "siem").one(one.id, actor="test")
    await here.spread()

    assert [each["subscriber"] for each in here.records.signal(one.id)["deliveries"]] == ["other", "siem"]


async def test_what_happens_goes_before_a_replay_however_long(office: Open) -> None:
    """A leaver's signal waits for what is on its way, not for the year before it."""
    with Receiver() as receiver:
        here = await office(receiver.url)
        old = [signal(str(number), person=f"E{number}") for number in range(3 * ON_THEIR_WAY_MAX)]
        await here.tell(*old)
        while await here.send():
            pass
        assert Replay(here.redis, here.config, "siem").since(LONG_AGO, actor="test").enlisted == len(old)
        leaver = signal("now", person="E1042")
        here.keep(leaver)
        await here.spread()

        sent = await here.send()

        assert leaver.id in ids(receiver)[len(old) :]
        assert sent == ON_THEIR_WAY_MAX  # what room is left is the replay's
        while await here.send():
            pass
    assert sorted(ids(receiver)) == sorted([each.id for each in old] * 2 + [leaver.id])


async def test_what_happens_goes_before_a_replay_at_a_slow_rate_too(office: Open) -> None:
    """No more of it stands ready than the rate allows at once: ten of them would be a leaver's minutes."""
    with Receiver() as receiver:
        here = await office(siem={"url": receiver.url, "requests_per_minute": 6})
        old = [signal(str(number), person=f"E{number}") for number in range(3)]
        here.keep(*old)
        await here.spread()
        while len(ids(receiver)) < len(old):
            await here.again()
        Replay(here.redis, here.config, "siem").since(LONG_AGO, actor="test")
        await here.again()
        leaver = signal("now", person="E1042")
        here.keep(leaver)
        await here.spread()

        here.redis.hdel(keys.subscriber("siem"), "next_at")
        await here.send()

    assert ids(receiver)[len(old) + 1 :] == [leaver.id]


async def test_new_signal_of_a_person_brings_forward_what_a_replay_began_of_the_same(office: Open) -> None:
    """Order within a person is promised, so the old ones go first, but wait for nobody else's."""
    with Receiver() as receiver:
        here = await office(receiver.url)
        old = [signal(str(number), person=f"E{number:02}") for number in range(2 * ON_THEIR_WAY_MAX)]
        last = old[-1]
        await here.tell(*old)
        while await here.send():
            pass
        Replay(here.redis, here.config, "siem").since(LONG_AGO, actor="test")
        new = signal("new", person=last.person)
        here.keep(new)
        await here.spread()

        await here.send()
        await here.send()

    again = ids(receiver)[len(old) :]
    assert last.id in again[:ON_THEIR_WAY_MAX]
    assert new.id in again[ON_THEIR_WAY_MAX:]


async def test_replay_that_waits_is_dropped_like_all_that_waits(office: Open) -> None:
    """Nothing of it is left behind."""
    old = [signal(str(number), person=f"E{number % 3}") for number in range(9)]
    here = await office(siem={"url": NOWHERE})
    here.keep(*old)
    await here.spread()
    drop_all(here.redis, "siem", "test")
    assert Replay(here.redis, here.config, "siem").since(LONG_AGO, actor="test").enlisted == len(old)

    assert drop_all(here.redis, "siem", "subscriber_deleted") == len(old)

    assert {here.delivery(one)["state"] for one in old} == {"dropped"}
    assert here.redis.hget(keys.subscriber("siem"), "waiting") == b"0"
    assert not here.redis.exists(
        keys.lines("siem"), keys.replays("siem"), *(keys.line("siem", f"E{n}") for n in range(3))
    )


@pytest.mark.parametrize("state", [DELIVERED, WAITING])
async def test_attempt_that_ends_after_its_delivery_began_anew_leaves_one_line_or_none(
    office: Open, state: str
) -> None:
    """It was dropped and replayed while it was under way: the attempt counts, and nothing stands twice or empty."""
    here, one = await office(siem={"url": NOWHERE}), signal()
    here.keep(one)
    await here.spread()
    (claim,) = await here.post._claim()
    drop_all(here.redis, "siem", "test")
    Replay(here.redis, here.config, "siem").one(one.id, actor="test")

    due_at = datetime.now(UTC) + timedelta(minutes=1) if state == WAITING else None
    await Recorder(here.wire).record(Attempt(claim, {}, Result(state, Says.NOTHING, "", due_at)))

    assert here.delivery(one)["state"] == state
    assert here.redis.zcard(keys.lines("siem")) == (state == WAITING)
    assert not here.redis.exists(keys.replays("siem"))


async def test_line_of_which_nothing_is_left_ends_no_drop_early(office: Open) -> None:
    """However it came to be: what is dropped is all that waits."""
    here = await office(siem={"url": NOWHERE})
    here.redis.zadd(keys.lines("siem"), {f"E{number}": 1 for number in range(BATCH_MAX)})
    here.redis.zadd(keys.replays("siem"), {f"E{BATCH_MAX + number}": 1 for number in range(BATCH_MAX)})
    here.keep(signal())
    await here.spread()

    assert drop_all(here.redis, "siem", "test") == 1

    assert not here.redis.exists(keys.lines("siem"), keys.replays("siem"))
