"""Where a stream is polled: what was taken is acknowledged, what was not is offered again, and who finds nothing waits.

https://www.rfc-editor.org/rfc/rfc8936. A token is signed when it is handed out, and is the same each time.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import structlog
from redis import Redis
from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lifecycle import keys, outbox
from lifecycle.errors import GatepostError, Unknown
from lifecycle.log import fault
from lifecycle.signal import Told
from lifecycle.ssf import sets, streams
from lifecycle.ssf.section import Ssf
from lifecycle.ssf.signing import Signing
from lifecycle.ssf.status import ENABLED, status
from lifecycle.ssf.streams import Stream
from service.background import end
from service.problems import problem
from service.ssf.asked import Poll, read
from service.ssf.pool import in_pool
from service.ssf.tokens import Client

SETS_MAX: Final = 100
"""Tokens in one answer, however many are asked for."""
WAIT_SECONDS: Final = 25.0
LOOK_SECONDS: Final = 0.25
WAITING_MAX, WAITING_OF_ONE_MAX = 500, 2
RETRY_AFTER_SECONDS = 5
GONE, UNREADABLE, UNNAMED = "signal_gone", "unreadable", "not_said"
_WORD: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")

log = structlog.get_logger()


class Offer(NamedTuple):
    """What is handed out: tokens by their ids, and whether more wait."""

    sets: Mapping[str, str]
    more: bool


class LongPolls:
    """Those who wait for something to come. One look at Redis is for all of them, and none holds a thread."""

    def __init__(self, redis: Redis, wait_seconds: float) -> None:
        """Have nobody wait."""
        self._redis = redis
        self._wait_seconds = wait_seconds
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._watching: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Look no more."""
        if self._watching is not None:
            await end([self._watching])

    def is_full(self, stream_id: str) -> bool:
        """Tell whether too many wait already, of this stream or of all."""
        number = sum(map(len, self._waiting.values()))
        return number >= WAITING_MAX or len(self._waiting.get(stream_id, ())) >= WAITING_OF_ONE_MAX

    async def wait(self, stream_id: str, request: Request) -> None:
        """Wait until something is there for a stream, or its receiver has gone, or waited long enough."""
        came = asyncio.Event()
        self._waiting[stream_id].add(came)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        # Of a request whose body was read nothing is received but that the client went away.
        either = [asyncio.create_task(came.wait()), asyncio.create_task(_left(request))]
        try:
            await asyncio.wait(either, timeout=self._wait_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in either:
                each.cancel()
            self._waiting[stream_id].discard(came)
            if not self._waiting[stream_id]:
                del self._waiting[stream_id]

    async def _watch(self) -> None:
        while self._waiting:
            await asyncio.sleep(LOOK_SECONDS)
            for stream_id in await self._there(list(self._waiting)):
                for came in self._waiting.get(stream_id, ()):
                    came.set()

    async def _there(self, names: Sequence[str]) -> list[str]:
        """Return the streams for which something is there; without Redis all of them, so that each hears of it."""
        try:
            return await run_in_threadpool(_there, self._redis, names)
        except (RedisError, OSError):
            return list(names)


class Polling:
    """``POST /ssf/poll/{stream_id}``."""

    def __init__(self, redis: Redis, ssf: Ssf, signing: Signing, long_polls: LongPolls) -> None:
        """Keep what is needed."""
        self._redis = redis
        self._ssf = ssf
        self._signing = signing
        self._long_polls = long_polls

    async def poll(self, request: Request, client: Client) -> Response:
        """Take what is acknowledged, then hand out what waits, at once or when it comes."""
        stream = await in_pool(lambda: self._polled(client, request.path_params["stream_id"]))
        asked = await read(request, Poll)
        found = await in_pool(lambda: self._exchange(stream, asked))
        if found.sets or asked.return_immediately or asked.max_events == 0:
            return _answer(found)
        if self._long_polls.is_full(stream.id):
            said = "too many requests wait; say returnImmediately, or come again later"
            return problem(429, "too_many", said, {"Retry-After": str(RETRY_AFTER_SECONDS)})
        await self._long_polls.wait(stream.id, request)
        return _answer(await in_pool(lambda: self._offer(stream, asked)))

    def _polled(self, client: Client, stream_id: str) -> Stream:
        stream = streams.find(self._redis, client.name, stream_id)
        if not stream.is_polled:
            raise Unknown("this stream is pushed, not polled", reason="stream_unknown")
        return stream

    def _exchange(self, stream: Stream, asked: Poll) -> Offer:
        audience = self._ssf.receivers[stream.receiver].audience
        results = [(item, outbox.DELIVERED, "") for item in _items(asked.ack or [], audience)]
        errors = asked.set_errs or {}
        results += [
            (item, outbox.FAILED, _reason(error.err))
            for jti, error in errors.items()
            for item in _items([jti], audience)
        ]
        if results:
            ended = outbox.end_polled(self._redis, stream.id, results)
            log.info("ssf.acknowledged", stream=stream.id, ended=ended, errors=len(errors))
        return self._offer(stream, asked)

    def _offer(self, stream: Stream, asked: Poll) -> Offer:
        """Return what waits, oldest first: while the stream is not enabled, only that we say so."""
        number = SETS_MAX if asked.max_events is None else min(asked.max_events, SETS_MAX)
        items, more = outbox.polled(self._redis, stream.id, number)
        if items and status(self._redis, stream.id).word != ENABLED:
            items, more = outbox.announced(self._redis, stream.id), False
        return Offer(dict(self._signed(stream, items)), more)

    def _signed(self, stream: Stream, items: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield id and token of each item; what cannot be told ends here, for it would stand in the way for ever."""
        subscriber = streams.subscriber_of(stream, self._ssf, "", frozenset())
        for item, record in zip(items, self._records(items), strict=True):
            try:
                token = (
                    sets.token(self._signing, self._ssf.issuer, Told.of(record), item, subscriber) if record else None
                )
            except (GatepostError, KeyError, ValueError, TypeError) as error:
                log.error("ssf.unreadable", item=item, **fault(error))  # noqa: TRY400 - it may hold personal data
                reason = error.reason if isinstance(error, GatepostError) else UNREADABLE
                outbox.end_polled(self._redis, stream.id, [(item, outbox.FAILED, reason)], seen=True)
                continue
            if token is None:
                outbox.end_polled(self._redis, stream.id, [(item, outbox.DROPPED, GONE)], seen=True)
            else:
                yield sets.jti(item, str(subscriber.audience)), token

    def _records(self, items: Sequence[str]) -> list[dict[bytes, bytes]]:
        with self._redis.pipeline(transaction=False) as pipe:
            for item in items:
                pipe.hgetall(keys.signal(outbox.signal_of(item)))
            found: list[dict[bytes, bytes]] = pipe.execute()
        return found


def _there(redis: Redis, names: Sequence[str]) -> list[str]:
    with redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.exists(keys.polled(name))
            pipe.hmget(keys.subscriber(name), "paused_at", "disabled_at")
        found: Any = pipe.execute()
    stands = zip(names, found[::2], found[1::2], strict=True)
    return [name for name, exists, stopped in stands if exists and not any(stopped)]


async def _left(request: Request) -> None:
    await request.receive()


def _items(ids: Sequence[str], audience: str) -> list[str]:
    """Return the items that are meant; an id that is none of this receiver's tokens is ignored."""
    return [item for jti in ids if sets.jti(item := sets.item_of(jti), audience) == jti]


def _reason(err: str) -> str:
    return err if _WORD.fullmatch(err) else UNNAMED


def _answer(found: Offer) -> Response:
    return JSONResponse({"sets": found.sets, "moreAvailable": found.more})
