"""What one subscriber that misbehaves does to the others, and whether anything is lost, theirs or its own.

The same load goes to the same well subscribers, alone and then beside one that misbehaves, by a lane that is started
anew for each. How long a signal takes is from the answer of the step that kept it to its arrival.
"""

import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count, pairwise
from pathlib import Path
from typing import NamedTuple

from redis import Redis

from bench.inbox import Taken, fetch
from bench.lane import Section, lane
from bench.machine import Broken, Store, free_port, python, running
from bench.rogue import KINDS
from lifecycle import outbox
from lifecycle.records import Records
from lifecycle.signal import Signal, make_signal

ALONE, AGAIN, DOWN = "alone", "alone again", "down"
ROGUE, ELSEWHERE = "rogue", "elsewhere"
PERSONS = 40
ANSWER_SECONDS = 0.005
"""A well subscriber takes a moment, so that two signals of one person could meet there."""
WARM_UP_SECONDS = 1.0
ARRIVE_SECONDS_MAX, LOOK_SECONDS = 10.0, 0.1


class Sent(NamedTuple):
    """A signal that was kept."""

    id: str
    person: str
    number: int
    kept_at: float


@dataclass
class Measured:
    """The rounds of one neighbour of the well ones."""

    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    deliveries: int = 0
    missing: int = 0
    disorder: int = 0
    """Signals that came before an older one of their person, or while it was still there, at any subscriber."""
    delivered: int = 0
    waiting: int = 0
    unrecorded: int = 0
    """Deliveries to the one that misbehaves of which the records do not tell, or not truly."""
    followed: int = 0
    """Requests that came to where a redirect leads."""

    @property
    def faults(self) -> int:
        """How many promises were broken."""
        return self.missing + self.disorder + self.unrecorded + self.followed


class Plan(NamedTuple):
    """How much is sent to how many."""

    well: int
    per_second: float
    seconds: float


def measure(folder: Path, rounds: int, plan: Plan, say: Callable[[str], None]) -> Mapping[str, Measured]:
    """Measure each neighbour in turns, in another order each round."""
    found = {name: Measured() for name in (ALONE, AGAIN, *KINDS)}
    for number in range(rounds):
        order = list(found)
        random.Random(number).shuffle(order)  # noqa: S311 - the same orders in every run
        for name in order:
            phase = Phase(folder / f"{number}-{name.replace(' ', '-')}", name, plan)
            phase.run(found[name])
            say(f"round {number + 1}, {name}: {phase.said(found[name])}")
    return found


def ratio(found: Mapping[str, Measured], name: str) -> float:
    """Return by how much longer the slowest hundredth took than alone, each as the median of its rounds."""
    return statistics.median(found[name].p99_ms) / statistics.median(found[ALONE].p99_ms)


