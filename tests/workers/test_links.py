"""Two sources that speak of one human: one person, one mailbox, one account."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.config import Config
from lifecycle.event import Event, Kind, State
from lifecycle.leases import LeaseLost
from lifecycle.links import Links
from lifecycle.people import People
from lifecycle.person import Fact, Person
from lifecycle.policy import Policy
from lifecycle.queue import lanes
from lifecycle.settlement import Kept, Settled
from tests.workers.fake_scim import FakeScim
from tests.workers.stories import AT, BO, Stage, event, target
from workers.fold import fold
from workers.kinship import united

MAIL = "bo.ray@acme.example"
SECRETS = ["env:OKTA_HOOK_SECRET"]


@pytest.fixture
def fake() -> FakeScim:
    """Give an empty server."""
    return FakeScim()


def config(*link_by: str) -> Config:
    """Make a configuration of one target that links by these fields; HR comes first."""
    policy = Policy.model_validate({"link_by": list(link_by), "precedence": []})
    return Config(targets={"crm": target()}, policy=policy)


@pytest.fixture
def stage(redis: Redis, fake: FakeScim) -> Stage:
    """Give a stage that links by e-mail address."""
    return Stage(redis, config("email"), {"crm": httpx.MockTransport(fake)})


def okta(kind: Kind, event_id: str, minute: int, **told: Any) -> Event:  # noqa: ANN401 - a profile's fields
    """Make an event of the second source, which has an id of its own for the person."""
    found = event(kind, event_id, minute=minute, person="00u1", **{"external_id": "00u1", "email": MAIL, **told})
    return found.model_copy(update={"source": "okta"})


def kept(*events: Event) -> list[Kept]:
    """Make a mailbox of events that just arrived."""
    return [Kept(each, State.KEPT, {}) for each in events]


def work(stage: Stage) -> None:
    """Run all jobs that are offered, until there is none."""
    queues = lanes(stage.redis)
    for _ in range(50):
        jobs = [job for lane in ("leavers", "people") for job in queues[lane].get_jobs()]
        if not jobs:
            return
        for job in jobs:
            queues[job.origin].remove(job)
            stage.work(*job.args)
    raise AssertionError("the jobs never end")


def test_second_source_of_one_human_works_on_the_same_person(stage: Stage, fake: FakeScim) -> None:
    """A joiner whom another source knows by another id and the same address is that person: no second account."""
    stage.hear(event(Kind.JOINER, "joined", **BO))
    work(stage)

    stage.hear(okta(Kind.JOINER, "created", 1, title="Lead"))
    work(stage)

    assert [each["externalId"] for each in fake.users()] == ["E1042"]
    assert fake.users()[0]["title"] == "Lead"
    assert stage.person().ids == ("hris:E1042", "okta:00u1")
    assert Links(stage.people).linked("00u1") == "E1042"
    assert stage.records.person("00u1")["key"] == "E1042"
    assert stage.records.event("created", ["okta"])["person"] == "E1042"


def test_leaver_of_either_source_locks_the_one_account(stage: Stage, fake: FakeScim) -> None:
    """The second source tells that the person left, by its own id alone: the account of both is suspended."""
    stage.hear(event(Kind.JOINER, "joined", **BO))
    work(stage)
    stage.hear(okta(Kind.JOINER, "created", 1))
    work(stage)

    stage.hear(okta(Kind.LEAVER, "gone", 2, email=None))
    work(stage)

    assert [each["active"] for each in fake.users()] == [False]
    assert stage.records.event("gone", ["okta"])["state"] == "applied"


def test_both_heard_at_once_become_one(stage: Stage, fake: FakeScim) -> None:
    """Each is worked on before the other is known: as soon as one is settled the two are joined, with what waits."""
    stage.hear(event(Kind.JOINER, "joined", **BO), okta(Kind.JOINER, "created", 1))
    stage.work("00u1")
    stage.work("E1042")
    work(stage)

    stage.hear(event(Kind.LEAVER, "left", minute=3))
    work(stage)

    assert [each["active"] for each in fake.users()] == [False]
    keys = {Links(stage.people).linked(key) or key for key in ("00u1", "E1042")}
    assert len(keys) == 1
    assert stage.records.event("left", ["hris"])["person"] in keys


def test_one_of_two_had_left_when_the_account_was_made(stage: Stage, fake: FakeScim) -> None:
    """Both were settled before either was known to be the other: the one that they make is worked on at once."""
    stage.hear(event(Kind.JOINER, "joined", **BO))
    work(stage)
    facts = {"email": Fact(value=BO["email"], at=AT, event="okta:gone")}
    left = Fact(value="left", at=AT + timedelta(minutes=5), event="okta:gone")
    other = Person(key="00u1", status=left, facts=facts, ids=("okta:00u1",))
    stage.people.settle(str(stage.people.take("00u1")), Settled(other, []))

    stage.work("00u1")
    work(stage)

    assert [each["active"] for each in fake.users()] == [False]
    (ours,) = stage.records.events(source="gatepost").items
    assert (ours["state"], ours["kind"]) == ("applied", "mover")


def test_mover_of_a_stranger_is_not_taken_for_who_left(stage: Stage) -> None:
    """The address was given to somebody of whom nobody said yet that they joined: that may still be said."""
    for each in (okta(Kind.JOINER, "created", 0), okta(Kind.LEAVER, "gone", 5)):
        stage.hear(each)
        work(stage)

    moved = event(Kind.MOVER, "moved", minute=20, person="E9", external_id="E9", email=BO["email"], title="Lead")
    stage.hear(moved)
    work(stage)

    assert Links(stage.people).linked("E9") is None
    assert stage.person("00u1").value("title") is None


def test_key_that_was_linked_twice_is_found(stage: Stage, redis: Redis) -> None:
    """Two were one, and that one was a third's: the first key leads to the last."""
    redis.set(keys.link("E1"), "E2")
    redis.set(keys.link("E2"), "E3")

    assert Links(stage.people).linked("E1") == "E3"


