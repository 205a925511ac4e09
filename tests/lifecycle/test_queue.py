"""``put``: one atomic step that keeps events and offers jobs which a stock RQ worker can run."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer

from lifecycle.event import Event, Kind
from lifecycle.queue import (
    CONVERGE,
    JOB_SECONDS_MAX,
    LANE_OF_KIND,
    LEAVERS,
    LOOKUPS,
    PEOPLE,
    _retry,
    connect,
    lanes,
    lanes_of,
    offer,
)
from tests.redis_server import RedisServer
from tests.seed import NOW, event, put


def hash_of(redis: Redis, job_id: str) -> dict[bytes, bytes]:
    """Return a job as Redis holds it."""
    found: dict[bytes, bytes] = redis.hgetall(f"rq:job:{job_id}")  # type: ignore[assignment]
    return found


def queued(redis: Redis, lane: str) -> list[Job]:
    """Return a lane's jobs as RQ reads them."""
    return lanes(redis)[lane].get_jobs()


def test_job_is_the_one_that_rq_would_have_made(redis: Redis) -> None:
    """Field by field, a job written by ``put`` is what ``Queue.enqueue`` writes; only moments and packing differ."""
    put(redis, event())
    ours = queued(redis, LEAVERS)[0]
    theirs = lanes(redis)[LEAVERS].enqueue(
        CONVERGE, "E1042", LEAVERS, job_timeout=JOB_SECONDS_MAX, result_ttl=0, description=CONVERGE, retry=_retry()
    )

    our_fields, their_fields = hash_of(redis, ours.id), hash_of(redis, theirs.id)

    differing = {b"data", b"created_at", b"enqueued_at"}
    assert our_fields.keys() == their_fields.keys()
    assert {name: value for name, value in our_fields.items() if name not in differing} == {
        name: value for name, value in their_fields.items() if name not in differing
    }
    assert (ours.func_name, list(ours.args), ours.kwargs) == (theirs.func_name, list(theirs.args), theirs.kwargs)
    assert ours.enqueued_at is not None
    assert abs((ours.enqueued_at - datetime.now(UTC)).total_seconds()) < 60
    assert redis.sismember("rq:queues", "rq:queue:leavers")


class Recorded(Job):
    """A job that notes its call in place of making it."""

    calls: ClassVar[list[tuple[str | None, Any]]] = []

    @property
    def func(self) -> Callable[..., None]:
        """Return what the worker calls."""
        return lambda *args: self.calls.append((self.func_name, args))


def test_stock_worker_takes_the_jobs(redis: Redis) -> None:
    """A plain RQ worker with the JSON serializer reads each job, calls it with person and lane, and leaves nothing."""
    put(redis, event(), event("evt-2", "E2", kind=Kind.MOVER))
    Recorded.calls.clear()

    worker = SimpleWorker([LEAVERS, PEOPLE], connection=redis, serializer=JSONSerializer, job_class=Recorded)
    worker.work(burst=True, logging_level="CRITICAL")

    assert Recorded.calls == [(CONVERGE, ("E1042", LEAVERS)), (CONVERGE, ("E2", PEOPLE))]
    assert redis.keys("rq:job:*") == redis.keys("rq:failed:*") == []


def test_person_gets_one_job_a_lane_and_notice(redis: Redis) -> None:
    """Many events of one person in a notice are one job in each of their lanes; each event waits in the mailbox."""
    answers = put(
        redis,
        event("1", kind=Kind.JOINER),
        event("2", kind=Kind.MOVER),
        event("3", kind=Kind.JOINER),
        event("4", kind=Kind.LEAVER),
        event("5", person="E2", kind=Kind.MOVER),
    )

    assert answers == [1] * 5
    assert sorted(tuple(job.args) for job in queued(redis, PEOPLE)) == [("E1042", "people"), ("E2", "people")]
    assert [tuple(job.args) for job in queued(redis, LEAVERS)] == [("E1042", "leavers")]
    assert redis.lrange("gatepost:mailbox:E1042", 0, -1) == [b"hris:1", b"hris:2", b"hris:3", b"hris:4"]
    assert len({job.id for lane in (PEOPLE, LEAVERS) for job in queued(redis, lane)}) == 3


def test_repeat_changes_nothing(redis: Redis) -> None:
    """An event that is known, whole or beside a new one, is answered 0 and keeps its first record."""
    put(redis, event())
    before = redis.hgetall("gatepost:event:hris:evt-1")

    answers = put(redis, event(at=datetime.now(UTC)), event("evt-2", person="E2"), event("evt-2", person="E2"))

    assert answers == [0, 1, 0]
    assert redis.hgetall("gatepost:event:hris:evt-1") == before
    assert (len(queued(redis, LEAVERS)), redis.zcard("gatepost:events")) == (2, 2)


