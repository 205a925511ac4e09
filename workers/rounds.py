"""What a worker looks at now and then while it works: what each target says of itself."""

import random
import threading
from collections.abc import Callable, Collection

import structlog
from redis.exceptions import RedisError

from lifecycle.log import fault
from workers.outcome import Place

ROUND_SECONDS = 60.0

log = structlog.get_logger()


class Rounds:
    """Looks at all targets in a thread of its own, for a slow one must keep nobody from being let in at a gate."""

    def __init__(self, places: Callable[[], Collection[Place]]) -> None:
        """Keep how to find the targets."""
        self._places = places
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="rounds")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the look that is being made."""
        self._done.set()
        self._thread.join()

    def make(self) -> None:
        """Look at each target once; most looks cost one question to Redis, for one process asks for all."""
        for place in self._places():
            with place.aside() as talk:
                place.discovery.refresh(talk)
                place.groups.nest(talk)

    def _run(self) -> None:
        # Processes that started together shall not ask together.
        while not self._done.wait(random.uniform(ROUND_SECONDS / 2, ROUND_SECONDS)):  # noqa: S311 - jitter, not a secret
            try:
                self.make()
            except RedisError as error:
                log.warning("rounds.no_redis", error=type(error).__name__)
            except Exception as error:  # noqa: BLE001 - the next round may go well
                log.error("rounds.fault", **fault(error))  # noqa: TRY400 - its text may hold what is personal
