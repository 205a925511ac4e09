"""What a dead worker held is offered again: by its lease, by its job, and by a look at everything."""

import time
from datetime import timedelta
from typing import Any

import httpx
import pytest
from redis import Redis
from rq.job import Job

from lifecycle import keys
from lifecycle.config import Config
from lifecycle.event import Kind
from lifecycle.people import People
from lifecycle.queue import LEAVERS, PEOPLE, lanes
from tests.workers.fake_scim import FakeScim
from tests.workers.stories import BO, Stage, event, target
from workers import offers, sweeper
from workers.pulse import Pulse
from workers.sweeper import Sweeper


@pytest.fixture
def stage(redis: Redis) -> Stage:
    """Give a stage with one target."""
    return Stage(redis, Config(targets={"crm": target()}), {"crm": httpx.MockTransport(FakeScim())})


@pytest.fixture
def swept(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Sweeper:
    """Give a sweeper that has led for long enough to tell who is dead, of a Redis that is up for long."""
    monkeypatch.setattr(sweeper, "REDIS_CALM_SECONDS", -1)
    queues = lanes(redis)
    found = Sweeper(redis, "me", People(redis, queues), queues)
    found.tick()
    found._leads_since = time.monotonic() - sweeper.CALM_SECONDS - 1
    empty(redis)
    return found


def empty(redis: Redis) -> None:
    """Lose every job."""
    for queue in lanes(redis).values():
        queue.empty()  # type: ignore[no-untyped-call]


def offered(redis: Redis, lane: str) -> list[Any]:
    """Return whom a lane's jobs are about, in order."""
    return [job.args[0] for job in lanes(redis)[lane].get_jobs()]


def die(redis: Redis, key: str, worker: str = "dead") -> None:
    """Take a person as a worker that dies with it, and let its lease end."""
    assert People(redis, lanes(redis), worker).take(key)
    redis.delete(keys.lease(key))
    redis.zadd(keys.WORKING, {f"{worker}|{key}": time.time() * 1000 - 1})


def test_person_of_a_dead_worker_is_offered_at_the_front(stage: Stage, swept: Sweeper, redis: Redis) -> None:
    """Its lease ended and nobody freed it: the person comes first in the leavers' lane, once."""
    stage.hear(event(Kind.LEAVER, "left", **BO), event(Kind.LEAVER, "other", person="E7"))
    lanes(redis)[LEAVERS].pop_job_id()
    die(redis, "E1042")

    swept.tick()
    swept.tick()

    assert offered(redis, LEAVERS) == ["E1042", "E7"]
    assert redis.hget(keys.event("hris:left"), "deaths") == b"1"
    assert redis.hget(keys.event("hris:other"), "deaths") is None


def test_live_lease_is_left_alone(stage: Stage, swept: Sweeper, redis: Redis) -> None:
    """Whoever works renews; nothing is offered."""
    stage.hear(event(Kind.LEAVER, "left", **BO))
    empty(redis)
    assert stage.people.take("E1042")

    swept.tick()

    assert offered(redis, LEAVERS) == []


def test_worker_that_lives_is_not_blamed(stage: Stage, swept: Sweeper, redis: Redis) -> None:
    """Leases that ended while Redis was away, or while a worker was frozen, count no death."""
    stage.hear(event(Kind.LEAVER, "left", **BO))
    empty(redis)
    die(redis, "E1042", "frozen")
    redis.set(keys.alive("frozen"), "1")

    swept.tick()

    assert offered(redis, LEAVERS) == ["E1042"]
    assert redis.hget(keys.event("hris:left"), "deaths") is None


def test_nobody_is_blamed_after_a_restart_of_redis(
    stage: Stage, swept: Sweeper, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All leases and all heartbeats have ended by then, of whoever lives too."""
    monkeypatch.setattr(sweeper, "REDIS_CALM_SECONDS", 10**9)
    stage.hear(event(Kind.LEAVER, "left", **BO))
    empty(redis)
    die(redis, "E1042")

    swept.tick()

    assert offered(redis, LEAVERS) == ["E1042"]
    assert redis.hget(keys.event("hris:left"), "deaths") is None


def test_new_leader_blames_nobody(stage: Stage, redis: Redis) -> None:
    """Its own connection may have been away with all the others'; who was worked on is offered all the same."""
    stage.hear(event(Kind.LEAVER, "left", **BO))
    empty(redis)
    die(redis, "E1042")
    queues = lanes(redis)

    Sweeper(redis, "new", People(redis, queues), queues).tick()

    assert offered(redis, LEAVERS) == ["E1042"]
    assert redis.hget(keys.event("hris:left"), "deaths") is None


def test_event_that_kills_three_workers_fails_and_is_told(stage: Stage, swept: Sweeper, redis: Redis) -> None:
    """It is settled without being worked on; a leaver that came later is worked on all the same."""
    stage.hear(event(Kind.JOINER, "joined", **BO))
    for _ in range(3):
        die(redis, "E1042")
        swept.tick()
    stage.hear(event(Kind.LEAVER, "left", minute=5))
    stage.work()

    assert (stage.state("joined"), stage.found("joined")["reason"]) == ("failed", "poison")
    assert stage.state("left") in {"unchanged", "applied"}
    assert [(each["type"], each["data"]["reason"]) for each in stage.signals()] == [("delivery.failed", "poison")]


def test_attempt_that_ends_alive_forgets_the_deaths(stage: Stage, swept: Sweeper, redis: Redis) -> None:
    """Only deaths in a row are poison; and a retry begins at none."""
    stage.hear(event(Kind.JOINER, "joined", **BO))
    for _ in range(2):
        die(redis, "E1042")
        swept.tick()

    stage.work()

    assert stage.state("joined") == "applied"
    assert redis.hget(keys.event("hris:joined"), "deaths") == b"0"


def test_popped_job_without_a_lease_is_offered_again(stage: Stage, swept: Sweeper, redis: Redis) -> None:
    """A worker died between the pop and the lease: after a moment the person is offered once, whoever leads by then."""
    stage.hear(event(Kind.LEAVER, "left", **BO))
    queue = lanes(redis)[LEAVERS]
    redis.lmove(queue.key, queue.intermediate_queue_key)

    swept.tick()
    at_once = offered(redis, LEAVERS)
    popped: Any = redis.zrange(keys.POPPED, 0, -1)
    redis.zincrby(keys.POPPED, -sweeper.ORPHAN_SECONDS * 1000, popped[0])
    Sweeper(redis, "me", stage.people, lanes(redis)).tick()

    assert (at_once, offered(redis, LEAVERS)) == ([], ["E1042"])
    assert (redis.llen(queue.intermediate_queue_key), redis.zcard(keys.POPPED)) == (0, 0)


def test_begun_job_of_a_dead_worker_is_off_the_books(stage: Stage, swept: Sweeper, redis: Redis) -> None:
    """RQ lists it for a minute and would run it again then; who was worked on was offered by the lease already."""
    stage.hear(event(Kind.LEAVER, "left", **BO))
    queue = lanes(redis)[LEAVERS]
    (job,) = queue.get_jobs()
    redis.delete(queue.key)
    job.worker_name = "dead"
    job.save()
    redis.zadd(queue.started_job_registry.key, {f"{job.id}:execution": time.time() + 60, "another:one": 1})
    assert stage.people.take("E1042")
    redis.zadd(keys.POPPED, {job.id: 1})

    swept.tick()

    assert redis.zrange(queue.started_job_registry.key, 0, -1) == [b"another:one"]
    assert not Job.exists(job.id, redis)
    assert offered(redis, LEAVERS) == []


def test_job_that_went_on_is_forgotten(stage: Stage, swept: Sweeper, redis: Redis) -> None:
    """What a live worker popped is none of the sweeper's as soon as it is done."""
    stage.hear(event(Kind.LEAVER, "left", **BO))
    queue = lanes(redis)[LEAVERS]
    redis.lmove(queue.key, queue.intermediate_queue_key)
    swept.tick()

    redis.delete(queue.intermediate_queue_key)
    swept.tick()

    assert redis.zcard(keys.POPPED) == 0


def test_event_whose_job_was_lost_is_offered(
    stage: Stage, swept: Sweeper, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever lost the job: an open event that nobody holds is offered; one that has a job is not offered twice."""
    monkeypatch.setattr(sweeper, "AUDIT_AGE_SECONDS", -10)
    stage.hear(event(Kind.JOINER, "joined", **BO))
    stage.hear(event(Kind.JOINER, "later", person="E8", external_id="E8"))
    empty(redis)
    stage.hear(event(Kind.JOINER, "other", person="E7", external_id="E7"))
    stage.people.look_again("E8", PEOPLE, stage.people.lease_ends_at("nobody") + timedelta(hours=1))

    swept.audit()

    assert sorted(offered(redis, PEOPLE)) == ["E1042", "E7"]


def test_lane_with_more_jobs_than_can_be_looked_at_is_left_alone(
    stage: Stage, swept: Sweeper, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has no job cannot be told from who has one: nobody is offered twice, at each audit once more."""
    monkeypatch.setattr(sweeper, "AUDIT_AGE_SECONDS", -10)
    monkeypatch.setattr(offers, "JOBS_MAX", 1)
    for key in ("E1", "E2", "E3"):
        stage.hear(event(Kind.JOINER, key, person=key, external_id=key))

    swept.audit()

    assert offered(redis, PEOPLE) == ["E1", "E2", "E3"]


def test_scheduled_event_whose_job_was_lost_is_offered_when_due(stage: Stage, swept: Sweeper, redis: Redis) -> None:
    """Times survive: what is due is found without its job, and not before."""
    later = event(Kind.LEAVER, "left", **BO).model_copy(
        update={"effective_at": stage.people.lease_ends_at("nobody") + timedelta(hours=1)}
    )
    stage.tell(later)
    empty(redis)
    for lane in (LEAVERS, PEOPLE):
        redis.delete(lanes(redis)[lane].scheduled_job_registry.key)

    swept.resume_due()
    before = offered(redis, LEAVERS)
    redis.zadd(keys.DUE, {"hris:left": time.time() * 1000 - 60_000})
    swept.resume_due()
    redis.delete(keys.resumed("E1042:leavers"))
    swept.resume_due()

    assert (before, offered(redis, LEAVERS)) == ([], ["E1042"])


def test_late_job_of_a_dead_scheduler_is_offered(stage: Stage, swept: Sweeper, redis: Redis) -> None:
    """A scheduler that died with its worker keeps RQ's lock for a minute; what is late is offered, once."""
    now = stage.people.lease_ends_at("nobody")
    stage.people.look_again("E1042", LEAVERS, now - timedelta(seconds=10))
    stage.people.look_again("E7", LEAVERS, now + timedelta(seconds=10))
    registry = lanes(redis)[LEAVERS].scheduled_job_registry
    redis.zadd(registry.key, {"a-job-that-is-gone": 1})

    swept.resume_overdue()
    swept.resume_overdue()

    assert offered(redis, LEAVERS) == ["E1042"]
    assert len(registry) == 1


def test_look_that_fails_keeps_nobody_from_the_others(stage: Stage, swept: Sweeper, redis: Redis) -> None:
    """A mailbox that somebody broke by hand: whoever is due is offered all the same."""
    stage.hear(event(Kind.LEAVER, "left", **BO))
    empty(redis)
    redis.zadd(keys.DUE, {"hris:left": time.time() * 1000 - 60_000})
    redis.rpush(keys.mailbox("E7"), "hris:no-such-event")
    die(redis, "E7")
    swept._due_at = 0.0

    swept.tick()

    assert offered(redis, LEAVERS) == ["E1042"]


def test_one_sweeps_and_another_takes_over(redis: Redis) -> None:
    """Two processes never sweep at once; the second one does as soon as the first is gone."""
    queues = lanes(redis)
    first, second = (Sweeper(redis, name, People(redis, queues), queues) for name in ("first", "second"))

    leads = [first._leads(), second._leads(), first._leads()]
    redis.delete(keys.LEADER)

    assert leads == [True, False, True]
    assert second._leads()
    assert not first._leads()


def test_pulse_keeps_the_lease_of_a_slow_job(redis: Redis) -> None:
    """As long as the process lives, its leases do, however long a request takes."""
    people = People(redis, lanes(redis), "me")
    assert people.take("E1042")
    redis.pexpire(keys.lease("E1042"), 50)

    Pulse(redis, "me", people.leases.renew_all).beat()

    left: Any = redis.pttl(keys.lease("E1042"))
    assert left > keys.LEASE_MILLISECONDS / 2
    assert redis.pttl(keys.alive("me")) > 0
