"""How fast one worker process settles events, and what each kind costs the target in requests."""

import json
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from redis import Redis

from bench import scim
from bench.machine import Broken, Store, free_port, python, running
from bench.notices import notice
from lifecycle import keys
from lifecycle.event import OPEN_STATES, Event
from lifecycle.queue import LEAVERS, PEOPLE, PUT, JobWriter, put_arguments
from service.sources import standard_webhooks
from service.sources.base import Notice, Setup

# What happens to each person, in this order. "nothing new" says what is known under an id of its own, and is looked up
# once; a true repeat, under the same id, never reaches a worker.
STORY = {
    "joiner": ("person.joined", "Engineer"),
    "mover": ("person.moved", "Lead"),
    "nothing new": ("person.moved", "Lead"),
    "leaver": ("person.left", "Lead"),
}
LOOK_SECONDS, SETTLE_SECONDS_MAX = 0.02, 60.0
TOKEN_VARIABLE = "BENCH_SCIM_TOKEN"  # noqa: S105 - the name of a variable
REFERENCE = "from scim2_server.testserver.cli import main; main()"

HRIS = Setup("hris", ())
CONFIG = """
[redis]
url = "{url}"

[targets.bench]
adapter = "scim"
base_url = "http://127.0.0.1:{port}/v2"
token = "env:{variable}"
"""


@dataclass
class Settled:
    """The rounds of one kind of event."""

    per_second: list[float] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)
    states: set[str] = field(default_factory=set)

    @property
    def rate(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.per_second)

    @property
    def requests_each(self) -> float | None:
        """SCIM requests an event; None when the target does not count."""
        return statistics.median(self.requests) if self.requests else None


@dataclass
class Bench:
    """A target with one worker process a lane, and the way to see what they do."""

    redis: Redis
    port: int
    counts: bool
    writer: JobWriter = field(default_factory=JobWriter)

    def story(self, first: int, persons: int, found: Mapping[str, Settled]) -> None:
        """Let everything happen to so many new persons, one kind after the other."""
        for kind, settled in found.items():
            before = self._requests()
            events = _events(kind, first, persons)
            self._keep(events)
            self._await()
            records = [self._record(event) for event in events]
            moments = [moment for moment, _ in records]
            settled.per_second.append((persons - 1) / (max(moments) - min(moments)))
            settled.states |= {state for _, state in records}
            if self.counts:
                settled.requests.append((self._requests() - before) / persons)

    def _keep(self, events: list[Event]) -> None:
        with self.redis.pipeline() as pipe:
            for event in events:
                pipe.eval(PUT, 0, *put_arguments([event], self.writer))
            pipe.execute()

    def _await(self) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while any(self.redis.zcard(keys.events(state)) for state in OPEN_STATES):
            if time.monotonic() > deadline:
                raise Broken("the workers did not settle what was kept")
            time.sleep(LOOK_SECONDS)

    def _record(self, event: Event) -> tuple[float, str]:
        found: Any = self.redis.hmget(keys.event(event.ref), "settled_at", "state")
        settled_at, state = found
        return float(settled_at), state.decode()

    def _requests(self) -> int:
        if not self.counts:
            return 0
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{scim.COUNT}") as answer:
            found: int = json.load(answer)["requests"]
        return found


def measure(
    folder: Path, *, rounds: int, persons: int, reference: bool, say: Callable[[str], None]
) -> Mapping[str, Settled]:
    """Measure each kind of event in rounds; the reference target is scim2-server instead of our stand-in."""
    found = {kind: Settled() for kind in STORY}
    with _bench(folder, reference=reference) as bench:
        for number in range(rounds):
            bench.story(number * persons, persons, found)
            rates = ", ".join(f"{kind} {settled.per_second[-1]:,.0f}/s" for kind, settled in found.items())
            say(f"round {number + 1}, workers: {rates}")
    for kind, settled in found.items():
        wanted = {"unchanged"} if kind == "nothing new" else {"applied"}
        if settled.states != wanted:
            raise Broken(f"{kind}: events ended as {settled.states}")
    return found


@contextmanager
def _bench(folder: Path, *, reference: bool) -> Iterator[Bench]:
    port = free_port()
    target = [sys.executable, "-c", REFERENCE] if reference else python("bench.scim")
    environment = {TOKEN_VARIABLE: "bench"}
    with ExitStack() as stack:
        store = stack.enter_context(Store(folder))
        config = folder / "gatepost.toml"
        config.write_text(CONFIG.format(url=store.url, port=port, variable=TOKEN_VARIABLE))
        stack.enter_context(running([*target, "--port", str(port)], folder / "scim.log", port))
        for lane in (PEOPLE, LEAVERS):
            command = python("workers", "--config", str(config), "--lane", lane)
            stack.enter_context(running(command, folder / f"{lane}.log", environment=environment))
        redis = stack.enter_context(store.client())
        _await_workers(redis)
        yield Bench(redis, port, counts=not reference)


def _await_workers(redis: Redis) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while redis.scard("rq:workers") < len((PEOPLE, LEAVERS)):
        if time.monotonic() > deadline:
            raise Broken("the workers did not start")
        time.sleep(LOOK_SECONDS)


def _events(kind: str, first: int, persons: int) -> list[Event]:
    said, title = STORY[kind]
    events: list[Any] = []
    for number in range(first, first + persons):
        body = notice(f"{kind}-{number}", said, number, title)
        events += standard_webhooks.read(Notice("POST", "", {}, body), HRIS, datetime.now(UTC)).events
    return events
