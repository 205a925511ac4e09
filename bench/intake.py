"""How fast notices are taken: Gatepost's receiver beside a bare one, a checking one and the obvious one."""

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis import Redis

from bench.load import ACCEPTED, Load, Seen, Task
from bench.machine import Broken, Store, free_port, python, running
from bench.notices import SECRET
from bench.receivers import PATH, QUEUE, REDIS_VARIABLE
from lifecycle import keys
from lifecycle.queue import LANES

BARE, CHECKED, GATEPOST, OBVIOUS = "bare", "checked", "gatepost", "obvious"
SECRET_VARIABLE = "BENCH_WHSEC"  # noqa: S105 - the name of a variable

CONFIG = """
[redis]
url = "{url}"

[sources.hris]
adapter = "standard_webhooks"
secrets = ["env:{variable}"]
"""


@dataclass
class Measured:
    """The rounds of one receiver."""

    rounds: list[Seen] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """The median of the rounds."""
        return statistics.median(seen.per_second for seen in self.rounds)

    @property
    def p50_ms(self) -> float:
        """The median of the rounds."""
        return statistics.median(seen.p50_ms for seen in self.rounds)

    @property
    def p99_ms(self) -> float:
        """The median of the rounds."""
        return statistics.median(seen.p99_ms for seen in self.rounds)


def measure(
    folder: Path, store: Store, *, rounds: int, seconds: float, connections: int, say: Callable[[str], None]
) -> Mapping[str, Measured]:
    """Measure the four by turns, so that a machine that drifts does so for all of them."""
    found = {name: Measured() for name in (BARE, CHECKED, GATEPOST, OBVIOUS)}
    with ExitStack() as stack, store.client() as redis:
        ports = {name: stack.enter_context(_comparison(name, folder, store.url)) for name in (BARE, CHECKED, OBVIOUS)}
        ports[GATEPOST] = stack.enter_context(gatepost(folder, store.url))
        for number in range(rounds):
            for name, measured in found.items():
                redis.flushall()
                task = Task(ports[name], PATH, f"{name}-{number}", connections, seconds)
                seen = Load(task).finish()
                _check(name, seen, redis)
                measured.rounds.append(seen)
                say(f"round {number + 1}, {name}: {seen.per_second:,.0f}/s, p99 {seen.p99_ms:.1f} ms")
    return found


@contextmanager
def gatepost(folder: Path, redis_url: str) -> Iterator[int]:
    """Run the real receiver and give its port."""
    port = free_port()
    config = folder / "gatepost.toml"
    config.write_text(CONFIG.format(url=redis_url, variable=SECRET_VARIABLE))
    command = python("service", "--config", str(config), "--port", str(port))
    with running(command, folder / "service.log", port, {SECRET_VARIABLE: SECRET}):
        yield port


@contextmanager
def _comparison(stage: str, folder: Path, redis_url: str) -> Iterator[int]:
    port = free_port()
    command = python("bench.receivers", stage, "--port", str(port))
    with running(command, folder / f"{stage}.log", port, {REDIS_VARIABLE: redis_url}):
        yield port


def _check(name: str, seen: Seen, redis: Redis) -> None:
    """Raise Broken unless each answer was 202 and Redis holds exactly what was acknowledged."""
    if set(seen.statuses) != {str(ACCEPTED)}:
        raise Broken(f"{name} answered {seen.statuses}")
    acknowledged = len(seen.acknowledged)
    if name == OBVIOUS:
        held = [length(redis, QUEUE)]
    elif name == GATEPOST:
        events: Any = redis.zcard(keys.EVENTS)
        held = [events, sum(length(redis, lane) for lane in LANES)]
    else:
        return
    if any(count != acknowledged for count in held):
        raise Broken(f"{name} acknowledged {acknowledged} events and Redis holds {held}")


def length(redis: Redis, queue: str) -> int:
    """Return how many jobs wait in a queue of RQ."""
    found: Any = redis.llen(f"rq:queue:{queue}")
    return int(found)
