"""Subscribers, told by the real lane of signals: none bears upon another, and nothing is lost whatever dies."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from lifecycle import outbox
from lifecycle.records import Records
from lifecycle.signal import Signal
from tests.flow.listener import Behave, Listener, drips, large, resets, says, silent, well
from tests.flow.patience import eventually
from tests.flow.programs import Program
from tests.redis_server import RedisServer
from tests.workers.outbox.conftest import signal
from workers.outbox.post import CLAIM_MILLISECONDS

PERSONS = 8
# What was on its way is free again, and somebody looks.
RESUME_SECONDS_MAX = CLAIM_MILLISECONDS / 1000 + 6.0
ANSWER_SECONDS = 0.05

Lane = Callable[..., Program]
Listen = Callable[[Behave], Listener]


@pytest.fixture
def lane(config_file: Callable[..., Path], tmp_path: Path) -> Iterator[Lane]:
    """Run one more process of the lane: ``lane(siem=listener)``. What a test leaves on its way ends with it."""
    programs: list[Program] = []

    def run(**subscribers: Listener) -> Program:
        section = {"secrets": ["env:SIEM_WHSEC"], "allow_private": True}
        config = config_file(subscribers={name: section | {"url": each.url} for name, each in subscribers.items()})
        arguments = ["workers", "--config", str(config), "--lane", "signals"]
        programs.append(Program(f"signals-{len(programs)}", arguments, {}, tmp_path))
        programs[-1].start()
        programs[-1].await_line("worker.started")
        return programs[-1]

    yield run
    for program in [each for each in programs if each.is_kept]:
        program.die(alone=False)
        program.stop()


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Open a subscriber that behaves like this."""
    with ExitStack() as stack:

        def open_(behave: Behave) -> Listener:
            listener = Listener(behave)
            stack.callback(listener.close)
            return listener.open()

        yield open_


def keep(redis: Redis, first: int, number: int) -> list[Signal]:
    """Keep so many signals of a few persons, as settling steps do."""
    found = []
    for each in range(first, first + number):
        person = f"E{each % PERSONS}"
        found.append(signal(str(each), person=person, key=person, number=each))
        with redis.pipeline() as pipe:
            outbox.keep(pipe, found[-1])
            pipe.execute()
    return found


def deliveries(redis: Redis, kept: list[Signal], name: str) -> list[dict[str, Any]]:
    """Return where the deliveries of these signals to a subscriber stand, by the records that the API shows."""
    records = Records(redis)
    found = [records.signal(each.id)["deliveries"] for each in kept]
    return [each for told in found for each in told if each["subscriber"] == name]


def all_delivered(redis: Redis, kept: list[Signal], name: str) -> bool:
    """Tell whether a subscriber took all of them."""
    states = [each["state"] for each in deliveries(redis, kept, name)]
    return states == [outbox.DELIVERED] * len(kept)


def attempted(redis: Redis, kept: list[Signal], name: str) -> set[str]:
    """Return the signals of which the records tell an attempt."""
    found = zip(kept, deliveries(redis, kept, name), strict=True)
    return {each.id for each, delivery in found if delivery["attempts"]}


def test_subscribers_that_misbehave_in_every_way_bear_upon_nobody(lane: Lane, redis: Redis, listen: Listen) -> None:
    """The others hear everything at once and in order; of these nothing is lost, and each attempt is recorded.

    Where a redirect leads, nobody comes.
    """
    elsewhere = listen(well())
    rogues = {
        "fails": listen(says(500)),
        "busy": listen(says(429, retry_after="60")),
        "redirects": listen(says(307, location=elsewhere.url)),
        "large": listen(large),
        "drips": listen(drips),
        "resets": listen(resets),
        "silent": listen(silent),
        "slow": listen(well(12.0)),
    }
    one, other = listen(well()), listen(well(0.01))
    lane(one=one, other=other, down=Listener(well()), **rogues)

    kept = keep(redis, 0, 40)
    eventually(lambda: all(all_delivered(redis, kept, name) for name in ("one", "other")), within=8.0)
    eventually(lambda: all_delivered(redis, kept, "large"))
    eventually(lambda: attempted(redis, kept, "down"))
    answering = [(name, rogues[name]) for name in ("fails", "busy", "redirects", "resets")]
    eventually(lambda: all(each.ids() == attempted(redis, kept, name) != set() for name, each in answering))

    assert [listener.disorder() for listener in (one, other, *rogues.values())] == [[]] * (2 + len(rogues))
    assert elsewhere.begun == []
    for name in (*rogues, "down"):
        found = deliveries(redis, kept, name)
        assert (name, len(found)) == (name, len(kept))
        assert {each["state"] for each in found} <= {outbox.WAITING, outbox.DELIVERED}
        assert all(each["attempts"] == len(each["tried"]) for each in found)


