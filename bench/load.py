"""``python -m bench.load``: senders on kept connections, each with the next notice as soon as the last is answered.

A process of its own, and a client cheap enough that the receiver is what is measured. The task is JSON on the
command line, what was seen goes as JSON to standard output. Notices are made and signed before the clock runs.
"""

import asyncio
import gc
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from tempfile import TemporaryFile
from typing import cast

import uvloop

from bench.machine import ROOT, Broken, python
from bench.notices import requests

ACCEPTED = 202
WARM_UP_SECONDS, WARM_UP_NOTICES = 0.7, 3_000
# More than the warm-up promises, so that a round is not cut short by a receiver that is warmer still.
SPARE = 1.5
ANSWER_SECONDS_MAX = 30.0
LENGTH = b"content-length:"
HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Task:
    """What to send: events named ``prefix-0``, ``prefix-1``, ... to one path."""

    port: int
    path: str
    prefix: str
    connections: int
    seconds: float


@dataclass(frozen=True)
class Seen:
    """What was answered: ``acknowledged`` holds the names over the warm-up and the measured window together."""

    acknowledged: list[str]
    statuses: dict[str, int]
    per_second: float
    p50_ms: float
    p99_ms: float


class Load:
    """A task in a process of its own; what it saw comes back by a file, for a pipe fills up while nobody reads."""

    def __init__(self, task: Task) -> None:
        """Begin."""
        self._seen = TemporaryFile()  # noqa: SIM115 - closed by finish
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            python("bench.load", json.dumps(asdict(task))), stdout=self._seen, cwd=ROOT
        )

    def is_running(self) -> bool:
        """Tell whether it still sends."""
        return self._process.poll() is None

    def finish(self) -> Seen:
        """Wait for the end and return what it saw. Raises Broken when it failed."""
        with self._seen as seen:
            if self._process.wait() != 0:
                raise Broken("the senders failed; see above")
            seen.seek(0)
            return Seen(**json.load(seen))


class Round:
    """One span of sending, shared by its connections."""

    def __init__(self, names: list[str], notices: list[bytes], seconds: float) -> None:
        """Start the clock."""
        self._left = iter(zip(names, notices, strict=True))
        self._started = self._ended = time.perf_counter()
        self._deadline = self._started + seconds
        self.statuses: Counter[int] = Counter()
        self.acknowledged: list[str] = []
        self.latencies: list[float] = []

    def next(self) -> tuple[str, bytes] | None:
        """Return what to send now; None when the time or the notices are over."""
        return next(self._left, None) if time.perf_counter() < self._deadline else None

    def answered(self, name: str, status: int, sent_at: float) -> None:
        """Count one answer."""
        self._ended = time.perf_counter()
        self.latencies.append(self._ended - sent_at)
        self.statuses[status] += 1
        if status == ACCEPTED:
            self.acknowledged.append(name)

    def per_second(self) -> float:
        """Return answers per second."""
        return len(self.latencies) / max(self._ended - self._started, 1e-9)

    def percentile_ms(self, share: float) -> float:
        """Return the latency that this share of the answers did not pass."""
        ordered = sorted(self.latencies)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000


class Sender(asyncio.Protocol):
    """One kept connection with one request in flight."""

    def __init__(self) -> None:
        """Wait for a round."""
        self._received = b""
        self._name, self._sent_at = "", 0.0
        self._round: Round | None = None
        self._idle: asyncio.Future[None] | None = None

    async def drive(self, round_: Round) -> None:
        """Send until the round is over and the last answer is in."""
        self._round = round_
        self._idle = asyncio.get_running_loop().create_future()
        self._send()
        await self._idle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's own class is no subclass

    def data_received(self, data: bytes) -> None:
        """Collect an answer; count it and go on when it is whole."""
        self._received += data
        head, end, body = self._received.partition(HEAD_END)
        if not end or len(body) < _length(head):
            return
        self._received = b""
        if self._round is not None:
            self._round.answered(self._name, int(head[9:12]), self._sent_at)
            self._send()

    def connection_lost(self, _error: Exception | None) -> None:
        """Fail the round: a receiver keeps its connections."""
        if self._idle is not None and not self._idle.done():
            self._idle.set_exception(Broken("the receiver closed a connection"))

    def _send(self) -> None:
        assert self._round is not None  # noqa: S101 - set by drive
        assert self._idle is not None  # noqa: S101 - set by drive
        found = self._round.next()
        if found is None:
            self._idle.set_result(None)
            return
        self._name, request = found
        self._sent_at = time.perf_counter()
        self._transport.write(request)


def _length(head: bytes) -> int:
    _, _, rest = head.lower().partition(LENGTH)
    return int(rest.partition(b"\r")[0] or 0)


async def send(task: Task) -> Seen:
    """Open the connections, warm the receiver up, then measure."""
    loop = asyncio.get_running_loop()
    senders = [(await loop.create_connection(Sender, "127.0.0.1", task.port))[1] for _ in range(task.connections)]
    warm_up = await _round(task, senders, 0, WARM_UP_NOTICES, WARM_UP_SECONDS)
    count = max(int(warm_up.per_second() * task.seconds * SPARE), task.connections)
    measured = await _round(task, senders, WARM_UP_NOTICES, count, task.seconds)
    statuses = warm_up.statuses + measured.statuses
    return Seen(
        [*warm_up.acknowledged, *measured.acknowledged],
        {str(status): times for status, times in statuses.items()},
        measured.per_second(),
        measured.percentile_ms(0.5),
        measured.percentile_ms(0.99),
    )


async def _round(task: Task, senders: list[Sender], first: int, count: int, seconds: float) -> Round:
    names = [f"{task.prefix}-{number}" for number in range(first, first + count)]
    notices = requests(task.path, names, first)
    gc.collect()
    gc.freeze()
    round_ = Round(names, notices, seconds)
    drives = asyncio.gather(*(sender.drive(round_) for sender in senders))
    await asyncio.wait_for(drives, seconds + ANSWER_SECONDS_MAX)
    return round_


def main() -> None:
    """Do the task that the command line tells."""
    task = Task(**json.loads(sys.argv[1]))
    gc.disable()
    print(json.dumps(asdict(uvloop.run(send(task)))))


if __name__ == "__main__":
    main()
