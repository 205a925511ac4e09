"""Keeps what attempts came to, as many at a time as have ended meanwhile."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from redis.asyncio import Redis

from lifecycle.outbox import WAITING, keep_arguments
from lifecycle.outbox_scripts import RECORD
from lifecycle.signal import Signal, iso, make_signal
from workers.outbox.pace import Pace
from workers.outbox.schedule import Result, Says

RECORDS_MAX = 100
DISABLED = "subscriber.disabled"
GONE, FAILING = "gone", "failing"
NOW_DISABLED = 2

log = structlog.get_logger()


@dataclass
class Claim:
    """A delivery that is on its way, and until when it is this process's own, as Redis says."""

    name: str
    line: str
    item: str
    number: int
    until: str


@dataclass(frozen=True)
class Attempt:
    """An attempt that was made."""

    claim: Claim
    line: dict[str, Any]
    """What is kept of it."""
    result: Result


class Recorder:
    """Writes attempts to Redis."""

    def __init__(self, redis: Redis) -> None:
        """Keep a connection."""
        self._redis = redis
        self._waiting: list[tuple[Attempt, asyncio.Future[bool]]] = []
        self._writing = asyncio.Lock()
        self._pace = Pace()

    async def record(self, attempt: Attempt) -> bool:
        """Keep an attempt; return whether it is now, and was not before. Raises what hindered that."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((attempt, future))
        async with self._writing:
            # Whoever wrote before may have written this as well.
            if not future.done():
                await self._pace.wait()
                await self._write()
        return await future

    async def _write(self) -> None:
        while self._waiting:
            some, self._waiting = self._waiting[:RECORDS_MAX], self._waiting[RECORDS_MAX:]
            try:
                answers = await self._redis.eval(RECORD, 0, *_arguments([attempt for attempt, _ in some]))
                for (attempt, future), answer in zip(some, answers, strict=True):
                    future.set_result(int(answer) > 0)
                    if int(answer) == NOW_DISABLED:
                        log.error("subscriber.disabled", subscriber=attempt.claim.name, reason=_why(attempt.result))
            except Exception as error:  # noqa: BLE001 - each that waits is told, and knows what to do
                for _, future in some:
                    if not future.done():
                        future.set_exception(error)
            finally:
                for _, future in some:
                    future.cancel()  # where this was cancelled itself: nobody waits for ever


def disabled(name: str, why: str, now: datetime) -> Signal:
    """Return what the others are told of a subscriber that is disabled."""
    data = {"subscriber": name, "reason": why, "disabled_at": iso(now)}
    found = make_signal(DISABLED, person="", event="", target="", data=data, at=now, nonce=f"{name} {iso(now)}")
    return found._replace(besides=name)


def _arguments(attempts: Sequence[Attempt]) -> list[str]:
    now = datetime.now(UTC)
    found: list[str] = []
    for claim, line, result in ((each.claim, each.line, each.result) for each in attempts):
        counted = "retried" if result.state == WAITING else result.state
        due_text = iso(result.due_at) if result.due_at else ""
        found += [claim.name, claim.line, claim.item, str(claim.number), json.dumps({"number": claim.number, **line})]
        found += [result.state, result.reason, _wait(result.due_at, now), due_text]
        found += [json.dumps(["gatepost_signals", claim.name, counted]), result.says, _wait(result.rest_until, now)]
        found += [str(int(result.disables)), _with(claim.name, result, now)]
    return found


def _with(name: str, result: Result, now: datetime) -> str:
    """Return what a subscriber is to be disabled with where it comes to that: the step that finds it out does it."""
    if result.says not in {Says.ILL, Says.BUSY}:
        return ""
    why = _why(result)
    return json.dumps([name, why, *keep_arguments(disabled(name, why, now), now.timestamp())])


def _why(result: Result) -> str:
    return GONE if result.disables else FAILING


def _wait(moment: datetime | None, now: datetime) -> str:
    return str(max(int((moment - now).total_seconds() * 1000), 0)) if moment else ""
