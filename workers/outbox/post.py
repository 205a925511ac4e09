"""From the lines to the subscribers: what is due is claimed, sent, and its attempt kept.

What is claimed is this process's own for a few seconds, and is claimed anew for as long as it is on its way: when the
process dies, another sends it again, under the same id.
"""

import asyncio
import random
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
ROSTER_TRIES_MAX = 3
"""How often a roster that was changed is read anew before what is due goes out as it was a moment ago."""
ON_THEIR_WAY_MAX = 10
"""To one subscriber; it is promised no order but that of one person's signals."""
OWN_ON_THEIR_WAY = 2
"""May always be on their way to one, however slow the others are."""
SHARED_ON_THEIR_WAY_MAX = 400
"""To all together, besides: those that are slow may take all of it."""
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
        self._roster = known.roster
        self._carriers: dict[str, tuple[Subscriber, Carrier]] = {}
        self._claims: dict[asyncio.Task[None], Claim] = {}
        self._closing: dict[asyncio.Task[None], Carrier] = {}
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
                if not self._claims:  # else what ends in a moment would make that step a small one
                    self._pace.shorten()
                await self._pause()
        if self._claims:
            await asyncio.wait(self._claims, timeout=STOP_SECONDS_MAX)
        renewing.cancel()
        for closing in self._closing:
            closing.cancel()
        open_ = [carrier for _, carrier in self._carriers.values()]
        await asyncio.gather(*(carrier.close() for carrier in (*open_, *self._closing.values())))

    async def step(self) -> int:
        """Claim what is due and send it on its way; return how many."""
        self._let_go()
        claims = self._unsent(await self._claim())
        if not claims:
            return 0
        signals = await self._known.signals(signal_of(claim.item) for claim in claims)
        for claim in claims:
            task = asyncio.create_task(self._attempt(claim, signals.get(signal_of(claim.item))))
            self._claims[task] = claim
            task.add_done_callback(self._ended)
        return len(claims)

    def _unsent(self, claims: Sequence[Claim]) -> list[Claim]:
        """Leave out what is on its way here: where Redis stood still for long, a claim ends before it is renewed.

        The next of its line is no such: it may be claimed before the task of the one before it has seen its end.
        """
        under_way = {(claim.name, claim.item, claim.number): claim for claim in self._claims.values()}
        unsent = []
        for claim in claims:
            if (known := under_way.get((claim.name, claim.item, claim.number))) is None:
                unsent.append(claim)
            else:
                known.until = claim.until
        return unsent

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
        for tries in range(ROSTER_TRIES_MAX):
            as_of = str(self._known.roster.revision) if tries < ROSTER_TRIES_MAX - 1 else ""
            if not (wanted := self._wanted()):
                return []
            if found := await self._claimed(wanted, as_of):
                return _claims(found)
            await self._known.refresh()
        return []

    async def _claimed(self, wanted: Sequence[str], as_of: str) -> list[bytes]:
        """Return what CLAIM answers: nothing where the roster is of another revision by now."""
        settings = (as_of, str(CLAIM_MILLISECONDS), str(self._shared()))
        found: list[bytes] = await self._redis.eval(CLAIM, 0, *settings, *wanted)
        return found

    def _shared(self) -> int:
        """Return how many more may be on their way besides those that each may always have."""
        taken = sum(max(number - OWN_ON_THEIR_WAY, 0) for number in self._under_way().values())
        return max(SHARED_ON_THEIR_WAY_MAX - taken, 0)

    def _under_way(self) -> Counter[str]:
        return Counter(claim.name for claim in self._claims.values())

    def _wanted(self) -> list[str]:
        """Return for each subscriber how much more may be on its way to it, and how far apart."""
        under_way = self._under_way()
        subscribers = list(self._known.roster.subscribers.items())
        random.shuffle(subscribers)  # who comes first shall not always have first what all share
        found: list[str] = []
        for name, subscriber in subscribers:
            own, most = (max(each - under_way[name], 0) for each in (OWN_ON_THEIR_WAY, ON_THEIR_WAY_MAX))
            if most > 0 and subscriber.format != SSF_POLL:
                per_minute = subscriber.requests_per_minute
                interval = MINUTE_MILLISECONDS / per_minute if per_minute else 0
                found += [name, str(own), str(most), str(interval)]
        return found

    # ---- one attempt

    async def _attempt(self, claim: Claim, signal: Told | None) -> None:
        started = datetime.now(UTC)
        line, result = await self._tried(claim, signal, started)
        took = round((datetime.now(UTC) - started).total_seconds() * 1000)
        try:
            await self._recorder.record(Attempt(claim, {"at": iso(started), "duration_ms": took, **line}, result))
        except Exception as error:  # noqa: BLE001 - nobody will know of it, so it is made again when the claim ends
            log.warning("signal.unrecorded", subscriber=claim.name, **fault(error))
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
        """Make an attempt; return what is kept of it, whatever happens, and what it came to."""
        try:
            return await self._sent(claim, signal, started)
        except GatepostError as error:
            line = {"status": None, "error": error.reason, "detail": error.message}
            return line, unanswered(error, claim.number, datetime.now(UTC))
        except Exception as error:  # noqa: BLE001 - a fault of ours in one delivery must end no other
            log.error("signal.fault", subscriber=claim.name, **fault(error))  # noqa: TRY400 - its text may hold what is personal
            ours = GatepostError("a fault of ours", reason="fault")
            return {"status": None, "error": "fault"}, unanswered(ours, claim.number, datetime.now(UTC))

    async def _sent(self, claim: Claim, signal: Told | None, started: datetime) -> tuple[dict[str, Any], Result]:
        subscriber = self._known.roster.subscribers.get(claim.name)
        if signal is None or subscriber is None:
            reason = "signal_unknown" if signal is None else "subscriber_unknown"
            return {"status": None, "error": reason}, Result(FAILED, Says.NOTHING, reason)
        how = self._formats[subscriber.format]
        letter = how.letter(self._known.config, signal, claim.item, subscriber, started)
        reply = await self._carrier(claim.name, subscriber).post(letter)
        verdict, reason = how.verdict(reply)
        return _line(reply), answered(reply, verdict, reason, claim.number, datetime.now(UTC))

    # ---- what each is reached by

    def _carrier(self, name: str, subscriber: Subscriber) -> Carrier:
        known = self._carriers.get(name)
        if known is not None and known[0] == subscriber:
            return known[1]
        if known is not None:
            self._close_later(name)
        carrier = self._open(subscriber)
        self._carriers[name] = (subscriber, carrier)
        return carrier

    def _let_go(self) -> None:
        """Close what leads to whoever is gone from the roster, or is another now."""
        if self._roster is self._known.roster:
            return
        self._roster = self._known.roster
        for name, (subscriber, _) in list(self._carriers.items()):
            if self._roster.subscribers.get(name) != subscriber:
                self._close_later(name)

    def _close_later(self, name: str) -> None:
        """Close what a subscriber was reached by, once nothing can be on its way by it."""
        _, carrier = self._carriers.pop(name)

        async def close() -> None:
            await asyncio.sleep(CLOSE_SECONDS)
            await carrier.close()

        self._closing[task := asyncio.create_task(close())] = carrier
        task.add_done_callback(self._closing.pop)

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


def _claims(found: Sequence[bytes]) -> list[Claim]:
    until, *parts = [part.decode() for part in found]
    return [
        Claim(name, line, item, int(attempts) + 1, until)
        for name, line, item, attempts in zip(*(parts[start::4] for start in range(4)), strict=True)
    ]


def _line(reply: Reply) -> dict[str, Any]:
    text = reply.body[:ANSWER_BYTES_KEPT].decode("utf-8", "replace")
    return {"status": reply.status, "duration_ms": round(reply.seconds * 1000), "answer": text}
