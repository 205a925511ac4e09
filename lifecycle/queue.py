"""Lanes, jobs, and ``put``: the one atomic step that keeps the events of a notice and offers them to the workers.

The jobs are RQ's own, made by RQ's public API and written by one Lua script together with what they are about, so that
any RQ worker with the JSON serializer can run them. A job only names a person: what to do is in the person's mailbox.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

from redis import Redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry as RedisRetry
from rq import Queue, Retry
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import utcformat

from lifecycle.event import Event, Kind

LEAVERS, LOOKUPS, PEOPLE, SIGNALS = "leavers", "lookups", "people", "signals"
LANES = (LEAVERS, LOOKUPS, PEOPLE, SIGNALS)
QUEUES = (LEAVERS, LOOKUPS, PEOPLE)
"""The lanes that RQ carries; that of signals is the outbox."""
LANE_OF_KIND = {Kind.LEAVER: LEAVERS, Kind.JOINER: PEOPLE, Kind.MOVER: PEOPLE, Kind.CHANGED: LOOKUPS}
"""A thin event is looked up first, and then goes on as what it turned out to be."""

CONVERGE = "workers.jobs.converge"

JOB_SECONDS_MAX = 45
# RQ fails a job without Retry as soon as its worker dies. These are for deaths; trouble of a target is postponed by the
# job.
DEATHS_MAX = 10
RETRY_SECONDS = (1, 2, 4, 8, 15, 30, 60, 60, 60, 60)

CONNECT_SECONDS = 0.5
ANSWER_SECONDS = 2.0
LATEST = datetime(9999, 1, 1, tzinfo=UTC)  # "never", as some write it; the calendar ends soon after
WORKER_RETRIES = 16
WORKER_RETRY_SECONDS_MAX = 1.0

# ARGV, for each event: ref, person, doc, received ms, lane, push, job id, n, n/2 pairs that differ from COMMON.
# Answers 1 for each event that is new and 0 for each that was here before. A person gets one job a lane and notice.
_PUT = """
local answers, offered, i = {}, {}, 1
while i <= #ARGV do
  local ref, person, doc, at, lane, push, job, n = unpack(ARGV, i, i + 7)
  local event = 'gatepost:event:' .. ref
  if redis.call('HSETNX', event, 'doc', doc) == 0 then
    answers[#answers + 1] = 0
  else
    answers[#answers + 1] = 1
    redis.call('HSET', event, 'state', 'kept')
    redis.call('RPUSH', (lane == 'lookups' and 'gatepost:unread:' or 'gatepost:mailbox:') .. person, ref)
    redis.call('ZADD', 'gatepost:events', at, ref)
    redis.call('ZADD', 'gatepost:events:kept', at, ref)
    redis.call('ZADD', 'gatepost:open:' .. lane, at, ref)
    redis.call('ZADD', 'gatepost:person-events:' .. person, at, ref)
    if not offered[lane .. person] then
      offered[lane .. person] = true
      redis.call('SADD', 'rq:queues', 'rq:queue:' .. lane)
      redis.call('HSET', 'rq:job:' .. job, COMMON, unpack(ARGV, i + 8, i + 7 + n))
      redis.call(push, 'rq:queue:' .. lane, job)
    end
  end
  i = i + 8 + n
end
return answers
"""


def connect(url: str, *, patient: bool) -> Redis:
    """Open a pool. A patient one lives through a restart of Redis; the other fails at once, to answer 503."""
    if not patient:
        return Redis.from_url(
            url,
            retry=RedisRetry(NoBackoff(), 0),
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=ANSWER_SECONDS,
        )
    backoff = ExponentialBackoff(cap=WORKER_RETRY_SECONDS_MAX, base=0.05)
    errors: list[type[Exception]] = [RedisConnectionError, RedisTimeoutError]
    return Redis.from_url(url, retry=RedisRetry(backoff, WORKER_RETRIES), retry_on_error=errors)


def lanes(redis: Redis) -> dict[str, Queue]:
    """Return the RQ queues by lane."""
    return {lane: Queue(lane, connection=redis, serializer=JSONSerializer) for lane in QUEUES}


def _retry() -> Retry:
    return Retry(max=DEATHS_MAX, interval=list(RETRY_SECONDS))


def offer(pipe: Pipeline, queue: Queue, func: str, *args: str, at: datetime | None = None, first: bool = False) -> None:
    """Add a job to the caller's atomic step, at once or not before a moment. Its description names nobody."""
    options: dict[str, Any] = {
        "job_timeout": JOB_SECONDS_MAX,
        "result_ttl": 0,
        "description": func,
        "retry": _retry(),
        "pipeline": pipe,
    }
    if at is None:
        queue.enqueue(func, *args, at_front=first, **options)
    else:
        # RQ cuts moments to whole seconds, and a job that comes early finds that nothing is due yet.
        at = min(at, LATEST)
        whole = at if at.microsecond == 0 else at.replace(microsecond=0) + timedelta(seconds=1)
        queue.enqueue_at(whole, func, *args, at_front=first, **options)


def _common() -> tuple[Any, ...]:
    """Return the fields and values that all jobs have in common."""
    queue = Queue(PEOPLE, connection=Redis(), serializer=JSONSerializer)
    job: Job = queue.create_job(
        CONVERGE,
        timeout=JOB_SECONDS_MAX,
        result_ttl=0,
        description=CONVERGE,
        retry=_retry(),
    )
    differing = ("origin", "data", "created_at", "enqueued_at")
    return tuple(part for name, value in job.to_dict().items() if name not in differing for part in (name, value))


COMMON = _common()
# In the script, for it would be a third of each command.
PUT = _PUT.replace("COMMON", ", ".join(map(json.dumps, COMMON)))  # a text or number of JSON is one of Lua
PUT_SHA = hashlib.sha1(PUT.encode(), usedforsecurity=False).hexdigest()


class JobWriter:
    """Writes jobs: what is the same in all of them RQ's public API made once, the rest is written here."""

    def __init__(self) -> None:
        """Start a family of names."""
        self._family = uuid4().hex
        self._numbers = count(1)

    def name(self) -> str:
        """Return an id that no job ever had: random bytes for each job would be a system call for each."""
        return f"{self._family}-{next(self._numbers)}"

    def write(self, lane: str, person: str, now: str) -> list[Any]:
        """Return the fields and values of a job's hash that are not COMMON, one after the other."""
        # RQ compresses its data and reads both; compressing so little would cost more than all else that a job takes.
        data = f'["{CONVERGE}", null, [{json.dumps(person)}, "{lane}"], {{}}]'
        return ["origin", lane, "data", data, "created_at", now, "enqueued_at", now]


def arguments_of(data: bytes) -> list[str]:
    """Return what a job of ours is about, from its data alone: RQ compresses it, and JobWriter does not."""
    text = data if data.startswith(b"[") else zlib.decompress(data)
    _, _, arguments, _ = json.loads(text)
    return [str(each) for each in arguments]


def put_arguments(events: Sequence[Event], writer: JobWriter) -> list[Any]:
    """Return the arguments of the PUT script for the events of one notice."""
    arguments: list[Any] = []
    now = utcformat(datetime.now(UTC))
    for event in events:
        lane = LANE_OF_KIND[event.kind]
        fields = writer.write(lane, event.person, now)
        at = int(event.received_at.timestamp() * 1000)
        # Whoever may be a leaver is looked up before all others.
        push = "LPUSH" if event.hint is Kind.LEAVER else "RPUSH"
        arguments += [event.ref, event.person, event.to_json(), at, lane, push, writer.name(), len(fields), *fields]
    return arguments


def lanes_of(kinds: Iterable[Kind]) -> str:
    """Return the lane for work on events of these kinds: leavers first."""
    return LEAVERS if Kind.LEAVER in kinds else PEOPLE
