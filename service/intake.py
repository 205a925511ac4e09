"""The way of accepted notices into Redis: all that wait at the same moment share one round trip.

Each request still waits for its own answer; nothing is acknowledged before Redis has it. With ``appendfsync always``
the notices of one round trip share one fsync as well, which is why durability costs next to nothing here.
"""

import asyncio
import math
from collections.abc import Sequence
from typing import Any

from hiredis import pack_command
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from lifecycle.errors import Unavailable
from lifecycle.event import EVENTS_MAX, Event
from lifecycle.queue import ANSWER_SECONDS, CONNECT_SECONDS, PUT, PUT_SHA, JobWriter, put_arguments

WAITING_MAX = 10_000
ROUND_TRIP_MAX = 256

Waiting = list[tuple[bytes, asyncio.Future[Any]]]


class Intake:
    """Collects what concurrent requests want to keep and flushes it together."""

    def __init__(self, url: str) -> None:
        """Prepare connections that fail at once, so that the receiver can answer 503 in time."""
        pool = ConnectionPool.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=ANSWER_SECONDS,
        )
        self._redis = Redis(connection_pool=pool)
        # The notices' own: a command is packed once and its answer read as it comes, at a third of a pipeline's cost.
        self._connection = pool.make_connection()  # type: ignore[no-untyped-call]
        self._waiting: Waiting = []
        self._flushing: asyncio.Task[None] | None = None
        self._writer = JobWriter()

    async def put(self, events: Sequence[Event]) -> int:
        """Keep the events of one notice and return how many are new. Raises Unavailable when Redis takes none.

        A large notice is more than one step: what of it was kept before a fault is a duplicate when it comes again.
        """
        return sum([await self._put(events[start : start + EVENTS_MAX]) for start in range(0, len(events), EVENTS_MAX)])

    async def _put(self, events: Sequence[Event]) -> int:
        return sum(await self._wait_for(("EVALSHA", PUT_SHA, 0, *put_arguments(events, self._writer))))

    async def note(self, commands: Sequence[tuple[Any, ...]]) -> None:
        """Run commands, in the notices' own round trip and not as one step. Raises Unavailable."""
        await asyncio.gather(*map(self._wait_for, commands))

    def _wait_for(self, command: tuple[Any, ...]) -> asyncio.Future[Any]:
        """Let a command join the next round trip. Raises Unavailable, now or when its answer is there."""
        if len(self._waiting) >= WAITING_MAX:
            raise Unavailable("too many notices wait for Redis", reason="overloaded")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((pack_command(command), future))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        return future

    async def run(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run commands in one transaction and return what they answer. Raises Unavailable."""
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                return await pipe.execute()
        except (RedisError, OSError) as error:
            raise Unavailable("Redis is not reachable or not writable", reason="redis") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.disconnect()
        await self._redis.connection_pool.disconnect()

    async def _flush(self) -> None:
        # Let every request that is ready in this turn of the loop join the first round trip.
        await asyncio.sleep(0)
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:ROUND_TRIP_MAX], self._waiting[ROUND_TRIP_MAX:]
                await self._send(batch)
        finally:
            self._flushing = None

    async def _send(self, batch: Waiting) -> None:
        try:
            answers = await self._evaluate([command for command, _ in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, each request of the batch waits to hear of it
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

    async def _evaluate(self, commands: list[bytes]) -> list[Any]:
        answers = await self._evaluate_once(commands)
        missing = [place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if missing:
            # A restarted Redis has forgotten the script; a notice is refused as a whole, so sending again is safe.
            await self._redis.script_load(PUT)
            again = await self._evaluate_once([commands[place] for place in missing])
            for place, answer in zip(missing, again, strict=True):
                answers[place] = answer
        return answers

    async def _evaluate_once(self, commands: list[bytes]) -> list[Any]:
        async with asyncio.timeout(ANSWER_SECONDS):
            # An end that waits to be read: Redis was restarted meanwhile, which is no reason to answer 503 now.
            if self._connection.is_connected and await self._connection.can_read():
                await self._connection.disconnect()
            await self._connection.send_packed_command(commands)
            return [await self._answer() for _ in commands]

    async def _answer(self) -> Any:  # noqa: ANN401 - what the script returns, or why it did not
        try:
            return await self._connection.read_response(timeout=math.inf)  # the caller's limit holds for all of them
        except ResponseError as error:
            return error
