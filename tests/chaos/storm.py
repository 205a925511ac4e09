"""One storm: a load, deaths, the calm after it, and what the oracle says."""

import math
import shutil
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from lifecycle.queue import LEAVERS
from tests.chaos.house import House
from tests.chaos.oracle import judge, poisoned, wrongly_poisoned
from tests.chaos.resumed import Resumed, deaths_of, resumed
from tests.chaos.story import Load, Notice

SENDERS = 8
SAID_EVERY = 50


@dataclass
class Report:
    """What a storm came to."""

    seed: int
    persons: int = 0
    events: int = 0
    deaths: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    poisoned: int = 0
    resumed: list[Resumed] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def leavers(self) -> list[float]:
        """How many seconds each leaver waited whose worker had died."""
        return [each.seconds for each in self.resumed if each.lane == LEAVERS]

    def lines(self) -> list[str]:
        """Return the report as a person reads it."""
        return [
            f"seed {self.seed}: {self.persons} persons, {self.events} events, {self.seconds:.0f} s",
            f"deaths: {sum(self.deaths.values())} in {len(self.deaths)} ways",
            f"faults of the target: {self.faults}",
            f"resumed: {_times([each.seconds for each in self.resumed])}; leavers: {_times(self.leavers)}",
            f"events that died three times and were retried: {self.poisoned}",
            f"violations: {len(self.violations)}",
            *self.violations,
        ]


def storm(
    seed: int,
    deaths: int,
    *,
    events_a_second: float,
    say: Callable[[str], None] = lambda _: None,
    keep: Path | None = None,
) -> Report:
    """Tell stories while things die so many times, then let everything settle, and judge.

    What the programs wrote, and what Redis holds, is copied to ``keep``.
    """
    report, load = Report(seed), Load(seed)
    started = time.monotonic()
    house = House(seed)
    try:
        house.start()
        over = threading.Event()
        with ThreadPoolExecutor(SENDERS) as senders:
            teller = senders.submit(_tell, house, load, senders, over, events_a_second)
            while (died := house.deaths_total) < deaths:
                house.kill_one()
                if died % SAID_EVERY == 0:
                    say(f"{died} deaths, {len(load.persons)} persons")
            over.set()
            report.events = teller.result()
        _end(report, house, load)
    finally:
        if keep is not None:
            shutil.copytree(house.folder, keep, ignore=shutil.ignore_patterns("*.sock"))
        house.close()
    report.seconds = time.monotonic() - started
    return report


def _end(report: Report, house: House, load: Load) -> None:
    """Let everything settle, what was given up for its deaths too, and judge."""
    house.calm()
    house.await_quiet()
    again = poisoned(house)
    for ref in again:
        house.retry(f"event:{ref}")
    house.await_quiet()
    report.poisoned, report.persons = len(again), len(load.persons)
    report.deaths, report.faults = dict(house.deaths), dict(house.target.faults)
    trace = house.trace()
    report.resumed = resumed(trace, house.killed)
    report.violations = [*wrongly_poisoned(again, deaths_of(trace, house.killed)), *judge(house, load.persons)]


def _tell(house: House, load: Load, senders: ThreadPoolExecutor, over: threading.Event, events_a_second: float) -> int:
    """Tell stories at a pace until it is over, and then the rest of those that were begun; return how many notices."""
    notices = [senders.submit(house.insist, told) for told in _paced(load, over, events_a_second)]
    for notice in notices:
        notice.result()
    return len(notices)


def _paced(load: Load, over: threading.Event, events_a_second: float) -> Iterator[Notice]:
    for told in load.stream(over.is_set):
        yield told
        over.wait(1 / events_a_second)


def p99(seconds: list[float]) -> float:
    """Return the 99th percentile; 0 of none."""
    return sorted(seconds)[math.ceil(len(seconds) * 0.99) - 1] if seconds else 0.0


def _times(seconds: list[float]) -> str:
    if not seconds:
        return "never"
    median = statistics.median(seconds)
    return f"{len(seconds)} times, p50 {median:.2f} s, p99 {p99(seconds):.2f} s, max {max(seconds):.2f} s"
