"""What it costs the step that settles an event to keep its signal, however many subscribe.

Beside it, by turns, the same step with one RQ job for each subscriber instead.
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from redis.client import Pipeline

from bench.machine import Broken, Store
from bench.settling import Settler, told
from lifecycle import keys
from lifecycle.people import People
from lifecycle.queue import CONVERGE, PEOPLE, connect, lanes, offer
from lifecycle.settlement import Settled

SUBSCRIBERS = (0, 1, 10, 100)


class JobsFor(People):
    """The person store that makes a job for each subscriber."""

    subscribers = 0

    def _write(self, pipe: Pipeline, settled: Settled) -> None:
        unsignalled, signals = Settled(**vars(settled) | {"signals": ()}), settled.signals
        super()._write(pipe, unsignalled)
        for signal in signals:
            for number in range(self.subscribers):
                offer(pipe, self.queues[PEOPLE], CONVERGE, signal.id, f"subscriber-{number}")


@dataclass
class Kept:
    """Milliseconds of a settling step, by how many subscribe."""

    without: list[float] = field(default_factory=list)
    """Without a signal."""
    outbox: Mapping[int, list[float]] = field(default_factory=lambda: {number: [] for number in SUBSCRIBERS})
    jobs: Mapping[int, list[float]] = field(default_factory=lambda: {number: [] for number in SUBSCRIBERS})

    @property
    def growth(self) -> float:
        """How much longer the step takes with the most subscribers than with none."""
        most, none = (statistics.median(self.outbox[number]) for number in (SUBSCRIBERS[-1], SUBSCRIBERS[0]))
        return most / none


def measure(folder: Path, steps: int) -> Kept:
    """Measure so many steps of each, one of each by turns."""
    found = Kept()
    with Store(folder) as store:
        redis = connect(store.url, patient=True)
        ours, jobs = People(redis, lanes(redis)), JobsFor(redis, lanes(redis))
        for step in range(steps):
            found.without.append(Settler(ours).settle(f"without-{step}", None))
            for number in SUBSCRIBERS:
                jobs.subscribers = number
                for how, people, took in (("outbox", ours, found.outbox), ("jobs", jobs, found.jobs)):
                    name = f"{how}-{number}-{step}"
                    took[number].append(Settler(people).settle(name, told(name, step)))
        kept, offered = redis.xlen(keys.OUTBOX), redis.llen(f"rq:queue:{PEOPLE}")
        wanted = (steps * len(SUBSCRIBERS), steps * sum(SUBSCRIBERS))
        redis.close()
    if (kept, offered) != wanted:
        raise Broken(f"{kept} signals and {offered} jobs were kept; wanted were {wanted}")
    return found
