"""The way of accepted notices into Redis: all that wait at the same moment share one round trip.

Each request still waits for its own answer; nothing is acknowledged before Redis has it. With ``appendfsync always``
the notices of one round trip share one fsync as well, which is why durability costs next to nothing here.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from lifecycle.errors import Unavailable
from lifecycle.event import Event
from lifecycle.queue import ANSWER_SECONDS, CONNECT_SECONDS, PUT, PUT_SHA, JobWriter, put_arguments

WAITING_MAX = 10_000
ROUND_TRIP_MAX = 256

Arguments = list[Any]


class Intake:
    """Collects what concurrent requests want to keep and flushes it together."""

    def __init__(self, url: str) -> None:
        """Prepare a connection that fails at once, so that the receiver can answer 503 in time."""
        self._redis = Redis.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            single_connection_client=True,
        )
        self._waiting: list[tuple[Arguments, asyncio.Future[list[int]]]] = []
        self._flushing: asyncio.Task[None] | None = None
        self._writer = JobWriter()

    async def put(self, events: Sequence[Event]) -> int:
        """Keep a notice's events and return how many are new. Raises Unavailable when Redis did not take them."""
        if len(self._waiting) >= WAITING_MAX:
            raise Unavailable("too many notices wait for Redis", reason="overloaded")
        future: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._waiting.append((put_arguments(events, self._writer), future))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        return sum(await future)

    async def run(self, commands: Sequence[tuple[Any, ...]]) -> None:
        """Run commands in one transaction. Raises Unavailable."""
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                await pipe.execute()
        except (RedisError, OSError) as error:
            raise Unavailable("Redis is not reachable or not writable", reason="redis") from error

    async def close(self) -> None:
        """Close the connection."""
        await self._redis.aclose()

    async def _flush(self) -> None:
        # Let every request that is ready in this turn of the loop join the first round trip.
        await asyncio.sleep(0)
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:ROUND_TRIP_MAX], self._waiting[ROUND_TRIP_MAX:]
                await self._send(batch)
        finally:
            self._flushing = None

    async def _send(self, batch: list[tuple[Arguments, asyncio.Future[list[int]]]]) -> None:
        try:
            answers = await self._evaluate([arguments for arguments, _ in batch])
        except (RedisError, OSError) as error:
            answers = [error] * len(batch)
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue  # the client went away; what Redis has is kept all the same
            if isinstance(answer, Exception):
                unavailable = Unavailable("Redis is not reachable or not writable", reason="redis")
                unavailable.__cause__ = answer
                future.set_exception(unavailable)
            else:
                future.set_result(answer)

    async def _evaluate(self, arguments: list[Arguments]) -> list[Any]:
        answers = await self._evaluate_once(arguments)
        missing = [place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if missing:
            # A Redis that was restarted has forgotten the script; a notice is refused as a whole, so sending again is
            # safe.
            await self._redis.script_load(PUT)
            again = await self._evaluate_once([arguments[place] for place in missing])
            for place, answer in zip(missing, again, strict=True):
                answers[place] = answer
        return answers

    async def _evaluate_once(self, arguments: list[Arguments]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for each in arguments:
                pipe.execute_command("EVALSHA", PUT_SHA, 0, *each)
            return list(await pipe.execute(raise_on_error=False))
