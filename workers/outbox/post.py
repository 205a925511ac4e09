"""From the lines to the subscribers: what is due is claimed, sent, and its attempt kept.

What is claimed is this process's own for a few seconds, and is claimed anew for as long as it is on its way: when the
process dies, another sends it again, under the same id.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from lifecycle.errors import GatepostError
from lifecycle.log import fault
from lifecycle.outbox import FAILED, signal_of
from lifecycle.outbox_scripts import CLAIM, RENEW
from lifecycle.signal import Told, iso
from lifecycle.subscriber import SSF_POLL, Subscriber
from workers.outbox.known import Known
from workers.outbox.pace import Pace
from workers.outbox.recorder import Attempt, Claim, Recorder
from workers.outbox.schedule import Result, Says, answered, unanswered
from workers.subscribers.base import Carrier, Format, Reply

CLAIM_MILLISECONDS, RENEW_SECONDS = 4_000, 1.0
POLL_SECONDS, TROUBLE_SECONDS = 0.2, 1.0
ON_THEIR_WAY_MAX = 10
"""To one subscriber; it is promised no order but that of one person's signals."""
ALL_ON_THEIR_WAY_MAX = 400
STOP_SECONDS_MAX = 20.0
CLOSE_SECONDS = 20.0
ANSWER_BYTES_KEPT = 256
MINUTE_MILLISECONDS = 60_000

log = structlog.get_logger()

OpenCarrier = Callable[[Subscriber], Carrier]


