"""The pulse of a worker process: says that it lives, and renews the lease of whom it works on, in a thread of its own.

So a lease can be short, and a slow target costs nobody its lock.
"""

import threading
from collections.abc import Callable

import structlog
from redis import Redis
from redis.exceptions import RedisError

from lifecycle import keys

PULSE_SECONDS = 0.8

log = structlog.get_logger()


class Pulse:
    """Beats until the process ends."""

    def __init__(self, redis: Redis, worker: str, renew: Callable[[], None]) -> None:
        """Keep the worker's name and how its leases are renewed."""
        self._redis = redis
        self._worker = worker
        self._renew = renew
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="pulse")

    def start(self) -> None:
        """Beat once, and then again and again."""
        self.beat()
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._done.set()
        self._thread.join()

    def beat(self) -> None:
        """Say that the worker lives, and renew its leases."""
        self._redis.set(keys.alive(self._worker), "1", px=keys.ALIVE_MILLISECONDS)
        self._renew()

    def _run(self) -> None:
        while not self._done.wait(PULSE_SECONDS):
            try:
                self.beat()
            except RedisError as error:
                log.warning("pulse.no_redis", error=type(error).__name__)
