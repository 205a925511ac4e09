"""The sweeper: offers again what nobody holds any more. One process of the fleet sweeps, the leader by lease.

RQ alone takes more than a minute to notice that a warm worker was killed. These are its looks:

* leases whose time has passed: their workers died, so who was worked on is offered at the front of a lane;
* jobs that were popped by a worker that died before it took a lease;
* jobs and events that are due and did not come;
* now and then all open events: one whose job is in no queue and no schedule, whatever lost it.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import structlog
from redis import Redis
from redis.exceptions import RedisError
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer

from lifecycle import keys
from lifecycle.event import State
from lifecycle.log import fault
from lifecycle.lookups import Lookups
from lifecycle.people import People
from lifecycle.queue import LANE_OF_KIND, LEAVERS, LOOKUPS, PEOPLE
from workers.offers import Offers, Work

TICK_SECONDS, TROUBLE_SECONDS = 0.4, 1.0
LEADER_MILLISECONDS = 1_500
# After a restart of Redis every lease and every heartbeat looks expired for a moment: nobody is taken for dead then,
# nor by a leader that has just begun, whose own connection may have been away with all the others'.
CALM_SECONDS, REDIS_CALM_SECONDS = 1.5, 5
# A live worker needs milliseconds from the pop to the lease.
ORPHAN_SECONDS = 1.5
DUE_SECONDS, AUDIT_SECONDS, AUDIT_AGE_SECONDS = 2.0, 15.0, 10.0
DEAD_MAX, LISTED_MAX, AUDIT_EVENTS_MAX = 100, 100, 500
# One that is due and was not begun by then has lost its job.
OVERDUE_SECONDS, OVERDUE_MAX = 3.0, 500

log = structlog.get_logger()


class Sweeper:
    """Sweeps in a thread with a connection of its own."""

    def __init__(self, redis: Redis, worker: str, people: People, queues: Mapping[str, Queue]) -> None:
        """Keep the connection; ``worker`` is the name of this process."""
        self._redis = redis
        self._worker = worker
        self._people = people
        self._queues = queues
        self._offers = Offers(redis, queues)
        self._leads_since: float | None = None
        self._audited_at = self._due_at = 0.0
        self._audited: dict[str, int] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="sweeper")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the look that is being made."""
        self._done.set()
        self._thread.join()

    def tick(self) -> None:
        """Look once, if this process leads."""
        if not self._leads():
            return
        looks = [self.resume_dead, self.resume_orphans, self.resume_overdue]
        if time.monotonic() - self._due_at > DUE_SECONDS:
            self._due_at = time.monotonic()
            looks.append(self.resume_due)
        if time.monotonic() - self._audited_at > AUDIT_SECONDS:
            self._audited_at = time.monotonic()
            looks.append(self.audit)
        for look in looks:
            try:
                look()
            except RedisError:
                raise
            except Exception as error:  # noqa: BLE001 - the other looks, and all of the next time, may go well
                log.error("sweeper.fault", **fault(error))  # noqa: TRY400 - its text may hold what is personal

    def _leads(self) -> bool:
        taken = self._redis.set(keys.LEADER, self._worker, nx=True, px=LEADER_MILLISECONDS)
        if not taken and self._redis.get(keys.LEADER) != self._worker.encode():
            self._leads_since = None
            return False
        self._redis.pexpire(keys.LEADER, LEADER_MILLISECONDS)
        if self._leads_since is None or taken:
            self._leads_since = time.monotonic()
        return True

    # ---- leases whose time has passed

    def resume_dead(self) -> None:
        """Offer whom dead workers worked on, and count the deaths with the events that they had read."""
        now = self._now()
        entries: Any = self._redis.zrangebyscore(keys.WORKING, "-inf", now, 0, DEAD_MAX, withscores=True)
        for entry, ended_at in entries:
            worker, _, key = entry.decode().partition("|")
            died = self._is_calm() and not self._redis.exists(keys.alive(worker))
            self._resume(key, entry, ended_at - keys.LEASE_MILLISECONDS if died else None)

    def _is_calm(self) -> bool:
        if self._leads_since is None or time.monotonic() - self._leads_since < CALM_SECONDS:
            return False
        told: Any = self._redis.info("server")
        return int(told["uptime_in_seconds"]) > REDIS_CALM_SECONDS

    def _resume(self, key: str, entry: bytes, died_at: float | None) -> None:
        """Offer a person and forget the dead worker, in one step; ``died_at`` is when it last renewed its lease."""
        read = [kept for kept in self._people.mailbox(key) if kept.state is not State.SCHEDULED]
        blamed = [kept for kept in read if died_at and kept.event.received_at.timestamp() * 1000 <= died_at]
        lanes = {LANE_OF_KIND[kept.event.kind] for kept in read}
        with self._redis.pipeline() as pipe:
            pipe.multi()
            pipe.zrem(keys.WORKING, entry)
            for kept in blamed:
                pipe.hincrby(keys.event(kept.event.ref), "deaths", 1)
            if read:
                self._offers.first(pipe, key, LEAVERS if LEAVERS in lanes else PEOPLE)
            pipe.execute()
        log.warning("person.resumed", died=died_at is not None, events=len(read))

    # ---- jobs that were popped and never begun

    def resume_orphans(self) -> None:
        """Offer what popped jobs are about whose worker died before it took a lease."""
        held = {job: lane for lane in self._queues for job in self._popped(lane)}
        for job in self._held_for_long(held):
            work = self._work(job)
            is_orphan = work is not None and not (work.worker and self._redis.exists(keys.alive(work.worker)))
            if is_orphan and work is not None:
                if self._offers.again(work, held[job]) and held[job] == LOOKUPS and work.worker and self._is_calm():
                    self._blame(work.arguments[0])
                self._bury(job, held[job])

    def _held_for_long(self, held: Mapping[str, str]) -> list[str]:
        """Return the jobs that were popped some time ago; when is known to every leader, however short it leads."""
        known: Any = self._redis.zrange(keys.POPPED, 0, -1)
        now = self._now()
        with self._redis.pipeline() as pipe:
            for job in {each.decode() for each in known} - held.keys():
                pipe.zrem(keys.POPPED, job)
            for job in held:
                pipe.zadd(keys.POPPED, {job: now}, nx=True)
            pipe.zrangebyscore(keys.POPPED, "-inf", now - ORPHAN_SECONDS * 1000)
            *_, old = pipe.execute()
        return [each.decode() for each in old]

    def _bury(self, job: str, lane: str) -> None:
        """Take a dead worker's job off RQ's books: RQ itself would run it once more, a minute or two later."""
        queue = self._queues[lane]
        begun: Any = self._redis.zrange(queue.started_job_registry.key, 0, -1)
        with self._redis.pipeline() as pipe:
            pipe.lrem(queue.intermediate_queue_key, 0, job)
            for entry in begun:
                if _job_of(entry) == job:
                    pipe.zrem(queue.started_job_registry.key, entry)
            pipe.delete(Job.key_for(job))
            pipe.zrem(keys.POPPED, job)
            pipe.execute()

    def _blame(self, key: str) -> None:
        """Count the death of whoever looked a person up, which takes no lease, with what there was to be read."""
        for kept in Lookups(self._people).unread(key):
            self._redis.hincrby(keys.event(kept.event.ref), "deaths", 1)

    def _popped(self, lane: str) -> Iterator[str]:
        queue = self._queues[lane]
        waiting: Any = self._redis.lrange(queue.intermediate_queue_key, 0, LISTED_MAX - 1)
        begun: Any = self._redis.zrange(queue.started_job_registry.key, 0, LISTED_MAX - 1)
        yield from map(_job_of, (*waiting, *begun))

    def _work(self, job_id: str) -> Work | None:
        try:
            job = Job.fetch(job_id, connection=self._redis, serializer=JSONSerializer)
        except NoSuchJobError:
            return None
        return Work(str(job.func_name), tuple(str(each) for each in job.args or ()), job.worker_name)

    # ---- what is due, and whatever else nobody holds

    def resume_overdue(self) -> None:
        """Offer scheduled jobs that are late: RQ's scheduler died, and its lock lasts for a minute after that."""
        late = int(self._now() / 1000 - OVERDUE_SECONDS)
        for queue in self._queues.values():
            registry = queue.scheduled_job_registry
            ids = registry.get_jobs_to_schedule(late, OVERDUE_MAX)
            jobs = Job.fetch_many(ids, connection=self._redis, serializer=JSONSerializer) if ids else []
            for job_id, job in zip(ids, jobs, strict=True):
                with self._redis.pipeline() as pipe:
                    if job is not None:
                        queue.enqueue_job(job, pipeline=pipe)
                    registry.remove(job_id, pipeline=pipe)
                    pipe.execute()

    def resume_due(self) -> None:
        """Offer scheduled events whose moment has passed and whose job did not come."""
        late = self._now() - OVERDUE_SECONDS * 1000
        refs: Any = self._redis.zrangebyscore(keys.DUE, "-inf", late, 0, AUDIT_EVENTS_MAX)
        self._offers.events([ref.decode() for ref in refs])

    def audit(self) -> None:
        """Offer each open event that no queue, no schedule, no line and no live lease holds."""
        self._offers.events([ref for lane in (LEAVERS, LOOKUPS, PEOPLE) for ref in self._old(lane)])

    def _old(self, lane: str) -> list[str]:
        """Return open events that are not quite new: the next of them at each audit, and then from the first again."""
        late = self._now() - AUDIT_AGE_SECONDS * 1000
        start = self._audited.get(lane, 0)
        refs: Any = self._redis.zrangebyscore(keys.open_events(lane), "-inf", late, start, AUDIT_EVENTS_MAX)
        self._audited[lane] = start + len(refs) if len(refs) == AUDIT_EVENTS_MAX else 0
        return [ref.decode() for ref in refs]

    def _now(self) -> float:
        now: Any = self._redis.time()
        seconds, microseconds = now
        return float(seconds) * 1000 + float(microseconds) / 1000

    def _run(self) -> None:
        pause = 0.0
        while not self._done.wait(pause):
            pause = TICK_SECONDS
            try:
                self.tick()
            except RedisError as error:
                log.warning("sweeper.no_redis", error=type(error).__name__)
                self._leads_since, pause = None, TROUBLE_SECONDS


def _job_of(entry: bytes) -> str:
    """Return the job that an entry of RQ's names: one of a registry is a job and its execution."""
    return entry.decode().partition(":")[0]
