"""Offers: a person once more to the workers, but nobody who is worked on, waits, or has a job.

What is offered once too often is harmless: a job that finds an empty mailbox makes no request.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import structlog
from redis import Redis
from rq import Queue
from rq.job import Job

from lifecycle import keys
from lifecycle.event import OPEN_STATES, State
from lifecycle.queue import CONVERGE, LANE_OF_KIND, LEAVERS, LOOKUPS, PEOPLE, arguments_of, offer
from lifecycle.settlement import KEPT_FIELDS, kept_of

JOBS_MAX = 5_000
RESUMED_MILLISECONDS = 3_000

log = structlog.get_logger()


class Work(NamedTuple):
    """What a job is about: a person."""

    func: str
    arguments: tuple[str, ...]
    worker: str | None


class Offers:
    """What the sweeper offers."""

    def __init__(self, redis: Redis, queues: Mapping[str, Queue]) -> None:
        """Keep the connection and the lanes."""
        self._redis = redis
        self._queues = queues

    def again(self, work: Work, lane: str) -> bool:
        """Offer what a job was about, unless somebody works on it or it was just offered; return whether it was."""
        key = work.arguments[0]
        if work.func != CONVERGE or not self._is_wanted(key, lane):
            return False
        if not self._redis.set(keys.resumed(":".join(work.arguments)), "1", nx=True, px=RESUMED_MILLISECONDS):
            return False
        with self._redis.pipeline() as pipe:
            self.first(pipe, key, lane)
            pipe.execute()
        log.warning("job.resumed", lane=lane)
        return True

    def _is_wanted(self, key: str, lane: str) -> bool:
        """Tell whether there is something to do of which nobody has the lease; a look takes none."""
        if lane == LOOKUPS:
            return bool(self._redis.exists(keys.unread(key)))
        return not self._redis.exists(keys.lease(key)) and bool(self._redis.exists(keys.mailbox(key)))

    def first(self, pipe: Any, key: str, lane: str) -> None:  # noqa: ANN401 - redis-py's Pipeline
        """Offer a person at the front of a lane, in the caller's step."""
        offer(pipe, self._queues[lane], CONVERGE, key, lane, first=True)

    def events(self, refs: Sequence[str]) -> None:
        """Offer each person who has one of these events and neither a job nor a place in a line; a look is apart.

        Of a lane with so many jobs that not all can be looked at nobody is offered: it works, or its jobs are there.
        """
        if not refs:
            return
        working, looking = self._persons_with_jobs(LEAVERS, PEOPLE), self._persons_with_jobs(LOOKUPS)
        worked_on = working | self._persons_in_line() if working is not None else None
        for ref in refs:
            record: Any = self._redis.hmget(keys.event(ref), *KEPT_FIELDS)
            person, state, lane = _standing(record)
            offered = looking if lane == LOOKUPS else worked_on
            if person is None or offered is None or person in offered or state not in OPEN_STATES:
                continue
            offered.add(person)
            self.again(Work(CONVERGE, (person, lane), None), lane)

    def _persons_with_jobs(self, *lanes: str) -> set[str] | None:
        """Return whom any job is about; None where there are more than can be looked at."""
        ids: list[bytes] = []
        for queue in (self._queues[lane] for lane in lanes):
            lists: Any = (
                self._redis.lrange(queue.key, 0, JOBS_MAX),
                self._redis.zrange(queue.scheduled_job_registry.key, 0, JOBS_MAX),
            )
            if any(len(found) > JOBS_MAX for found in lists):
                return None
            ids += [*lists[0], *lists[1]]
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.hget(Job.key_for(job_id.decode()), "data")
            return {arguments_of(data)[0] for data in pipe.execute() if data}

    def _persons_in_line(self) -> set[str]:
        targets: Any = self._redis.smembers(keys.TARGETS)
        found: set[bytes] = set()
        for target in targets:
            lines: Any = self._redis.zrange(keys.waiting(target.decode()), 0, -1)
            let_in: Any = self._redis.hkeys(keys.granted(target.decode()))
            found |= {*lines, *let_in}
        return {each.decode() for each in found}


def _standing(record: list[bytes | None]) -> tuple[str | None, State, str]:
    """Return whose an event is, where it stands, and its lane; nobody's where its record is gone."""
    kept = kept_of(record) if record[0] is not None else None
    if kept is None:
        return None, State.IGNORED, PEOPLE
    return kept.event.person, kept.state, LANE_OF_KIND[kept.event.kind]
