"""The keeper lets in who waits; and a fleet of real processes keeps a limit that a strict server counts."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from statistics import median
from typing import Any

import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.event import Event, Kind
from lifecycle.metrics import FleetCollector
from lifecycle.people import People
from lifecycle.person import Person
from lifecycle.queue import LEAVERS, PEOPLE, PUT, JobWriter, lanes, put_arguments
from lifecycle.settlement import Parked, Settled
from tests.conftest import ROOT, free_port
from tests.flow.patience import eventually
from tests.redis_server import RedisServer
from tests.workers.stories import event, target
from workers.gate import LEAVERS_FIRST, Gate, Rate
from workers.keeper import Keeper

WINDOW_SECONDS = 3.0
LIMIT = 30
WORKERS = 4
PERSONS = 60


def gate(redis: Redis, rate: Rate | None = None) -> Gate:
    """Make a gate of a target, ``crm``."""
    return Gate(redis, "crm", target(), rate or Rate())


def park(redis: Redis, person: str, score: int) -> None:
    """Put a person in line as a settled attempt does."""
    people = People(redis, lanes(redis))
    people.settle(str(people.take(person)), Settled(Person(key=person), [], parked=[Parked("crm", score, 2)]))


def jobs(redis: Redis, lane: str) -> list[list[str]]:
    """Return the arguments of a lane's jobs, the next first."""
    return [list(job.args) for job in lanes(redis)[lane].get_jobs()]


def gauges(redis: Redis) -> dict[str, float]:
    """Return what a receiver shows of the gates."""
    found = FleetCollector(redis).collect()
    return {sample.name: sample.value for metric in found for sample in metric.samples if "target" in sample.labels}


def test_who_is_let_in_comes_before_all_who_were_not_yet_asked(redis: Redis) -> None:
    """A job of somebody who waited is at the front of its lane, in the order of the line; leavers in theirs."""
    lanes(redis)[PEOPLE].enqueue("workers.jobs.converge", "new", PEOPLE)
    for person, score in (("E2", 2), ("L1", 3 - LEAVERS_FIRST), ("E1", 1)):
        park(redis, person, score)
    keeper = Keeper(redis, [gate(redis)], lanes(redis))

    left = keeper.tick()

    assert left == 3
    assert jobs(redis, PEOPLE) == [["E1", PEOPLE], ["E2", PEOPLE], ["new", PEOPLE]]
    assert jobs(redis, LEAVERS) == [["L1", LEAVERS]]


def test_job_that_is_offered_names_nobody(redis: Redis) -> None:
    """Its description is shown by every tool that looks at RQ."""
    park(redis, "bo.ray@acme.example", 1)

    Keeper(redis, [gate(redis)], lanes(redis)).tick()

    assert [job.description for job in lanes(redis)[PEOPLE].get_jobs()] == ["workers.jobs.converge"]


def test_keeper_goes_on_after_redis_was_away(redis_server: RedisServer) -> None:
    """A restart of Redis in the middle costs time and nothing else."""
    with Redis.from_url(redis_server.url) as redis:
        keeper = Keeper(redis, [gate(redis)], lanes(redis))
        keeper.start()
        redis_server.kill()
        time.sleep(0.3)  # a few of its steps fail
        redis_server.start()
        park(redis, "E1", 1)

        eventually(lambda: jobs(redis, PEOPLE) == [["E1", PEOPLE]])
        keeper.stop()


def test_line_before_a_target_that_is_gone_ends(redis: Redis) -> None:
    """Whoever waited for it is worked on once more, which settles what nobody will ever do."""
    for name, person in (("crm", "E1"), ("gone", "E2")):
        redis.sadd(keys.TARGETS, name)
        redis.zadd(keys.waiting(name), {person: 1})
    redis.set(keys.stopped("crm"), "{}")
    keeper = Keeper(redis, [gate(redis)], lanes(redis))

    keeper.start()
    keeper.stop()

    assert jobs(redis, PEOPLE) == [["E2", PEOPLE]]
    assert redis.smembers(keys.TARGETS) == {b"crm"}
    assert [redis.zcard(keys.waiting(name)) for name in ("crm", "gone")] == [1, 0]


def test_metrics_show_the_gates(redis: Redis) -> None:
    """Who waits, whether a circuit is open, whether a target is stopped: of the targets that are configured now."""
    redis.sadd(keys.TARGETS, "of-yesterday")
    park(redis, "E1", 1)
    redis.hset(keys.circuit("crm"), "until", "9")
    redis.set(keys.stopped("crm"), "{}")
    keeper = Keeper(redis, [gate(redis)], lanes(redis))
    keeper.start()
    keeper.stop()

    shut = gauges(redis)
    redis.delete(keys.circuit("crm"), keys.stopped("crm"), keys.waiting("crm"), keys.granted("crm"))

    assert shut == {"gatepost_waiting": 1, "gatepost_circuit_open": 1, "gatepost_target_stopped": 1}
    assert gauges(redis) == {"gatepost_waiting": 0, "gatepost_circuit_open": 0, "gatepost_target_stopped": 0}


# ---- a fleet