class Post:
    """Sends what is due, to many subscribers at once."""

    def __init__(self, redis: Redis, known: Known, formats: Mapping[str, Format], open_carrier: OpenCarrier) -> None:
        """Keep a connection, who subscribes, and how each is reached."""
        self._redis = redis
        self._known = known
        self._formats = formats
        self._open = open_carrier
        self._recorder = Recorder(redis)
        self._carriers: dict[str, tuple[Subscriber, Carrier]] = {}
        self._claims: dict[asyncio.Task[None], Claim] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._awake = asyncio.Event()
        self._pace = Pace()

    def wake(self) -> None:
        """Look for what is due now."""
        self._awake.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Go on until told to stop; then wait for what is on its way."""
        renewing = asyncio.create_task(self._renew_on())
        while not stopping.is_set():
            await self._pace.wait()
            self._awake.clear()
            try:
                await self._known.refresh_if_old()
                claimed = await self.step()
            except RedisError as error:
                log.warning("post.no_redis", error=type(error).__name__)
                await asyncio.sleep(TROUBLE_SECONDS)
                continue
            except Exception as error:  # noqa: BLE001 - without the post nobody is told of anything
                log.error("post.fault", **fault(error))  # noqa: TRY400 - its text may hold what is personal
                await asyncio.sleep(TROUBLE_SECONDS)
                continue
            if not claimed:
                await self._pause()
        if self._claims:
            await asyncio.wait(self._claims, timeout=STOP_SECONDS_MAX)
        renewing.cancel()
        for _, carrier in self._carriers.values():
            await carrier.close()

    async def step(self) -> int:
        """Claim what is due and send it on its way; return how many."""
        claims = await self._claim()
        if not claims:
            return 0
        signals = await self._known.signals(signal_of(claim.item) for claim in claims)
        for claim in claims:
            task = asyncio.create_task(self._attempt(claim, signals.get(signal_of(claim.item))))
            self._claims[task] = claim
            task.add_done_callback(self._ended)
        return len(claims)

    async def settle(self) -> None:
        """Wait for all that is on its way."""
        while self._claims:
            await asyncio.wait(self._claims)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._awake.wait()
        except TimeoutError:
            return

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._claims[task]
        self._awake.set()

    async def _claim(self) -> list[Claim]:
        arguments = self._wanted()
        if not arguments:
            return []
        found: Any = await self._redis.eval(CLAIM, 0, str(CLAIM_MILLISECONDS), *arguments)
        until, *parts = [part.decode() for part in found]
        return [
            Claim(name, line, item, int(attempts) + 1, until)
            for name, line, item, attempts in zip(*(parts[start::4] for start in range(4)), strict=True)
        ]

    def _wanted(self) -> list[str]:
        """Return for each subscriber how much more may be on its way to it, and how far apart."""
        under_way = Counter(claim.name for claim in self._claims.values())
        left = ALL_ON_THEIR_WAY_MAX - under_way.total()
        found: list[str] = []
        for name, subscriber in self._known.roster.subscribers.items():
            most = min(ON_THEIR_WAY_MAX - under_way[name], left)
            if most > 0 and subscriber.format != SSF_POLL:
                per_minute = subscriber.requests_per_minute
                interval = MINUTE_MILLISECONDS / per_minute if per_minute else 0
                found += [name, str(most), str(interval)]
        return found

    # ---- one attempt

    async def _attempt(self, claim: Claim, signal: Told | None) -> None:
        started = datetime.now(UTC)
        try:
            line, result = await self._tried(claim, signal, started)
            await self._recorder.record(Attempt(claim, {"at": iso(started), **line}, result))
        except RedisError as error:
            # Nobody will know of it, so it is made again when the claim ends.
            log.warning("signal.unrecorded", subscriber=claim.name, error=type(error).__name__)
            return
        log.info(
            "signal.attempted",
            signal=claim.item,
            subscriber=claim.name,
            attempt=claim.number,
            state=result.state,
            reason=result.reason,
        )

    async def _tried(self, claim: Claim, signal: Told | None, started: datetime) -> tuple[dict[str, Any], Result]:
        subscriber = self._known.roster.subscribers.get(claim.name)
        if signal is None or subscriber is None:
            reason = "signal_unknown" if signal is None else "subscriber_unknown"
            return {"status": None, "error": reason}, Result(FAILED, Says.NOTHING, reason)
        how = self._formats[subscriber.format]
        try:
            letter = how.letter(self._known.config, signal, claim.item, subscriber, started)
            reply = await self._carrier(claim.name, subscriber).post(letter)
        except GatepostError as error:
            line = {"status": None, "error": error.reason, "detail": error.message}
            return line, unanswered(error, claim.number, datetime.now(UTC))
        except Exception as error:  # noqa: BLE001 - a fault of ours in one delivery must end no other
            log.error("signal.fault", subscriber=claim.name, **fault(error))  # noqa: TRY400 - it may hold what is personal
            ours = GatepostError("a fault of ours", reason="fault")
            return {"status": None, "error": "fault"}, unanswered(ours, claim.number, datetime.now(UTC))
        verdict, reason = how.verdict(reply)
        return _line(reply), answered(reply, verdict, reason, claim.number, datetime.now(UTC))

    def _carrier(self, name: str, subscriber: Subscriber) -> Carrier:
        known = self._carriers.get(name)
        if known is not None and known[0] == subscriber:
            return known[1]
        if known is not None:
            self._close_later(known[1])
        carrier = self._open(subscriber)
        self._carriers[name] = (subscriber, carrier)
        return carrier

    def _close_later(self, carrier: Carrier) -> None:
        """Close what a changed subscriber was reached by, once nothing can be on its way by it."""

        async def close() -> None:
            await asyncio.sleep(CLOSE_SECONDS)
            await carrier.close()

        self._closing.add(task := asyncio.create_task(close()))
        task.add_done_callback(self._closing.discard)

    # ---- what is on its way stays ours

    async def _renew_on(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self.renew(list(self._claims.values()))
            except RedisError as error:
                log.warning("post.no_redis", error=type(error).__name__)

    async def renew(self, claims: Sequence[Claim]) -> None:
        """Claim anew what is on its way."""
        if not claims:
            return
        arguments = [part for claim in claims for part in (claim.name, claim.line, claim.until)]
        until: Any = await self._redis.eval(RENEW, 0, str(CLAIM_MILLISECONDS), *arguments)
        for claim in claims:
            claim.until = until.decode()


def _line(reply: Reply) -> dict[str, Any]:
    text = reply.body[:ANSWER_BYTES_KEPT].decode("utf-8", "replace")
    return {"status": reply.status, "duration_ms": round(reply.seconds * 1000), "answer": text}