class Phase:
    """One span of load beside one neighbour, or none."""

    def __init__(self, folder: Path, name: str, plan: Plan) -> None:
        """Choose the places."""
        folder.mkdir(parents=True)
        self._folder, self._name, self._plan = folder, name, plan
        self._ports = {"inbox": free_port(), ROGUE: free_port()}
        self._numbers = count()

    def run(self, measured: Measured) -> None:
        """Send, and judge what came."""
        with ExitStack() as stack:
            store = stack.enter_context(Store(self._folder))
            redis = stack.enter_context(store.client())
            self._program(stack, "bench.inbox", "--answer-seconds", str(ANSWER_SECONDS), port="inbox")
            with lane(self._folder, store, self._subscribers()):
                if self._name in KINDS and self._name != DOWN:
                    self._misbehave(stack)
                warm_up = self._send(redis, WARM_UP_SECONDS)
                sent = self._send(redis, self._plan.seconds / 2)
                if self._name == DOWN:
                    self._misbehave(stack)
                sent += self._send(redis, self._plan.seconds / 2)
                taken = self._arrived(len(warm_up) + len(sent))
            self._judge_well(measured, warm_up, sent, taken)
            if self._name in KINDS:
                self._judge_rogue(measured, redis, warm_up + sent, fetch(self._ports[ROGUE]))

    def said(self, measured: Measured) -> str:
        """Say what a round came to."""
        times = f"p50 {measured.p50_ms[-1]:.1f} ms, p99 {measured.p99_ms[-1]:.1f} ms"
        return f"{times}, {measured.faults} faults until now"

    # ---- the programs

    def _subscribers(self) -> dict[str, Section]:
        found: dict[str, Section] = {name: {"url": self._url("inbox", name)} for name in self._well()}
        return found | ({ROGUE: {"url": self._url(ROGUE, ROGUE)}} if self._name in KINDS else {})

    def _well(self) -> list[str]:
        return [f"well-{number}" for number in range(self._plan.well)]

    def _url(self, place: str, name: str) -> str:
        return f"http://127.0.0.1:{self._ports[place]}/hooks/{name}"

    def _misbehave(self, stack: ExitStack) -> None:
        self._program(stack, "bench.rogue", self._name, "--elsewhere", self._url("inbox", ELSEWHERE), port=ROGUE)

    def _program(self, stack: ExitStack, *command: str, port: str) -> None:
        number = self._ports[port]
        stack.enter_context(running(python(*command, "--port", str(number)), self._folder / f"{port}.log", number))

    # ---- the load

    def _send(self, redis: Redis, seconds: float) -> list[Sent]:
        """Keep signals at a steady rate."""
        started, sent = time.monotonic(), []
        for number in range(int(self._plan.per_second * seconds)):
            time.sleep(max(started + number / self._plan.per_second - time.monotonic(), 0.0))
            signal, place = told(next(self._numbers))
            with redis.pipeline() as pipe:
                outbox.keep(pipe, signal)
                pipe.execute()
            sent.append(Sent(signal.id, signal.person, place, time.time()))
        return sent

    def _arrived(self, count: int) -> list[Taken]:
        """Wait until all that was sent has come to the well ones, and return it."""
        taken: list[Taken] = []
        deadline = time.monotonic() + ARRIVE_SECONDS_MAX
        while True:
            taken += fetch(self._ports["inbox"])
            if len(taken) >= count * self._plan.well or time.monotonic() > deadline:
                return taken
            time.sleep(LOOK_SECONDS)

    # ---- what came of it

    def _judge_well(self, measured: Measured, warm_up: list[Sent], sent: list[Sent], taken: list[Taken]) -> None:
        by_id = {each.id: each for each in warm_up + sent}
        first = {(each.subscriber, each.item): each for each in sorted(taken, key=_began, reverse=True)}
        waits = [
            first[name, each.id].began - each.kept_at
            for each in sent
            for name in self._well()
            if (name, each.id) in first
        ]
        if not waits:
            raise Broken("nothing came to anybody")
        measured.p50_ms.append(percentile(waits, 0.5) * 1000)
        measured.p99_ms.append(percentile(waits, 0.99) * 1000)
        measured.deliveries += len(waits)
        measured.missing += sum((name, each) not in first for each in by_id for name in self._well())
        measured.disorder += disorder(by_id, [each for each in taken if each.subscriber != ELSEWHERE])
        measured.followed += sum(each.subscriber == ELSEWHERE for each in taken)

    def _judge_rogue(self, measured: Measured, redis: Redis, sent: list[Sent], taken: list[Taken]) -> None:
        came = {each.item for each in taken}
        records = Records(redis)
        for each in sent:
            deliveries = {found["subscriber"]: found for found in records.signal(each.id)["deliveries"]}
            state, attempts, tried = (deliveries.get(ROGUE, {}).get(key) for key in ("state", "attempts", "tried"))
            measured.delivered += state == outbox.DELIVERED
            measured.waiting += state == outbox.WAITING
            is_true = state in {outbox.DELIVERED, outbox.WAITING} and attempts == len(tried or ())
            measured.unrecorded += not is_true or (each.id in came and not attempts)
        measured.disorder += disorder({each.id: each for each in sent}, taken)


def told(number: int) -> tuple[Signal, int]:
    """Make the signal of this number, of one of a few persons."""
    person = f"E{number % PERSONS}"
    data = {"event": str(number), "source": "hris", "person": {"external_id": person, "user_name": f"{person}.login"}}
    at = datetime.now(UTC)
    return make_signal("person.updated", person=person, event=f"hris:{number}", target="crm", data=data, at=at), number


def disorder(sent: Mapping[str, Sent], taken: Sequence[Taken]) -> int:
    """Count what came to a subscriber before an older signal of its person, or while another was there."""
    lines: dict[tuple[str, str], list[Taken]] = defaultdict(list)
    for each in sorted(taken, key=_began):
        lines[each.subscriber, sent[each.item].person].append(each)
    return sum(
        sent[one.item].number > sent[next_.item].number or one.ended > next_.began
        for line in lines.values()
        for one, next_ in pairwise(line)
    )


def percentile(values: Iterable[float], share: float) -> float:
    """Return what this share of the values does not pass."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def _began(taken: Taken) -> float:
    return taken.began
