"""The watcher: a thread in the workers of the look-ups that does whatever is due for a source, one source at a time.

One process of the fleet works on a source at a time, by a lease. What a turn found is kept before it is written up to
where it came, so a watcher that dies at any instant is taken over within seconds and nothing is passed over: what was
found twice has the same name and is one event.
"""

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import structlog
from redis import Redis
from redis.exceptions import RedisError

from lifecycle import keys
from lifecycle.errors import GatepostError, Postponed
from lifecycle.leases import LeaseLost
from lifecycle.log import fault
from lifecycle.watching import NAMED_SECONDS_MAX, Watch, name_sources, watch_of
from workers.watch.base import Task, Turn, retry_at
from workers.watch.lease import Lease, take
from workers.watch.replies import Replies

TICK_SECONDS, TROUBLE_SECONDS = 1.0, 5.0
UNREADABLE = "how it stood could not be read, so it was begun anew"

log = structlog.get_logger()


class Watcher:
    """Watches in a thread with a connection of its own."""

    def __init__(
        self,
        redis: Redis,
        worker: str,
        tasks: Mapping[str, Sequence[Task]],
        replies: Replies,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Keep the name of this process, and the tasks of every configured source; of most there are none."""
        self._redis = redis
        self._worker = worker
        self._tasks = tasks
        self._replies = replies
        self._clock = clock
        self._corrected: dict[tuple[str, str], float] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="watcher")

    def start(self) -> None:
        """Say which sources there are, and begin."""
        name_sources(self._redis, {name: [task.name for task in tasks] for name, tasks in self._tasks.items()})
        self._thread.start()

    def stop(self) -> None:
        """End, after the turn that is being made."""
        self._done.set()
        self._thread.join()

    def tick(self) -> None:
        """Do what is due, if no other process does it."""
        names = [name for name, tasks in self._tasks.items() if tasks]
        random.shuffle(names)
        for name in names:
            self._guarded(partial(self._watch, name))
        self._guarded(self._replies.send_due)

    def _guarded(self, step: Callable[[], None]) -> None:
        """Let a fault of one source keep no other waiting."""
        try:
            step()
        except RedisError:
            raise
        except LeaseLost:
            log.warning("watch.lease_lost")
        except Exception as error:  # noqa: BLE001 - the next turn may go well
            log.error("watch.fault", **fault(error))  # noqa: TRY400 - its text may hold what is personal

    def _watch(self, source: str) -> None:
        due = [task for task in self._tasks[source] if self._is_due(source, task)]
        lease = take(self._redis, keys.watching(source), self._worker) if due else None
        if lease is None:
            return
        try:
            for task in due:
                # Another process may have done it between our look and our lease.
                if self._is_due(source, task):
                    self._take_turn(source, task, lease)
        finally:
            # Else it ends by itself.
            with suppress(RedisError):
                lease.free()

    def _is_due(self, source: str, task: Task) -> bool:
        watch = watch_of(self._redis, source, task.name)
        if watch is None:
            return True
        now, every = self._clock(), task.every.total_seconds()
        if watch.is_ahead(now):
            # A clock that stays ahead writes so again after each turn of ours.
            return abs(now - self._corrected.get((source, task.name), float("-inf"))) >= every
        # One that is done more often than before is not waited for as long as before.
        due_at = watch.due_at if watch.fault else min(watch.due_at, (watch.done_at or watch.begun_at) + every)
        return due_at <= now or (watch.fault is None and task.is_called())

    def _take_turn(self, source: str, task: Task, lease: Lease) -> None:
        latest = before = self._stands(source, task)

        def keep(watch: Watch) -> None:
            nonlocal latest
            lease.write(keys.watch(source), task.name, watch.model_dump_json())
            latest = watch

        keep(before)
        try:
            keep(task.run(before, Turn(lease, keep, self._clock)))
        except LeaseLost:
            raise
        except GatepostError as error:
            blind = task.is_blind(latest, self._clock())
            keep(latest.failed(f"{error.reason}: {error.message}", self._again_at(error, latest), blind=blind))
        except RedisError:
            raise
        except Exception as error:
            again_at = retry_at(self._clock(), latest.tries)
            keep(latest.failed(f"a fault of ours: {type(error).__name__}", again_at, blind=True))
            raise
        _tell(source, task.name, before, latest)

    def _stands(self, source: str, task: Task) -> Watch:
        """Return how a task stands, to go on from there."""
        now, every = self._clock(), task.every.total_seconds()
        watch = watch_of(self._redis, source, task.name)
        if watch is None:
            begun = Watch(begun_at=now, every_seconds=every)
            return begun.miss(UNREADABLE, now) if self._redis.hexists(keys.watch(source), task.name) else begun
        if watch.is_ahead(now):
            self._corrected[source, task.name] = now
            log.warning("watch.clock_ahead", source=source, task=task.name)
        return watch.as_of(now).model_copy(update={"every_seconds": every})

    def _again_at(self, error: GatepostError, watch: Watch) -> float:
        now = self._clock()
        named = error.retry_at.timestamp() if isinstance(error, Postponed) and error.retry_at else now
        return max(retry_at(now, watch.tries), min(named, now + NAMED_SECONDS_MAX))

    def _run(self) -> None:
        pause = TICK_SECONDS * random.random()  # noqa: S311 - jitter, not a secret
        while not self._done.wait(pause):
            pause = TICK_SECONDS
            try:
                self.tick()
            except RedisError as error:
                log.warning("watcher.no_redis", error=type(error).__name__)
                pause = TROUBLE_SECONDS


def _tell(source: str, task: str, before: Watch, after: Watch) -> None:
    """Log what has changed: a task that goes on failing, or goes on well, is told once."""
    facts: dict[str, Any] = {"source": source, "task": task, "blind_since": after.blind_since}
    if after.fault and after.fault != before.fault:
        log.warning("watch.failed", **facts, reason=after.fault.partition(":")[0])
    elif before.fault and not after.fault:
        log.info("watch.mended", **facts, tries=before.tries)
    elif (before.blind_since is None) != (after.blind_since is None):
        log.warning("watch.blind" if after.blind_since else "watch.sees", **facts)
