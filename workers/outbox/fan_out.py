"""From the outbox to the lines: which signal goes to whom.

Any process may do it, and several may try at once: a step that finds an entry gone leaves that signal alone.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from lifecycle import keys
from lifecycle.log import fault
from lifecycle.outbox import Way
from lifecycle.outbox_scripts import FAN_OUT, TRIM_FAILED
from lifecycle.roster import Roster
from lifecycle.signal import Told
from lifecycle.subscriber import ways_of
from workers.outbox.known import Known
from workers.outbox.pace import Pace

ENTRIES_MAX, WAYS_MAX = 100, 2_000
BLOCK_MILLISECONDS = 1_000
TROUBLE_SECONDS = 1.0
STEP_SECONDS = 0.05
"""Between two steps of many signals: each is a large one, and whoever settles an event waits for it."""
TRIM_SECONDS, TRIM_BATCH = 60.0, 1_000
ROSTER_TRIES_MAX = 20

log = structlog.get_logger()

Entry = tuple[str, str]
"""An entry of the outbox, and the signal that it names."""


class FanOut:
    """Takes signals out of the outbox, oldest first."""

    def __init__(self, redis: Redis, known: Known, wake: Callable[[], None]) -> None:
        """Keep a connection of its own, on which it waits, and how to wake those who send."""
        self._redis = redis
        self._known = known
        self._wake = wake
        self._trimmed_at = 0.0
        self._pace = Pace(STEP_SECONDS)

    async def run(self, stopping: asyncio.Event) -> None:
        """Go on until told to stop."""
        while not stopping.is_set():
            try:
                await self._pace.wait()
                if entries := await self.entries(BLOCK_MILLISECONDS):
                    await self.step(entries)
                await self._trim()
            except RedisError as error:
                log.warning("fan_out.no_redis", error=type(error).__name__)
                await asyncio.sleep(TROUBLE_SECONDS)
            except Exception as error:  # noqa: BLE001 - without the fan-out nobody is told of anything
                log.error("fan_out.fault", **fault(error))  # noqa: TRY400 - its text may hold what is personal
                await asyncio.sleep(TROUBLE_SECONDS)

    async def entries(self, block: int | None = None) -> list[Entry]:
        """Return the oldest entries of the outbox; with ``block`` wait so many milliseconds for one."""
        found: Any = await self._redis.xread({keys.OUTBOX: "0-0"}, count=ENTRIES_MAX, block=block)
        return [(entry.decode(), fields[b"id"].decode()) for _, entries in found for entry, fields in entries]

    async def step(self, entries: Sequence[Entry]) -> int:
        """Fan out these signals; return how many deliveries begin."""
        signals = await self._known.signals(signal for _, signal in entries)
        enlisted = 0
        for some in self._portions(entries):
            if (found := await self._fan_out(some, signals)) is None:
                break
            enlisted += found
            self._wake()
        return enlisted

    def _portions(self, entries: Sequence[Entry]) -> Iterator[list[Entry]]:
        """Cut what is to be done into steps that Redis takes in a moment."""
        each = max(len(self._known.roster.everybody), 1)
        size = max(WAYS_MAX // each, 1)
        for start in range(0, len(entries), size):
            yield list(entries[start : start + size])

    async def _fan_out(self, entries: Sequence[Entry], signals: dict[str, Told]) -> int | None:
        """Return how many deliveries begin; None where nothing was done, and nothing may be that comes after it."""
        for _ in range(ROSTER_TRIES_MAX):
            arguments = [part for entry in entries for part in _arguments(entry, signals, self._known.roster)]
            answer: Any = await self._redis.eval(FAN_OUT, 0, str(self._known.roster.revision), *arguments)
            number, *full = answer
            if int(number) >= 0:
                _tell_of(full)
                return int(number)
            await self._known.refresh()
        log.warning("fan_out.roster_never_still")
        return None

    async def _trim(self) -> None:
        """Forget what is older than what is kept."""
        if time.monotonic() - self._trimmed_at < TRIM_SECONDS:
            return
        self._trimmed_at = time.monotonic()
        oldest = time.time() - keys.RETENTION_SECONDS
        await self._redis.zremrangebyscore(keys.SIGNALS, "-inf", oldest)
        passed = 0
        while True:
            found, stay = await self._redis.eval(TRIM_FAILED, 0, oldest, passed, TRIM_BATCH)
            passed += int(stay)
            if int(found) < TRIM_BATCH:
                return


def _tell_of(full: Sequence[Any]) -> None:
    """Say for whom signals found no room; each is listed among the failures, and can be replayed."""
    for name, number in zip(full[::2], full[1::2], strict=True):
        log.error("subscriber.outbox_full", subscriber=name.decode(), failed=int(number))


def _arguments(entry: Entry, signals: dict[str, Told], roster: Roster) -> list[str]:
    """Return what the script takes of one signal; one that is gone, or unreadable, goes to nobody."""
    stream_id, signal_id = entry
    signal = signals.get(signal_id)
    found = list(ways(signal, roster)) if signal is not None else []
    pairs = json.dumps([[way.item, way.subscriber] for way in found])
    return [stream_id, signal_id, pairs, str(len(found)), *(str(part) for way in found for part in way.arguments())]


def ways(signal: Told, roster: Roster) -> Iterator[Way]:
    """Return the deliveries that come of a signal."""
    for name, subscriber in roster.everybody.items():
        yield from ways_of(name, subscriber, signal)
