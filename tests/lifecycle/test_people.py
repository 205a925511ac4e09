"""The person store: the lease, and ``settle``, which is all or nothing."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from lifecycle.event import Kind, State
from lifecycle.keys import LEASE_MILLISECONDS
from lifecycle.leases import HELD_SECONDS_MAX, LeaseLost
from lifecycle.people import MAILBOX_READ_MAX, People
from lifecycle.person import Fact, Person, Status
from lifecycle.queue import LEAVERS, PEOPLE, lanes
from lifecycle.settlement import Delivery, Settled, Settlement, Step
from tests.lossy import lossy
from tests.redis_server import RedisServer
from tests.seed import NOW, event, person, put, settle, signal


@pytest.fixture
def people(redis: Redis) -> People:
    """Give the person store."""
    return People(redis, lanes(redis))


def dump(redis: Redis) -> dict[bytes | str, bytes | None]:
    """Return everything that Redis holds, to compare."""
    return {key: redis.dump(key) for key in redis.keys("*")}


def settled(people: People, key: str = "E1042", state: State = State.APPLIED, **more: Any) -> Settled:  # noqa: ANN401
    """Return a settlement of all that waits for a person."""
    step = Step(NOW, "apply", {})
    return Settled(
        person(key),
        [Settlement(kept, state, {"crm": Delivery(state)}, (step,)) for kept in people.mailbox(key)],
        **more,
    )


def test_person_is_worked_on_by_one(people: People, redis: Redis) -> None:
    """A second job does not get the lease while the first has it; another person is free."""
    token = people.take("E1")

    assert token
    assert people.take("E1") is None
    assert people.take("E2")
    assert 0 < redis.pttl("gatepost:lease:E1") <= LEASE_MILLISECONDS
    assert people.lease_ends_at("E1") > datetime.now(UTC)


def test_lease_is_given_back_by_its_holder_alone(people: People) -> None:
    """Freeing with another token changes nothing."""
    token = people.take("E1")
    assert token

    people.free("E1", "another")
    taken = people.take("E1")
    people.free("E1", token)

    assert taken is None
    assert people.take("E1")


def test_lease_is_kept_while_something_waits(people: People, redis: Redis) -> None:
    """A job that would stop if nothing waits is told to go on when something does."""
    token = people.take("E1042")
    assert token
    put(redis, event())

    assert not people.free("E1042", token, only_if_empty=True)
    assert people.take("E1042") is None
    assert people.free("E1042", token)
    assert people.take("E1042")


def test_lease_is_renewed_while_it_lasts(people: People, redis: Redis) -> None:
    """A slow job prolongs its lease; one that ran out is lost, for somebody may have had the person meanwhile."""
    token = people.take("E1")
    assert token
    redis.pexpire("gatepost:lease:E1", 10)
    people.renew("E1", token)
    prolonged: Any = redis.pttl("gatepost:lease:E1")
    redis.delete("gatepost:lease:E1")

    assert prolonged > LEASE_MILLISECONDS / 2
    with pytest.raises(LeaseLost):
        people.renew("E1", token)


def test_lost_lease_is_told_before_an_effect(people: People, redis: Redis) -> None:
    """A job whose person was taken by another must not write any more."""
    first = people.take("E1")
    assert first
    redis.delete("gatepost:lease:E1")
    second = people.take("E1")
    assert second

    with pytest.raises(LeaseLost):
        people.renew("E1", first)
    assert redis.get("gatepost:lease:E1") == second.encode()


def test_settle_makes_everything_true_at_once(people: People, redis: Redis) -> None:
    """Person, aliases, outcome, timeline, counters, signal and its job are there after one step; the lease is free."""
    put(redis, event())
    made = signal()

    more = settle(redis, "E1042", State.APPLIED, signals=[(made, ["siem"])])

    record: Any = redis.hgetall("gatepost:event:hris:evt-1")
    assert not more
    assert people.get("E1042") == person()
    assert {redis.get(f"gatepost:alias:{name}") for name in ("e1042.login", "e1042@acme.example")} == {b"E1042"}
    assert (record[b"state"], json.loads(record[b"deliveries"])["crm"]["outcome"]) == (b"applied", "applied")
    assert redis.lrange("gatepost:mailbox:E1042", 0, -1) == []
    assert redis.zscore("gatepost:events:kept", "hris:evt-1") is None
    assert redis.zscore("gatepost:events:applied", "hris:evt-1")
    assert redis.llen("gatepost:trace:hris:evt-1") == 1
    assert redis.hget(f"gatepost:signal:{made.id}", "body") == made.body.encode()
    assert redis.hget(f"gatepost:delivery:{made.id}:siem", "state") == b"waiting"
    assert redis.lrange("gatepost:line:siem:E1042", 0, -1) == [made.id.encode()]
    assert redis.get("gatepost:lease:E1042") is None


@pytest.mark.parametrize(
    ("state", "waits", "fails", "expires"),
    [
        (State.APPLIED, False, False, True),
        (State.UNCHANGED, False, False, True),
        (State.SUPERSEDED, False, False, True),
        (State.IGNORED, False, False, True),
        (State.FAILED, False, True, False),
        (State.HELD, False, True, False),
        (State.POSTPONED, True, False, False),
        (State.SCHEDULED, True, False, False),
    ],
)
def test_each_state_has_its_place(redis: Redis, state: State, waits: bool, fails: bool, expires: bool) -> None:
    """Open events stay in the mailbox, stuck ones wait for a person and never expire, final ones expire."""
    put(redis, event())

    settle(redis, "E1042", state)

    assert redis.llen("gatepost:mailbox:E1042") == int(waits)
    assert (redis.zscore("gatepost:failures", "event:hris:evt-1") is not None) == fails
    assert (redis.ttl("gatepost:event:hris:evt-1") > 0) == expires
    assert (redis.ttl("gatepost:trace:hris:evt-1") > 0) == expires
    assert redis.zscore(f"gatepost:events:{state}", "hris:evt-1")


def test_failure_that_is_mended_waits_no_more(people: People, redis: Redis) -> None:
    """An event that failed and then was applied is no failure any more, and its record may expire."""
    put(redis, event())
    token = people.take("E1042")
    assert token
    failed = settled(people, state=State.FAILED)
    people.settle(token, failed)
    token = people.take("E1042")
    assert token
    kept = failed.settlements[0].kept.__class__(event(), State.FAILED, {})

    people.settle(token, Settled(person(), [Settlement(kept, State.APPLIED, {}, ())]))

    assert redis.zcard("gatepost:failures") == 0
    assert redis.zcard("gatepost:events:failed") == 0


def somebody(key: str, status: Status | None, minute: int) -> Person:
    """Return a person who was said to have a certain address at a time."""
    at = NOW + timedelta(minutes=minute)
    fact = Fact(value="Bo@acme.example", at=at, event=f"hris:{key}-{minute}")
    known = Fact(value=status.value, at=at, event=fact.event) if status else None
    return Person(key=key, status=known, facts={"email": fact})


@pytest.mark.parametrize(
    ("first", "second", "holder"),
    [
        ((Status.ACTIVE, 0), (Status.ACTIVE, 1), "E2"),
        ((Status.ACTIVE, 1), (Status.ACTIVE, 0), "E1"),
        ((Status.ACTIVE, 0), (Status.LEFT, 1), "E1"),
        ((Status.LEFT, 1), (Status.ACTIVE, 0), "E2"),
        ((Status.LEFT, 0), (Status.LEFT, 1), "E2"),
        ((None, 0), (None, 1), "E2"),
        ((Status.LEFT, 1), (None, 0), "E2"),
    ],
)
@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 1, 0), (1, 0, 1)], ids=str)
def test_address_means_whoever_has_it_now(
    people: People,
    redis: Redis,
    first: tuple[Status | None, int],
    second: tuple[Status | None, int],
    holder: str,
    order: tuple[int, ...],
) -> None:
    """Whoever works here before whoever left, then by the newer word, in whatever order they are settled."""
    both = [somebody("E1", *first), somebody("E2", *second)]

    for place in order:
        known = both[place]
        people.settle(str(people.take(known.key)), Settled(known, []))

    assert redis.get("gatepost:alias:bo@acme.example") == holder.encode()


def test_address_that_its_holder_gave_up_is_free(people: People, redis: Redis) -> None:
    """Also for whoever left: nobody else is meant by it."""
    people.settle(str(people.take("E1")), Settled(somebody("E1", Status.ACTIVE, 5), []))
    gone = somebody("E2", Status.LEFT, 0)
    other = somebody("E1", Status.ACTIVE, 6).model_copy(update={"facts": {}})

    people.settle(str(people.take("E1")), Settled(other, []))
    people.settle(str(people.take("E2")), Settled(gone, []))

    assert redis.get("gatepost:alias:bo@acme.example") == b"E2"


def test_line_is_left_and_who_had_let_in_is_told(people: People, redis: Redis) -> None:
    """What was kept there for the person can be given to others."""
    redis.zadd("gatepost:waiting:crm", {"E1": 1})
    redis.hset("gatepost:granted:desk", "E1", "{}")

    assert people.leave_lines("E1", ["crm", "desk"]) == ["desk"]
    assert redis.zcard("gatepost:waiting:crm") == 0


def test_unread_event_keeps_the_lease(people: People, redis: Redis) -> None:
    """An event that came after the mailbox was read is not missed: settle says so and the job goes on."""
    put(redis, event())
    token = people.take("E1042")
    assert token
    result = settled(people)
    put(redis, event("evt-2", kind=Kind.JOINER))

    assert people.settle(token, result)
    assert redis.get("gatepost:lease:E1042") == token.encode()
    assert [kept.event.id for kept in people.mailbox("E1042")] == ["evt-2"]


def test_lost_lease_writes_nothing(people: People, redis: Redis) -> None:
    """A job that lost its person changes not one key, its signals and later looks included."""
    put(redis, event())
    token = people.take("E1042")
    assert token
    result = settled(people, signals=[(signal(), ["siem"])], again=[(PEOPLE, NOW + timedelta(hours=1))])
    redis.delete("gatepost:lease:E1042")
    before = dump(redis)

    with pytest.raises(LeaseLost):
        people.settle(token, result)
    assert dump(redis) == before
    assert people.take("E1042")
    with pytest.raises(LeaseLost):
        people.settle(token, result)


def test_later_looks_are_scheduled_with_the_settlement(people: People, redis: Redis) -> None:
    """A postponed person is looked at again at the moment named, in the lane named."""
    put(redis, event())
    at = NOW + timedelta(hours=1)

    settle(redis, "E1042", State.POSTPONED, lanes_again=[(LEAVERS, at)])
    people.look_again("E2", PEOPLE, at)

    scheduled: Any = redis.zrange("rq:scheduled:leavers", 0, -1, withscores=True)
    assert [score for _, score in scheduled] == [at.timestamp()]
    assert redis.zcard("rq:scheduled:people") == 1


def test_settled_event_is_not_counted_twice(redis: Redis) -> None:
    """Counters move with the settlement: one event, one count; a postponed one is not counted yet."""
    put(redis, event())
    settle(redis, "E1042", State.POSTPONED)
    before = redis.hget("gatepost:metrics", '["gatepost_events", "hris", "leaver", "postponed"]')
    settle(redis, "E1042", State.APPLIED)

    assert before is None
    assert redis.hget("gatepost:metrics", '["gatepost_events", "hris", "leaver", "applied"]') == b"1"


@pytest.mark.parametrize("waits", [True, False], ids=["more to read", "nothing left"])
def test_step_whose_answer_was_lost_is_made_once(redis: Redis, redis_server: RedisServer, waits: bool) -> None:
    """Redis dies after the step and before it says so: it is not made again, and counted once."""
    client, answers = lossy(redis_server.url)
    people = People(client, lanes(client))
    put(redis, event())
    token = str(people.take("E1042"))
    found = settled(people)
    if waits:
        put(redis, event("later"))

    answers.armed = True
    if waits:
        assert people.settle(token, found) is True
    else:
        with pytest.raises(LeaseLost):
            people.settle(token, found)
    client.close()

    assert not answers.armed
    assert redis.hget("gatepost:metrics", '["gatepost_events", "hris", "leaver", "applied"]') == b"1"
    assert redis.llen("gatepost:trace:hris:evt-1") == 1


def test_lease_whose_release_failed_ends_by_itself(people: People, redis: Redis) -> None:
    """A job whose end was cut short holds nobody: what it could not give back is not renewed."""
    token = str(people.take("E1042"))
    free, people.leases._free = people.leases._free, redis.register_script("return redis.error_reply('MISCONF')")
    with pytest.raises(ResponseError):
        people.free("E1042", token)
    people.leases._free = free
    redis.pexpire("gatepost:lease:E1042", 1)

    people.leases.renew_all()

    assert people.leases._held == {}


def test_lease_of_a_job_that_hangs_is_renewed_no_longer_than_a_job_may_take(people: People, redis: Redis) -> None:
    """A thread that never comes back would keep its person from everybody else."""
    people.take("E1042")
    token, since = people.leases._held["E1042"]
    people.leases._held["E1042"] = token, since - HELD_SECONDS_MAX - 1
    redis.pexpire("gatepost:lease:E1042", 100)

    people.leases.renew_all()

    left: Any = redis.pttl("gatepost:lease:E1042")
    assert left <= 100


def test_leaver_behind_a_heap_of_dates_is_read(people: People, redis: Redis) -> None:
    """What waits for its date fills no read that somebody else needs."""
    later = NOW + timedelta(days=30)
    put(redis, *(event(f"later-{number}", at=NOW) for number in range(MAILBOX_READ_MAX)))
    token = str(people.take("E1042"))
    steps = [Settlement(kept, State.SCHEDULED, {}, (), due_at=later) for kept in people.mailbox("E1042")]
    put(redis, event("left"))

    more = people.settle(token, Settled(person("E1042"), steps))

    read = [kept.event.id for kept in people.mailbox("E1042")]
    assert (more, read[0], len(read)) == (True, "left", MAILBOX_READ_MAX)


def test_old_places_are_trimmed(redis: Redis) -> None:
    """Lists by time do not grow without end: what is past its retention leaves them with the next settlement."""
    old = NOW - timedelta(days=91)
    put(redis, event("old", at=old), event("open", "E7", at=old), event("new"))

    settle(redis, "E1042", State.APPLIED)

    assert redis.zrange("gatepost:events:applied", 0, -1) == [b"hris:new"]
    assert redis.zrange("gatepost:person-events:E1042", 0, -1) == [b"hris:new"]


def test_timeline_is_bounded(people: People, redis: Redis) -> None:
    """An event that is postponed for days keeps its last two hundred steps."""
    put(redis, event())
    token = people.take("E1042")
    assert token
    kept = people.mailbox("E1042")[0]
    steps = tuple(Step(NOW, "postponed", {"number": number}) for number in range(250))

    people.settle(token, Settled(person(), [Settlement(kept, State.POSTPONED, {}, steps)]))

    lines: Any = redis.lrange("gatepost:trace:hris:evt-1", 0, -1)
    assert (len(lines), json.loads(lines[-1])["detail"]) == (200, {"number": 249})


def test_stranger_is_an_empty_person(people: People) -> None:
    """Of somebody who was never heard of nothing is known, and no field is missing."""
    stranger = people.get("E9")

    assert (stranger.key, stranger.status, stranger.facts) == ("E9", None, {})
    assert stranger.fields()["groups"] == []
    assert stranger.fields()["custom"] == {}
    assert stranger.fields()["title"] is None


def test_person_knows_what_was_told() -> None:
    """Custom facts come out as one map; names are the identifiers in lower case."""
    known = person()

    assert known.fields()["custom"] == {"desk": "4-117"}
    assert known.knows("custom")
    assert known.knows("email")
    assert not known.knows("title")
    assert known.names() == {"e1042", "e1042.login", "e1042@acme.example"}


def test_outcome_is_read_back_as_the_state_that_was_settled(people: People, redis: Redis) -> None:
    """What was postponed on a target is found open again by the next attempt."""
    put(redis, event("e1"))
    token = people.take("E1042")
    people.settle(str(token), settled(people, state=State.POSTPONED))

    (kept,) = people.mailbox("E1042")

    assert kept.deliveries["crm"].outcome is State.POSTPONED


def test_more_events_than_one_read_are_read_once_each(people: People, redis: Redis) -> None:
    """What lies beyond one read comes next; when all is postponed nothing is asked for, until some is settled."""
    put(redis, *(event(f"e{number}") for number in range(MAILBOX_READ_MAX + 1)))
    token = people.take("E1042")

    fresh = people.settle(str(token), settled(people, state=State.POSTPONED))
    first = people.mailbox("E1042")[0].event.id
    waits = people.settle(str(token), settled(people, state=State.POSTPONED))
    token = people.take("E1042")
    more = people.settle(str(token), settled(people, state=State.APPLIED))

    assert (fresh, first, waits, more) == (True, f"e{MAILBOX_READ_MAX}", False, True)
    assert len(people.mailbox("E1042")) == 1


def test_person_counts_where_there_is_access(people: People, redis: Redis) -> None:
    """For the shares of the safety limits: an account that is gone counts no more, nor does of whom only is heard."""

    def known(found: Person) -> tuple[int, int]:
        token = people.take(found.key)
        assert token
        people.settle(token, Settled(found, []))
        return redis.scard("gatepost:known"), redis.scard("gatepost:known:crm")

    left = person()
    out = left.accounts["crm"]
    in_yet = left.model_copy(update={"accounts": {"crm": out.model_copy(update={"active": True})}})
    nowhere = left.model_copy(update={"accounts": {}})
    works_here = nowhere.model_copy(update={"status": Fact(value=Status.ACTIVE, at=NOW, event="hris:e1")})

    assert [known(each) for each in (in_yet, left, in_yet, nowhere, works_here)] == [
        (1, 1),
        (0, 0),
        (1, 1),
        (0, 0),
        (0, 0),
    ]
