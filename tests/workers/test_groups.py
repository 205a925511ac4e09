"""A target's groups by name or id: looked up once, made where policy and target allow it, nested as the policy says."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis
from structlog.testing import capture_logs

from lifecycle import keys
from lifecycle.errors import GatepostError, Postponed, Refused
from lifecycle.event import Kind
from tests.workers.conftest import MakeStage
from tests.workers.fake_scim import GROUP, FakeScim, Quirk, answers, cuts_after
from tests.workers.memberships import House, house
from tests.workers.stories import BO, event, referee
from workers.scim.capabilities import Capabilities
from workers.scim.client import Conversation

CREATES = Capabilities(create_groups=True)


def refused(found: House, name: str) -> GatepostError:
    """Return the error that looking for a group ends in."""
    with pytest.raises(GatepostError) as caught:
        found.groups.find(found.talk, name)
    return caught.value


def id_of(found: House, name: str) -> str:
    """Return the id of the one group of this name that the server holds."""
    (group_id,) = [key for key, each in found.fake.held["Groups"].items() if each["displayName"] == name]
    return group_id


def posts(found: House) -> list[Any]:
    """Return the bodies of all creates."""
    return [said.body for said in found.fake.log if said.method == "POST"]


# ---- find


def test_id_is_looked_up_once_for_the_fleet(redis: Redis) -> None:
    """Another process finds it in Redis, for an hour."""
    found = house(redis)
    found.groups.find(found.talk, "Agents")

    again = House(redis, found.fake).groups.find(found.talk, "Agents")

    assert again == "g-1"
    assert len(found.fake.log) == 1
    assert 0 < redis.ttl(keys.groups("crm")) <= 3_600


def test_group_by_id_is_taken_at_its_word(redis: Redis) -> None:
    """Nothing is asked and nothing is kept."""
    found = house(redis)

    assert found.groups.find(found.talk, "id:g-77") == "g-77"
    assert found.fake.log == []
    assert not redis.exists(keys.groups("crm"))


def test_group_by_an_id_that_is_not_there_is_missing(redis: Redis) -> None:
    """An account cannot join it."""
    found = house(redis)

    ended = found.keep(found.wants("id:g-77"))

    assert ended.trouble == "group_missing"
    assert ended.memberships == {}


def test_two_groups_of_one_name_are_none(redis: Redis) -> None:
    """Which of them is meant, nobody can tell."""
    found = house(redis)
    found.fake.add("Groups", id="g-3", displayName="Agents")

    error = refused(found, "Agents")

    assert error.reason == "group_missing"
    assert "2 groups" in error.message


def test_group_under_a_new_id_is_found_again(redis: Redis) -> None:
    """A 404 drops the id that was kept, and asks once more."""
    found = house(redis)
    redis.hset(keys.groups("crm"), "Agents", "g-old")

    ended = found.keep(found.wants("Agents"))

    assert ended.memberships == {"Agents": "g-1"}
    assert found.fake.members_of("g-1") == ["u-1", "u-9", "u-7"]


# ---- a group that is missing

EVERYBODY = {"grants": [{"when": "true", "groups": ["Choir"]}]}


def test_group_that_is_missing_is_looked_for_once_a_minute(redis: Redis) -> None:
    """Each joiner who needs it would cost a listing of all groups; a minute later somebody may have made it."""
    found = house(redis)
    first = refused(found, "Choir")
    asked = len(found.fake.log)
    refused(found, "Band")
    redis.expire(keys.groups_missing("crm"), 30)

    again = refused(House(redis, found.fake), "Choir")
    refused(found, "Quartet")

    assert len(found.fake.log) == 3 * asked
    assert (again.reason, again.message) == (first.reason, first.message)
    assert redis.ttl(keys.groups_missing("crm")) <= 30


def test_group_that_was_missing_is_found_a_minute_later(redis: Redis) -> None:
    """And nothing is remembered of its absence."""
    found = house(redis)
    refused(found, "Choir")
    within = redis.ttl(keys.groups_missing("crm"))
    found.fake.add("Groups", id="g-3", displayName="Choir")
    redis.delete(keys.groups_missing("crm"))

    assert found.groups.find(found.talk, "Choir") == "g-3"
    assert 0 < within <= 60
    assert not redis.exists(keys.groups_missing("crm"))


def test_group_that_is_missing_is_made_once_the_policy_wants_it(redis: Redis) -> None:
    """That there is none is the very reason."""
    found = house(redis)
    refused(found, "Choir")

    House(redis, found.fake, create=True, can=CREATES).groups.find(Conversation(lambda: None, can=CREATES), "Choir")

    assert found.groups.find(found.talk, "Choir") == id_of(found, "Choir")
    assert not redis.exists(keys.groups_missing("crm"))


def test_retry_finds_the_group_that_was_made_for_it(make_stage: MakeStage) -> None:
    """The person who retries need not know of our minute."""
    fake = FakeScim()
    stage = make_stage(crm=fake, policy=EVERYBODY)
    stage.tell(event(Kind.JOINER, "joined", **BO))
    before = stage.state("joined")
    fake.add("Groups", id="g-3", displayName="Choir")

    stage.records.retry("event:hris:joined", actor="anna")
    stage.work()

    assert (before, stage.state("joined")) == ("failed", "applied")
    assert fake.members_of("g-3") == [fake.user("bo.ray@acme.example")["id"]]


# ---- create


@pytest.mark.parametrize(("create", "can"), [(False, CREATES), (True, Capabilities()), (False, Capabilities())])
def test_group_is_made_only_where_policy_and_target_allow_it(create: bool, can: Capabilities, redis: Redis) -> None:
    """One of them alone is not enough."""
    found = house(redis, create=create, can=can)

    error = refused(found, "Choir")

    assert error.reason == "group_missing"
    assert posts(found) == []


def test_group_is_made_of_its_name(redis: Redis) -> None:
    """Then it is kept as if it had been looked up."""
    found = house(redis, create=True, can=CREATES)

    group_id = found.groups.find(found.talk, "Choir")
    again = found.groups.find(found.talk, "Choir")

    assert posts(found) == [{"schemas": [GROUP], "displayName": "Choir"}]
    assert found.fake.held["Groups"][group_id]["displayName"] == "Choir"
    assert group_id == again
    referee(found.fake.log)


def test_group_of_two_is_not_made_a_third_time(redis: Redis) -> None:
    """Only a name that nobody has is created."""
    found = house(redis, create=True, can=CREATES)
    found.fake.add("Groups", id="g-3", displayName="Agents")

    assert refused(found, "Agents").reason == "group_missing"
    assert posts(found) == []


def test_group_that_only_location_names_is_known_by_it(redis: Redis) -> None:
    """Some answer without an id."""
    found = house(redis, Quirk.CREATES_WITHOUT_ID, create=True, can=CREATES)

    group_id = found.groups.find(found.talk, "Choir")

    assert found.fake.held["Groups"][group_id]["displayName"] == "Choir"


def test_group_that_nothing_names_is_looked_for_later(redis: Redis) -> None:
    """It was made: a second create would make two."""
    found = house(redis, Quirk.CREATES_WITHOUT_NAME, create=True, can=CREATES)

    error = refused(found, "Choir")
    found.groups.find(found.talk, "Choir")

    assert isinstance(error, Postponed)
    assert len(posts(found)) == 1


def test_group_that_somebody_made_meanwhile_is_taken(redis: Redis) -> None:
    """A conflict says that it is there, and a look-up says as what."""
    found = house(redis, create=True, can=CREATES)

    def faster(proceed: Any) -> Any:  # noqa: ANN401 - a fault
        found.fake.add("Groups", id="g-3", displayName="Choir")
        return proceed()

    found.fake.next(faster, on="POST")

    assert found.groups.find(found.talk, "Choir") == "g-3"


def test_group_whose_create_is_refused_is_told_in_the_targets_words(redis: Redis) -> None:
    """Also where a conflict names nobody."""
    found = house(redis, create=True, can=CREATES)
    found.fake.next(answers(409, {"detail": "reserved"}), on="POST")

    error = refused(found, "Choir")

    assert isinstance(error, Refused)
    assert "reserved" in error.message


def test_group_whose_create_was_lost_is_found_next_time(redis: Redis) -> None:
    """The next attempt begins with a look."""
    found = house(redis, create=True, can=CREATES)
    found.fake.next(cuts_after(), on="POST")

    error = refused(found, "Choir")
    found.groups.find(found.talk, "Choir")

    assert isinstance(error, Postponed)
    assert len(posts(found)) == 1


def test_group_that_another_process_made_meanwhile_is_not_created(redis: Redis) -> None:
    """It was made between the look-up and the create, and Redis knows it."""
    found = house(redis, create=True, can=CREATES)

    def slower(proceed: Any) -> Any:  # noqa: ANN401 - a fault
        answer = proceed()
        House(redis, found.fake, create=True, can=CREATES).groups.find(found.talk, "Choir")
        return answer

    found.fake.next(slower, on="GET /Groups?startIndex")

    group_id = found.groups.find(found.talk, "Choir")

    assert found.fake.held["Groups"][group_id]["displayName"] == "Choir"
    assert len(posts(found)) == 1


def test_job_that_lost_the_name_makes_no_group(redis: Redis) -> None:
    """It was slow, and another job may have made it by now."""
    found = house(redis, create=True, can=CREATES)
    lease = keys.group_lease("crm", "name:Choir")

    def slow() -> None:
        redis.set(lease, "another", xx=True)

    with pytest.raises(Postponed):
        found.groups.find(Conversation(slow, can=CREATES), "Choir")

    assert posts(found) == []


def test_many_at_once_make_one_group(redis: Redis) -> None:
    """A displayName is not unique: a server may well take two of one name."""
    found = house(redis, create=True, can=CREATES)

    reasons = set()

    def find(_: int) -> str:
        while True:
            try:
                return House(redis, found.fake, create=True, can=CREATES).groups.find(found.talk, "Choir")
            except Postponed as error:
                reasons.add(error.reason)

    with ThreadPoolExecutor(6) as pool:
        ids = set(pool.map(find, range(6)))

    assert len(posts(found)) == 1
    assert len(ids) == 1
    assert reasons <= {"group_busy"}


# ---- warm


def test_warming_looks_names_up_and_nests(redis: Redis) -> None:
    """Before a person needs them."""
    found = house(redis)

    found.groups.warm(found.talk, ["Agents", "Sellers"], {"Agents": ["Sellers"]})

    assert redis.hgetall(keys.groups("crm")) == {b"Agents": b"g-1", b"Sellers": b"g-2"}
    assert found.fake.members_of("g-1") == ["u-1", "u-9", "g-2"]


def test_warming_leaves_trouble_to_those_who_need_the_group(redis: Redis) -> None:
    """A target that is away keeps no worker from starting."""
    found = house(redis)
    found.fake.next(answers(503), times=9)

    found.groups.warm(found.talk, ["Agents"], {"Agents": ["Sellers"]})

    assert len(found.fake.log) == 1
    assert not redis.exists(keys.groups_nested("crm"))


def test_warming_goes_on_after_a_group_that_is_missing(redis: Redis) -> None:
    """One name that nobody has keeps no other from being looked up, and no nesting from being made."""
    found = house(redis)

    found.groups.warm(found.talk, ["Aaa", "Agents"], {"Aaa": ["Agents"], "Agents": ["Sellers"]})

    assert redis.hgetall(keys.groups("crm")) == {b"Agents": b"g-1", b"Sellers": b"g-2"}
    assert found.fake.members_of("g-1") == ["u-1", "u-9", "g-2"]


def test_nesting_is_made_by_one_process_of_the_fleet(redis: Redis) -> None:
    """Each that starts would read all the groups otherwise."""
    found = house(redis)
    found.groups.warm(found.talk, [], {"Agents": ["Sellers"]})
    asked = len(found.fake.log)

    House(redis, found.fake).groups.warm(found.talk, [], {"Agents": ["Sellers"]})
    found.groups.nest(found.talk)

    assert len(found.fake.log) == asked
    assert 0 < redis.ttl(keys.groups_nested("crm")) <= 3_600


def test_nesting_of_a_new_policy_waits_for_nobody(redis: Redis) -> None:
    """What the old one nested says nothing of it."""
    found = house(redis)
    found.groups.warm(found.talk, [], {"Agents": ["Sellers"]})
    found.fake.add("Groups", id="g-3", displayName="Choir")

    House(redis, found.fake).groups.warm(found.talk, [], {"Agents": ["Choir", "Sellers"]})

    assert found.fake.members_of("g-1") == ["u-1", "u-9", "g-2", "g-3"]


def test_nesting_that_somebody_undid_is_made_again(redis: Redis) -> None:
    """At a later round."""
    found = house(redis)
    found.groups.warm(found.talk, [], {"Agents": ["Sellers"]})
    found.fake.held["Groups"]["g-1"]["members"].pop()
    redis.delete(keys.groups_nested("crm"))

    found.groups.nest(found.talk)

    assert found.fake.members_of("g-1") == ["u-1", "u-9", "g-2"]


def test_nesting_waits_for_a_target_that_is_busy_and_is_tried_again_soon(redis: Redis) -> None:
    """No more is asked of it, and the round goes on with other targets."""
    found = house(redis)
    found.groups.warm(found.talk, ["Agents", "Sellers"])
    found.fake.next(answers(503), on="GET /Groups/", times=9)

    found.groups.warm(found.talk, [], {"Agents": ["Sellers"], "Sellers": ["id:g-9"]})

    assert found.fake.lines()[-1] == "GET /Groups/g-1"
    assert redis.ttl(keys.groups_nested("crm")) <= 300


def test_nesting_that_fails_is_told(redis: Redis) -> None:
    """No person needs it, so that a log line has to say it."""
    found = house(redis)

    with capture_logs() as lines:
        found.groups.warm(found.talk, [], {"Agents": ["Ghosts"]})

    assert [(line["event"], line["target"], line["reason"]) for line in lines] == [
        ("groups.not_nested", "crm", "group_missing")
    ]