def test_older_joiner_of_the_other_source_revives_nobody(stage: Stage, fake: FakeScim) -> None:
    """Somebody left by one source; the other's joiner of before that arrives late, and is outranked."""
    stage.hear(event(Kind.JOINER, "joined", **BO))
    work(stage)
    stage.hear(event(Kind.LEAVER, "left", minute=5))
    work(stage)

    stage.hear(okta(Kind.JOINER, "created", 1))
    work(stage)

    assert stage.records.event("created", ["okta"])["state"] == "superseded"
    assert [each["active"] for each in fake.users()] == [False]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(okta(Kind.JOINER, "one", 0), "00u2", id="one source has two ids"),
        pytest.param(okta(Kind.LEAVER, "one", 0), "E7", id="joined after the other had left"),
    ],
)
def test_address_that_was_given_to_another_links_nobody(stage: Stage, first: Event, second: str) -> None:
    """Where something speaks against it, the same address makes no two persons one."""
    stage.hear(first)
    work(stage)
    other = event(Kind.JOINER, "two", minute=9, person=second, external_id=second, email=MAIL)
    stage.hear(other.model_copy(update={"source": "okta"}) if second.startswith("00u") else other)
    work(stage)

    assert Links(stage.people).linked(second) is None
    assert stage.person(second).status is not None


def test_without_the_policy_an_address_links_no_joiner(redis: Redis, fake: FakeScim) -> None:
    """By default only ids make two of one; the second account is held, for it would be another's."""
    stage = Stage(redis, config(), {"crm": httpx.MockTransport(fake)})
    stage.hear(event(Kind.JOINER, "joined", **BO))
    work(stage)

    stage.hear(okta(Kind.JOINER, "created", 1))
    work(stage)

    assert Links(stage.people).linked("00u1") is None
    assert len(fake.users()) == 1
    assert stage.records.event("created", ["okta"])["state"] == "held"


def test_employee_number_links(redis: Redis, fake: FakeScim) -> None:
    """The policy may link by the employee number; an address that differs does not matter then."""
    stage = Stage(redis, config("employee_number"), {"crm": httpx.MockTransport(fake)})
    stage.hear(event(Kind.JOINER, "joined", **BO, employee_number="7"))
    work(stage)

    stage.hear(okta(Kind.MOVER, "moved", 1, email="bo@acme.example", employee_number="7"))
    work(stage)

    assert Links(stage.people).linked("00u1") == "E1042"
    assert stage.person().value("email") == "bo@acme.example"


def test_words_of_both_count_for_the_one() -> None:
    """Of two persons who are one human, what each source said of the status, and since when, is known of the one."""
    here = fold(config(), Person(key="E1042"), kept(event(Kind.JOINER, "here", minute=1)), AT + timedelta(days=1))
    away = fold(config(), Person(key="00u1"), kept(okta(Kind.LEAVER, "away", 2), okta(Kind.JOINER, "new", 0)), AT)

    one = united(config(), away.person, here.person)

    assert one.status == away.person.status
    assert [word.event for word in one.words] == ["okta:new", "hris:here", "okta:away"]
    assert one.hired == {"hris": AT + timedelta(minutes=1), "okta": AT}


def test_person_who_is_worked_on_is_joined_later(stage: Stage, redis: Redis) -> None:
    """While the other's lease is held nothing is joined; a later look is offered, and both stay as they are."""
    stage.hear(event(Kind.JOINER, "joined", **BO))
    work(stage)
    held = stage.people.take("E1042")
    assert held
    stage.hear(okta(Kind.JOINER, "created", 1))

    work(stage)

    assert Links(stage.people).linked("00u1") is None
    assert stage.mailbox("00u1") == ["okta:created"]
    assert len(stage.later()) == 1
    assert redis.get("gatepost:lease:E1042") == held.encode()


def test_joining_needs_both_leases(stage: Stage) -> None:
    """A job that lost one of the two leases changes nothing."""
    stage.hear(event(Kind.JOINER, "joined", **BO))
    work(stage)
    people: People = stage.people
    token = people.take("00u1")
    assert token

    with pytest.raises(LeaseLost):
        Links(people).merge("00u1", token, "people", "no token", stage.person())

    assert Links(people).linked("00u1") is None
