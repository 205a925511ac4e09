"""``python -m bench.rate``: a target's limit kept by ten worker processes, and how long a leaver waits behind joiners.

The target counts strictly (``bench.strict``). First, under 60 requests a minute: how much of it is used until the
queue is empty, and how often the target said 429. Then, under 300 a minute with joiners queued for hours: from a
leaver's receipt to its confirmed suspension.
"""

import argparse
import json
import random
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from redis import Redis

from bench.machine import Broken, Store, free_port, python, running
from bench.notices import notice
from bench.scim import COUNT
from lifecycle import keys
from lifecycle.event import OPEN_STATES, Event
from lifecycle.queue import LEAVERS, PEOPLE, PUT, JobWriter, put_arguments
from service.sources import standard_webhooks
from service.sources.base import Notice, Setup

LIMIT, WORKERS, JOINERS = 60, 10, 60
LEAVER_LIMIT, BACKLOG, LEAVER_COUNT = 300, 10_000, 50
LEAVER_WORKERS = 2
# By then the joiners have used up a whole window.
LEAVERS_SECONDS, WARM_UP_SECONDS = 60.0, 75.0
SETTLE_SECONDS_MAX, LOOK_SECONDS = 900.0, 0.2
BATCH = 100
TOKEN_VARIABLE = "BENCH_SCIM_TOKEN"  # noqa: S105 - the name of a variable

HRIS = Setup("hris", ())
CONFIG = """
[redis]
url = "{url}"

[targets.bench]
adapter = "scim"
base_url = "http://127.0.0.1:{port}/v2"
token = "env:{variable}"
requests_per_minute = {limit}
profile = {{ discovery = false }}
"""


@dataclass(frozen=True)
class Used:
    """How a limit was used while somebody waited."""

    requests: int
    seconds: float
    limit: int
    refused: int
    least: float
    """The least used minute."""

    @property
    def share(self) -> float:
        """What was used of what was allowed."""
        return self.requests / (self.seconds * self.limit / 60)


@dataclass(frozen=True)
class Waited:
    """How long leavers waited, in seconds, and how often the target said 429 meanwhile."""

    seconds: Sequence[float]
    refused: int

    def percentile(self, share: float) -> float:
        """Return the wait that this share of the leavers did not pass."""
        ordered = sorted(self.seconds)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


