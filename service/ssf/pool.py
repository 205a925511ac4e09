"""Redis for the endpoints of the transmitter: in the thread pool, for these are few."""

from collections.abc import Callable
from typing import TypeVar

from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool

from lifecycle.errors import Unavailable

Found = TypeVar("Found")


async def in_pool(ask: Callable[[], Found]) -> Found:
    """Ask in the thread pool. Raises Unavailable where Redis is away, and whatever else the question raises."""
    try:
        return await run_in_threadpool(ask)
    except (RedisError, OSError) as error:
        raise Unavailable("Redis is not reachable or not writable", reason="redis") from error