def test_same_id_of_two_sources_is_two_events(redis: Redis) -> None:
    """Ids are the source's own; another source's is another event."""
    assert put(redis, event("7"), event("7", source="okta")) == [1, 1]


def test_kept_event_is_what_was_put(redis: Redis) -> None:
    """The record holds the event whole, its state, and its place by the time received."""
    one = event()
    put(redis, one)

    doc: Any = redis.hget("gatepost:event:hris:evt-1", "doc")
    assert Event.model_validate_json(doc) == one
    assert redis.hget("gatepost:event:hris:evt-1", "state") == b"kept"
    assert redis.zscore("gatepost:events:kept", "hris:evt-1") == NOW.timestamp() * 1000
    assert redis.ttl("gatepost:event:hris:evt-1") == -1


def test_person_of_any_letters_is_the_jobs_argument(redis: Redis) -> None:
    """A key with colons, quotes and letters of any script comes out as it went in."""
    key = "É:1042 \"'\\ \x00 李😀"

    put(redis, event(person=key))

    assert queued(redis, LEAVERS)[0].args == [key, LEAVERS]


def test_jobs_tell_nothing_of_the_person_but_the_key(redis: Redis) -> None:
    """A job's description, which dashboards show, has no personal data."""
    put(redis, event())

    assert queued(redis, LEAVERS)[0].description == CONVERGE


def test_job_survives_the_death_of_its_worker(redis: Redis) -> None:
    """Every job has retries, so that RQ does not fail it when its worker is killed, and a bounded time."""
    put(redis, event())
    job = queued(redis, LEAVERS)[0]

    assert (job.retries_left, len(job.retry_intervals or [])) == (10, 10)
    assert job.timeout == JOB_SECONDS_MAX


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_has_a_lane(kind: Kind) -> None:
    """No event is without a lane, and leavers have theirs alone."""
    assert (LANE_OF_KIND[kind] == LEAVERS) is (kind is Kind.LEAVER) is (lanes_of([kind]) == LEAVERS)


def test_thin_event_is_looked_up_first(redis: Redis) -> None:
    """It waits beside the mailbox, so that whoever works on the person does not see it before it was read."""
    answers = put(redis, event("1", kind=Kind.CHANGED), event("2", kind=Kind.CHANGED), event("3", kind=Kind.MOVER))

    assert answers == [1, 1, 1]
    assert [tuple(job.args) for job in queued(redis, LOOKUPS)] == [("E1042", LOOKUPS)]
    assert [tuple(job.args) for job in queued(redis, PEOPLE)] == [("E1042", PEOPLE)]
    assert redis.lrange("gatepost:unread:E1042", 0, -1) == [b"hris:1", b"hris:2"]
    assert redis.lrange("gatepost:mailbox:E1042", 0, -1) == [b"hris:3"]
    assert redis.zrange("gatepost:open:lookups", 0, -1) == [b"hris:1", b"hris:2"]


def test_leaver_among_others_makes_the_lane() -> None:
    """A person with a leaver among the events is worked on with the leavers."""
    assert lanes_of([Kind.MOVER, Kind.LEAVER]) == LEAVERS
    assert lanes_of([]) == PEOPLE


def test_offer_is_part_of_the_callers_step(redis: Redis) -> None:
    """Nothing is offered before the caller's step is executed; then a job waits now, or is scheduled for later."""
    queues: dict[str, Queue] = lanes(redis)
    later = datetime(2030, 1, 1, tzinfo=UTC)
    with redis.pipeline() as pipe:
        offer(pipe, queues[LEAVERS], CONVERGE, "E2", LEAVERS)
        offer(pipe, queues[PEOPLE], CONVERGE, "E1", PEOPLE, at=later)
        before = redis.keys("rq:job:*")
        pipe.execute()

    scheduled = queues[PEOPLE].scheduled_job_registry
    assert before == []
    assert [job.args for job in queued(redis, LEAVERS)] == [["E2", "leavers"]]
    assert [scheduled.get_scheduled_time(job) for job in scheduled.get_job_ids()] == [later]
    assert queued(redis, PEOPLE) == []


def test_impatient_connection_fails_at_once_and_a_patient_one_waits(redis_server: RedisServer) -> None:
    """The receiver's connection says within a second that Redis is away; a worker's lives through a restart."""
    impatient, patient = connect(redis_server.url, patient=False), connect(redis_server.url, patient=True)
    with impatient, patient:
        patient.set("key", "value")
        redis_server.kill()
        started = datetime.now(UTC)
        with pytest.raises(RedisConnectionError):
            impatient.ping()
        took = (datetime.now(UTC) - started).total_seconds()
        redis_server.start()

        assert took < 1
        assert patient.get("key") == b"value"
