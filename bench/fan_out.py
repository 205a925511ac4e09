"""What fanning out costs the step that settles an event, and how much of it one process does.

Persons are settled at a steady rate by a process that does nothing else, each with a signal, while the lane tells ten
subscribers of them, or nobody. All of it is on this machine: settling, Redis, the lane and those who are told.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from redis import Redis

from bench.inbox import Taken, fetch
from bench.isolation import percentile
from bench.lane import Section, cpu_seconds, lane
from bench.machine import Store, free_port, python, running
from bench.settling import REASONS, Settling, Task, paced, told
from lifecycle import outbox
from lifecycle.signal import TYPES

SUBSCRIBERS = 10
SETTLED_PER_SECOND = 100.0
FED_PER_SECOND, FED_AT_ONCE = 900.0, 9
"""Signals beside those of the settled persons, and in how large steps they are kept."""
WARM_UP_SECONDS = 1.0
BACKLOG = 1_000
ARRIVE_SECONDS_MAX, LOOK_SECONDS = 60.0, 0.2
EDGE = 0.1
"""What is left out at both ends of a backlog, when the lane gets going and when it runs dry."""

NOBODY, AGAIN, ALL = "nobody", "nobody again", "all"
NOBODY_OF_MANY, BY_TYPE, BY_CEL = "nobody of many", "by type", "by CEL"


class Way(NamedTuple):
    """Who subscribes to what."""

    sections: Sequence[Section]
    fed: bool = False
    """Whether there are signals beside those of the settled persons."""
    ways: int = SUBSCRIBERS
    """How many deliveries come of one signal."""


WAYS: Mapping[str, Way] = {
    NOBODY: Way([], ways=0),
    AGAIN: Way([], ways=0),
    ALL: Way([{}] * SUBSCRIBERS),
    NOBODY_OF_MANY: Way([], fed=True, ways=0),
    BY_TYPE: Way([{"events": [each]} for each in TYPES[:SUBSCRIBERS]], fed=True, ways=1),
    BY_CEL: Way([{"when": f"signal.data.reason == '{each}'"} for each in REASONS], fed=True, ways=1),
}


@dataclass
class Measured:
    """The rounds of one way to subscribe."""

    settle_p50_ms: list[float] = field(default_factory=list)
    settle_p99_ms: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)
    """Deliveries, from the first to the last."""
    behind_seconds: list[float] = field(default_factory=list)
    """How long after the last signal was kept the last delivery came."""
    cpu_ms: list[float] = field(default_factory=list)
    """Of the lane, for each delivery."""
    lost: int = 0


def ratio(found: Mapping[str, Measured], name: str) -> float:
    """Return how much longer settling took than while as many signals are kept for nobody."""
    alone = found[NOBODY_OF_MANY if WAYS[name].fed else NOBODY]
    return statistics.median(found[name].settle_p50_ms) / statistics.median(alone.settle_p50_ms)


class Drained(NamedTuple):
    """How fast a backlog went out."""

    per_second: float
    cpu_ms: float
    lost: int


def measure(folder: Path, rounds: int, seconds: float, say: Callable[[str], None]) -> Mapping[str, Measured]:
    """Measure the ways by turns."""
    found = {name: Measured() for name in WAYS}
    for number in range(rounds):
        for name, way in WAYS.items():
            _Phase(folder / f"{number}-{name.replace(' ', '-')}", way).sustain(seconds, found[name])
            one = found[name]
            sent = f"{one.per_second[-1]:,.0f} deliveries/s" if way.ways else "no deliveries"
            say(f"round {number + 1}, {name}: settling {one.settle_p50_ms[-1]:.2f} ms, {sent}, {one.lost} lost")
    return found


def drain(folder: Path) -> Drained:
    """Let the lane find a backlog for ten subscribers."""
    return _Phase(folder, WAYS[ALL]).drain()


class _Phase:
    """One span with one way to subscribe."""

    def __init__(self, folder: Path, way: Way) -> None:
        folder.mkdir(parents=True)
        self._folder, self._way, self._port = folder, way, free_port()

    def sustain(self, seconds: float, measured: Measured) -> None:
        with ExitStack() as stack:
            store, redis = self._open(stack)
            with lane(self._folder, store, self._subscribers()) as process:
                kept = self._settle(store, redis, "warm-up", WARM_UP_SECONDS)[0]
                self._arrived(kept)
                before = cpu_seconds(process)
                kept, took = self._settle(store, redis, "measured", seconds)
                ended = time.time()
                taken = self._arrived(kept)
                cpu = cpu_seconds(process) - before
        measured.settle_p50_ms.append(percentile(took, 0.5))
        measured.settle_p99_ms.append(percentile(took, 0.99))
        if self._way.ways:
            first, last = min(each.began for each in taken), max(each.ended for each in taken)
            measured.per_second.append(len(taken) / (last - first))
            measured.behind_seconds.append(max(last - ended, 0.0))
            measured.cpu_ms.append(cpu / len(taken) * 1000)
        measured.lost += kept * self._way.ways - len({(each.subscriber, each.item) for each in taken})

    def drain(self) -> Drained:
        with ExitStack() as stack:
            store, redis = self._open(stack)
            self._keep(redis, "backlog", range(BACKLOG))
            with lane(self._folder, store, self._subscribers()) as process:
                taken = self._arrived(BACKLOG)
                cpu = cpu_seconds(process)
        moments = sorted(each.began for each in taken)
        first, last = (moments[int(len(moments) * share)] for share in (EDGE, 1 - EDGE))
        lost = BACKLOG * self._way.ways - len(taken)
        return Drained(len(moments) * (1 - 2 * EDGE) / (last - first), cpu / len(taken) * 1000, lost)

    def _open(self, stack: ExitStack) -> tuple[Store, Redis]:
        store = stack.enter_context(Store(self._folder))
        command = python("bench.inbox", "--port", str(self._port))
        stack.enter_context(running(command, self._folder / "inbox.log", self._port))
        return store, stack.enter_context(store.client())

    def _subscribers(self) -> dict[str, Section]:
        sections = enumerate(self._way.sections)
        return {f"s{number}": {"url": f"http://127.0.0.1:{self._port}/{number}", **each} for number, each in sections}

    def _settle(self, store: Store, redis: Redis, prefix: str, seconds: float) -> tuple[int, list[float]]:
        """Settle, and feed what the way wants besides; return how many signals were kept, and how long steps took."""
        number = int(SETTLED_PER_SECOND * seconds)
        settling = Settling(Task(store.url, prefix, SETTLED_PER_SECOND, number))
        fed = int(FED_PER_SECOND * seconds) // FED_AT_ONCE if self._way.fed else 0

        def feed(step: int) -> float:
            self._keep(redis, f"{prefix}-fed", range(step * FED_AT_ONCE, (step + 1) * FED_AT_ONCE))
            return 0.0

        paced(fed, FED_PER_SECOND / FED_AT_ONCE, feed)
        return 1 + number + fed * FED_AT_ONCE, settling.finish()

    def _keep(self, redis: Redis, prefix: str, numbers: range) -> None:
        with redis.pipeline() as pipe:
            for number in numbers:
                outbox.keep(pipe, told(f"{prefix}-{number}", number))
            pipe.execute()

    def _arrived(self, count: int) -> list[Taken]:
        """Wait until all has come that comes of so many signals, and return it."""
        taken: list[Taken] = []
        deadline = time.monotonic() + ARRIVE_SECONDS_MAX
        while True:
            taken += fetch(self._port)
            if len(taken) >= count * self._way.ways or time.monotonic() > deadline:
                return taken
            time.sleep(LOOK_SECONDS)
