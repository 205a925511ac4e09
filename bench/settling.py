"""``python -m bench.settling TASK``: settles persons at a steady rate, as a worker does, and tells how long each took.

A process of its own, with the clients of a worker. What is timed is ``People.settle`` alone: an event that is applied,
with a person, an account, a timeline and one signal. The task is JSON on the command line, the milliseconds that each
step took go as JSON to standard output.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import IO, cast

from bench.machine import ROOT, Broken, python
from lifecycle.event import State
from lifecycle.people import People
from lifecycle.queue import connect, lanes
from lifecycle.settlement import Delivery, Settled, Settlement, Step
from lifecycle.signal import TYPES, Signal
from tests.seed import NOW, event, person, put, signal

REASONS = tuple(f"reason-{number}" for number in range(10))
PERSONS = 1_000
BEGIN = b"begins\n"


@dataclass(frozen=True)
class Task:
    """How many persons to settle, and how many a second."""

    url: str
    prefix: str
    per_second: float
    number: int


class Settling:
    """A task in a process of its own."""

    def __init__(self, task: Task) -> None:
        """Return when it begins. Raises Broken when it does not."""
        command = python("bench.settling", json.dumps(asdict(task)))
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)  # noqa: S603 - our own program
        self._said = cast("IO[bytes]", self._process.stdout)
        if self._said.readline() != BEGIN:
            raise Broken("settling does not begin; see above")

    def finish(self) -> list[float]:
        """Wait for the end and return how long each step took. Raises Broken when it failed."""
        with self._said as said:
            found = said.read()
        if self._process.wait() != 0:
            raise Broken("settling failed; see above")
        took: list[float] = json.loads(found)
        return took


class Settler:
    """Settles one person after the other."""

    def __init__(self, people: People) -> None:
        """Keep the store."""
        self._people = people

    def settle(self, name: str, made: Signal | None) -> float:
        """Keep an event of this name, settle it, and return the milliseconds that settling took."""
        key = f"S-{name}"
        put(self._people.redis, event(name, key))
        token = self._people.take(key)
        if token is None:
            raise Broken(f"somebody else works on {key}")
        step = Step(NOW, "apply", {"target": "crm", "method": "PATCH", "status": 200})
        deliveries = {"crm": Delivery(State.APPLIED, requests=2, attempts=1)}
        settlements = [Settlement(kept, State.APPLIED, deliveries, (step,)) for kept in self._people.mailbox(key)]
        settled = Settled(person(key), settlements, [made] if made else [], requests=[("crm", "PATCH", "200")])
        started = time.perf_counter()
        self._people.settle(token, settled)
        return (time.perf_counter() - started) * 1000


def told(name: str, number: int) -> Signal:
    """Make the signal of this number: its type, its reason and its person are each one of some, by turns."""
    made = signal(name)
    reason = REASONS[number % len(REASONS)]
    body = made.body.replace('"reason":"left"', f'"reason":"{reason}"')
    return made._replace(type=TYPES[number % len(REASONS)], body=body, person=f"E{number % PERSONS}")


def paced(number: int, per_second: float, do: Callable[[int], float]) -> list[float]:
    """Do something so many times at a steady rate; what is late is made up for."""
    started, found = time.monotonic(), []
    for each in range(number):
        time.sleep(max(started + each / per_second - time.monotonic(), 0.0))
        found.append(do(each))
    return found


def main() -> None:
    """Do the task that the command line tells."""
    task = Task(**json.loads(sys.argv[1]))
    redis = connect(task.url, patient=True)
    settler = Settler(People(redis, lanes(redis)))

    def settle(number: int) -> float:
        name = f"{task.prefix}-{number}"
        return settler.settle(name, told(name, number))

    settle(-1)  # Whoever settles is warm.
    print(BEGIN.decode(), end="", flush=True)
    print(json.dumps(paced(task.number, task.per_second, settle)))


if __name__ == "__main__":
    main()
