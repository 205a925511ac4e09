"""The keeper of the gates: lets in who waits, in the order of the line, as soon as there is room.

One runs in each worker process; a step is atomic, so several harm nobody. Who is let in has its requests reserved
before its job is offered, at the front of its lane: no job is run only to be turned away again. Whoever does not come
is in line again after ``workers.gate.GRANT_SECONDS``.
"""

import random
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from redis import Redis
from redis.exceptions import RedisError
from rq import Queue

from lifecycle import keys
from lifecycle.log import fault
from lifecycle.queue import CONVERGE, LEAVERS, PEOPLE, offer
from workers.gate import Gate, Let

BUSY_SECONDS, IDLE_SECONDS, TROUBLE_SECONDS = 0.05, 0.25, 1.0

log = structlog.get_logger()


class Keeper:
    """Keeps the gates of all targets, in a thread with a connection of its own."""

    def __init__(self, redis: Redis, gates: Sequence[Gate], queues: Mapping[str, Queue]) -> None:
        """Keep the gates, made with this connection, and the lanes."""
        self._redis = redis
        self._gates = list(gates)
        self._queues = queues
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="keeper")

    def start(self) -> None:
        """Say which targets there are, send on whoever waits for one that is gone, and begin."""
        names = {gate.name for gate in self._gates}
        known: Any = self._redis.smembers(keys.TARGETS)
        for name in {each.decode() for each in known} - names:
            self._dismiss(name)
        if names:
            self._redis.sadd(keys.TARGETS, *names)
        self._thread.start()

    def stop(self) -> None:
        """End, after the step that is being made."""
        self._done.set()
        self._thread.join()

    def tick(self) -> int:
        """Let in who may; return how many still wait."""
        # Targets may share a credential: none is always the first to take of it.
        random.shuffle(self._gates)
        return sum(self._let_in(gate) for gate in self._gates)

    def _let_in(self, gate: Gate) -> int:
        waiting, let = gate.let_in()
        if let:
            self._offer(let)
        return waiting

    def _dismiss(self, name: str) -> None:
        """End the line before a target that is no longer configured: the job of each settles what waited for it."""
        persons: Any = [*self._redis.zrange(keys.waiting(name), 0, -1), *self._redis.hkeys(keys.granted(name))]
        self._offer([Let(person.decode(), leaver=False) for person in persons])
        self._redis.delete(keys.waiting(name), keys.needs(name), keys.granted(name))
        self._redis.srem(keys.TARGETS, name)

    def _offer(self, let: Sequence[Let]) -> None:
        with self._redis.pipeline() as pipe:
            # The one offered last is at the front.
            for person, leaver in reversed(let):
                lane = LEAVERS if leaver else PEOPLE
                offer(pipe, self._queues[lane], CONVERGE, person, lane, first=True)
            pipe.execute()

    def _run(self) -> None:
        pause = 0.0
        while not self._done.wait(pause):
            try:
                pause = BUSY_SECONDS if self.tick() else IDLE_SECONDS
            except RedisError as error:
                log.warning("keeper.no_redis", error=type(error).__name__)
                pause = TROUBLE_SECONDS
            except Exception as error:  # noqa: BLE001 - without its keeper nobody who waits is ever let in
                log.error("keeper.fault", **fault(error))  # noqa: TRY400 - its text may hold what is personal
                pause = TROUBLE_SECONDS