@dataclass
class Bench:
    """A strict target with a fleet, and the way to see what it does."""

    redis: Redis
    port: int
    limit: int

    def tell(self, kind: str, numbers: Sequence[int]) -> list[Event]:
        """Keep an event of each person."""
        events: list[Any] = []
        for number in numbers:
            body = notice(f"{kind}-{number}", kind, number, "Engineer")
            events += standard_webhooks.read(Notice("POST", "", {}, body), HRIS, datetime.now(UTC)).events
        writer = JobWriter()
        for start in range(0, len(events), BATCH):
            self.redis.eval(PUT, 0, *put_arguments(events[start : start + BATCH], writer))
        return events

    def await_settled(self) -> None:
        """Wait until nothing is open."""
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while any(self.redis.zcard(keys.events(state)) for state in OPEN_STATES):
            if time.monotonic() > deadline:
                raise Broken("the workers did not settle what was kept")
            time.sleep(LOOK_SECONDS)

    def await_event(self, event: Event) -> float:
        """Wait for the end of an event and return when it was."""
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while time.monotonic() < deadline:
            found: Any = self.redis.hget(keys.event(event.ref), "settled_at")
            if found:
                return float(found)
            time.sleep(LOOK_SECONDS)
        raise Broken("a leaver was not settled")

    def count(self) -> tuple[list[float], int]:
        """Return when each request came, and how many were refused."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{COUNT}") as answer:
            found = json.load(answer)
        return found["arrivals"], found["refused"]


def use(folder: Path, joiners: int = JOINERS, workers: int = WORKERS) -> Used:
    """Let a fleet work off a queue under a limit."""
    with _bench(folder, LIMIT, {PEOPLE: workers}, queued=joiners) as bench:
        bench.await_settled()
        arrivals, refused = bench.count()
    span = arrivals[-1] - arrivals[0]
    starts = [at for at in arrivals if at <= arrivals[-1] - 60]
    minutes = [sum(start <= at < start + 60 for at in arrivals) / LIMIT for start in starts]
    return Used(len(arrivals), span, LIMIT, refused, min(minutes, default=0.0))


def wait(folder: Path, backlog: int = BACKLOG, leavers: int = LEAVER_COUNT, seconds: float = LEAVERS_SECONDS) -> Waited:
    """Let leavers come at random moments while joiners wait for hours."""
    with _bench(folder, LEAVER_LIMIT, {PEOPLE: WORKERS, LEAVERS: LEAVER_WORKERS}) as bench:
        bench.tell("person.joined", range(leavers))
        bench.await_settled()
        bench.tell("person.joined", range(leavers, backlog + leavers))
        time.sleep(WARM_UP_SECONDS)
        left = []
        moments = sorted(random.uniform(0, seconds) for _ in range(leavers))  # noqa: S311 - no secret
        started = time.monotonic()
        for number, moment in enumerate(moments):
            time.sleep(max(started + moment - time.monotonic(), 0))
            left += bench.tell("person.left", [number])
        waits = [bench.await_event(event) - event.received_at.timestamp() for event in left]
        return Waited(waits, bench.count()[1])


@contextmanager
def _bench(folder: Path, limit: int, fleet: dict[str, int], *, queued: int = 0) -> Iterator[Bench]:
    port = free_port()
    folder.mkdir()
    with ExitStack() as stack:
        store = stack.enter_context(Store(folder))
        config = folder / "gatepost.toml"
        config.write_text(CONFIG.format(url=store.url, port=port, variable=TOKEN_VARIABLE, limit=limit))
        target = python("bench.strict", "--port", str(port), "--limit", str(limit))
        stack.enter_context(running(target, folder / "scim.log", port))
        redis = stack.enter_context(store.client())
        bench = Bench(redis, port, limit)
        bench.tell("person.joined", range(queued))
        for lane, workers in fleet.items():
            command = python("workers", "--config", str(config), "--lane", lane)
            for number in range(workers):
                log = folder / f"{lane}-{number}.log"
                stack.enter_context(running(command, log, environment={TOKEN_VARIABLE: "bench"}))
        _await_workers(redis, sum(fleet.values()))
        yield bench


def _await_workers(redis: Redis, number: int) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while redis.scard("rq:workers") < number:
        if time.monotonic() > deadline:
            raise Broken("the workers did not start")
        time.sleep(LOOK_SECONDS)


def lines(used: Used, waited: Waited) -> Iterator[str]:
    """Say what was measured."""
    yield (
        f"g  {WORKERS} worker processes under {used.limit} requests a minute: {used.share:.1%} used, "
        f"least minute {used.least:.1%}, {used.refused} answers 429 of {used.requests} in {used.seconds:.0f} s"
    )
    yield (
        f"h  {len(waited.seconds)} leavers behind {BACKLOG:,} joiners under {LEAVER_LIMIT} a minute: confirmed in "
        f"{waited.percentile(0.5):.2f} s p50, {waited.percentile(0.99):.2f} s p99, {waited.refused} answers 429"
    )


def main() -> None:
    """Measure both and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.rate", description=__doc__)
    parser.add_argument("--only", choices=("use", "wait"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gatepost-bench-") as place:
        if options.only != "wait":
            print(used := use(Path(place) / "use"), f"{used.share:.1%}")
        if options.only != "use":
            waited = wait(Path(place) / "wait")
            print(f"p50 {waited.percentile(0.5):.2f} s, p99 {waited.percentile(0.99):.2f} s, 429: {waited.refused}")


if __name__ == "__main__":
    main()