class Fleet:
    """Worker processes before a strict server; a minute is ``WINDOW_SECONDS`` long."""

    def __init__(self, url: str, redis: Redis, stack: ExitStack) -> None:
        """Start the server."""
        self.redis, self._url, self._stack = redis, url, stack
        self.port = free_port()
        options = ("--limit", str(LIMIT), "--window", str(WINDOW_SECONDS), "--port", str(self.port))
        self._run("bench.strict", *options)
        eventually(self._listens)

    def work(self, lane: str = PEOPLE, limit: int = LIMIT) -> subprocess.Popen[bytes]:
        """Start a worker."""
        base_url = f"http://127.0.0.1:{self.port}/v2"
        return self._run("tests.workers.fleet_worker", self._url, base_url, lane, str(limit), str(WINDOW_SECONDS))

    def hear(self, *events: Event) -> None:
        """Keep events as the receiver does."""
        self.redis.eval(PUT, 0, *put_arguments(events, JobWriter()))

    def count(self) -> tuple[list[float], int]:
        """Return when requests came, and how many were refused."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/count") as answer:
            found = json.load(answer)
        return found["arrivals"], found["refused"]

    def settled_at(self, found: Event) -> float:
        """Wait until an event is applied and return when it was."""

        def state() -> Any:  # noqa: ANN401 - Redis
            return self.redis.hget(keys.event(found.ref), "state")

        eventually(lambda: state() == b"applied", within=60)
        moment: Any = self.redis.hget(keys.event(found.ref), "settled_at")
        return float(moment)

    def _run(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=ROOT)  # noqa: S603 - our own
        self._stack.callback(process.wait, 20)
        self._stack.callback(process.kill)
        return process

    def _listens(self) -> bool:
        try:
            return self.count()[1] == 0
        except OSError:
            return False


@pytest.fixture
def fleet(redis: Redis, redis_server: RedisServer) -> Iterator[Fleet]:
    """Give a strict server, and workers on demand."""
    with ExitStack() as stack:
        yield Fleet(redis_server.url, redis, stack)


def somebody(number: int, kind: Kind = Kind.JOINER) -> Event:
    """Make an event of a person of that number; whoever leaves has joined before."""
    minute, address = int(kind is Kind.LEAVER), f"{number}@acme.example"
    return event(kind, f"{kind}-{number}", minute=minute, person=f"E{number}", external_id=f"E{number}", email=address)


def test_fleet_uses_the_limit_and_never_meets_it(fleet: Fleet) -> None:
    """Processes that know of each other by Redis alone: no 429, and nearly all of every window is used to the end."""
    joined = [somebody(number) for number in range(PERSONS)]
    fleet.hear(*joined)
    for _ in range(WORKERS):
        fleet.work()

    for each in joined:
        fleet.settled_at(each)

    arrivals, refused = fleet.count()
    starts = [at for at in arrivals if at <= arrivals[-1] - WINDOW_SECONDS]
    windows = [sum(start <= at < start + WINDOW_SECONDS for at in arrivals) for start in starts]
    gaps = [second - first for first, second in pairwise(arrivals)]
    assert (len(arrivals), refused) == (2 * PERSONS, 0)
    # Most windows and not each, all long gaps but one: a machine that stood still once is no fault of the limit's.
    # A guard of a tenth of a second is a thirtieth of this window, and a six-hundredth of a minute.
    assert median(windows) / LIMIT >= 0.98 * WINDOW_SECONDS / (WINDOW_SECONDS + 0.2)
    assert sum(gap >= WINDOW_SECONDS / 3 for gap in gaps) <= 1


def test_killed_worker_costs_its_permit_and_no_429(fleet: Fleet) -> None:
    """A worker dies in the middle of its work: the others go on, and never send what it may have sent."""
    joined = [somebody(number) for number in range(PERSONS // 2)]
    fleet.hear(*joined)
    dying, *_ = [fleet.work() for _ in range(WORKERS)]
    eventually(lambda: len(fleet.count()[0]) > LIMIT / 2)

    dying.kill()

    def left() -> int:
        return sum(fleet.redis.hget(keys.event(each.ref), "state") != b"applied" for each in joined)

    # This worker's job is gone with it: to bring it back is RQ's work, which is tested elsewhere.
    eventually(lambda: left() <= 1, within=60)

    assert fleet.count()[1] == 0


def test_leaver_overtakes_all_joiners_who_wait(fleet: Fleet) -> None:
    """Two hundred joiners wait for a minute; a leaver is confirmed long before them."""
    bo = somebody(0)
    fleet.hear(bo)
    fleet.work(PEOPLE)
    fleet.settled_at(bo)
    fleet.work(LEAVERS)
    fleet.hear(*(somebody(number) for number in range(1, 201)))
    eventually(lambda: int(fleet.redis.zcard(keys.waiting("crm"))) > 150)

    left = somebody(0, Kind.LEAVER)
    started = time.time()
    fleet.hear(left)

    assert fleet.settled_at(left) - started < WINDOW_SECONDS
    assert int(fleet.redis.zcard(keys.waiting("crm"))) > 100
    assert fleet.count()[1] == 0