def test_process_killed_in_the_middle(lane: Lane, redis: Redis, listen: Listen) -> None:
    """Another goes on within seconds: everything comes, in order, and what was on its way comes under the same id."""
    siem = listen(silent)
    first = lane(siem=siem)
    kept = keep(redis, 0, 100)
    eventually(lambda: len(siem.begun) == PERSONS)

    lane(siem=siem)
    siem.behave = well(ANSWER_SECONDS)
    first.die(alone=True)
    eventually(lambda: all_delivered(redis, kept, "siem"), within=RESUME_SECONDS_MAX + 4.0)

    assert [siem.begun.count(each.id) for each in kept] == [2] * PERSONS + [1] * (len(kept) - PERSONS)
    assert siem.ids() == {each.id for each in kept}
    assert siem.disorder() == []


def test_process_started_again_goes_on(lane: Lane, redis: Redis, listen: Listen) -> None:
    """The only one dies with a signal on its way, which comes again, under its id, before the next of its person.

    A subscriber that was down meanwhile hears all of it, too.
    """
    siem, down = listen(silent), Listener(well())
    only = lane(siem=siem, down=down)
    kept = keep(redis, 0, PERSONS + 1)
    eventually(lambda: len(siem.begun) == PERSONS and attempted(redis, kept, "down"))

    siem.behave = well()
    only.kill()
    down.open()
    eventually(lambda: all_delivered(redis, kept, "siem"), within=RESUME_SECONDS_MAX + 4.0)
    eventually(lambda: all_delivered(redis, kept, "down"), within=RESUME_SECONDS_MAX + 10.0)
    down.close()

    assert siem.begun.count(kept[0].id) == 2
    assert siem.disorder() == []
    assert {each["attempts"] for each in deliveries(redis, kept, "siem")} == {1}
    assert (down.ids(), down.disorder()) == ({each.id for each in kept}, [])


def test_process_that_is_told_to_end_waits_for_what_is_on_its_way(lane: Lane, redis: Redis, listen: Listen) -> None:
    """Its attempt is recorded, nothing else begins, and it ends by itself."""
    siem = listen(well(1.0))
    only = lane(siem=siem)
    kept = keep(redis, 0, PERSONS + 1)
    eventually(lambda: len(siem.begun) == PERSONS)

    started = time.monotonic()
    only.stop()

    assert time.monotonic() - started < 10.0
    assert [each["state"] for each in deliveries(redis, kept, "siem")] == [outbox.DELIVERED] * PERSONS + ["waiting"]
    assert len(siem.begun) == PERSONS


def test_redis_killed_in_the_middle(lane: Lane, redis: Redis, redis_server: RedisServer, listen: Listen) -> None:
    """What is there is there: all of it comes, in order, and each delivery ends with its attempt recorded."""
    siem = listen(well(ANSWER_SECONDS))
    lane(siem=siem)
    kept = keep(redis, 0, 100)
    eventually(lambda: len(siem.taken) > 20)

    redis_server.kill()
    redis_server.start()
    eventually(lambda: all_delivered(redis, kept, "siem"), within=RESUME_SECONDS_MAX + 6.0)

    assert siem.ids() == {each.id for each in kept}
    assert siem.disorder() == []
    assert all(each["attempts"] == len(each["tried"]) == 1 for each in deliveries(redis, kept, "siem"))
