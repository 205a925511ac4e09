"""The lane of signals as a program: fans out and sends until a signal ends it."""

import asyncio
import resource
import signal
from functools import partial
from typing import Any

import structlog
from redis import Redis as SyncRedis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from lifecycle import keys
from lifecycle.config import Config
from lifecycle.forgetting import drop, forget
from lifecycle.queue import WORKER_RETRIES, WORKER_RETRY_SECONDS_MAX, connect
from lifecycle.roster import roster
from lifecycle.ssf.streams import finish_deletions
from workers.outbox.fan_out import FanOut
from workers.outbox.known import Known
from workers.outbox.post import ON_THEIR_WAY_MAX, Post
from workers.subscribers import FORMATS
from workers.subscribers.carrier import Carrier

UNKNOWN = "subscriber_unknown"

FILES_MAX = 65_536
"""A connection for each letter on its way, and for each that is kept a while."""

log = structlog.get_logger()


def work(config: Config) -> None:
    """Work until SIGTERM or SIGINT; what is on its way then is waited for."""
    _allow_files()
    asyncio.run(_work(config))


def _allow_files() -> None:
    """Allow as many open files as this machine grants: many subscribers take more than the usual limit."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if most == resource.RLIM_INFINITY else min(most, FILES_MAX)
    if soft != resource.RLIM_INFINITY and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


async def _work(config: Config) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    redis, waiting, patient = open_redis(config), open_redis(config), connect(config.redis.url, patient=True)
    known = Known(config, redis, patient)
    await asyncio.to_thread(dismiss, patient, config)
    await known.refresh()
    carriers = partial(Carrier, ports=frozenset(config.signals.ports), connections_max=ON_THEIR_WAY_MAX)
    post = Post(redis, known, FORMATS, carriers)
    fan_out = FanOut(waiting, known, post.wake)
    async with asyncio.TaskGroup() as group:
        group.create_task(fan_out.run(stopping))
        group.create_task(post.run(stopping))
    for each in (redis, waiting):
        await each.aclose()
    patient.close()


def open_redis(config: Config) -> Redis:
    """Open a pool that lives through a restart of Redis."""
    retry = Retry(ExponentialBackoff(cap=WORKER_RETRY_SECONDS_MAX, base=0.05), WORKER_RETRIES)
    return Redis.from_url(config.redis.url, retry=retry, retry_on_error=[RedisConnectionError, RedisTimeoutError])


def dismiss(redis: SyncRedis, config: Config) -> None:
    """End what waits for whoever is gone from the configuration, and forget who they were."""
    finish_deletions(redis)
    # The names first: whoever is made after they were read is not among them.
    names: Any = redis.smembers(keys.SUBSCRIBER_NAMES)
    for name in sorted({each.decode() for each in names} - roster(redis, config).names):
        # A stream whose receiver is not configured any more may come back, and is as that receiver left it.
        end = drop if redis.hexists(keys.STREAMS, name) else forget
        dropped = end(redis, name, UNKNOWN)
        log.warning("subscriber.dismissed", subscriber=name, dropped=dropped)
