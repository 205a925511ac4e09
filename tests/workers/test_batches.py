"""Many people's changes to one group: while a backlog waits they go together, and each is told what came of its own."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.errors import Postponed
from lifecycle.event import Event, Kind
from lifecycle.paths import parse_path
from lifecycle.person import Account
from tests.workers.conftest import MakeStage
from tests.workers.fake_scim import FakeScim, Fault, Quirk, answers, cuts_after, cuts_before
from tests.workers.memberships import Ended, House, house
from tests.workers.stories import BO, event
from workers.scim.batches import BACKLOG_MIN, WAIT_AT_THE_GATE_SECONDS, WAIT_SECONDS
from workers.scim.capabilities import Capabilities
from workers.scim.exclusive import HOLD_MILLISECONDS
from workers.scim.members import settled_in_batch

IN_AGENTS = {"Agents": "g-1"}
AGENTS = {"grants": [{"when": "person.department == 'Support'", "groups": ["Agents"]}]}


@pytest.fixture
def found(redis: Redis) -> House:
    """Give a house whose group ids are known, with a backlog in the lane."""
    made = house(redis, Quirk.KNOWS_ITS_MEMBERS, members=["u-1"])
    for number in range(1, 120):
        made.fake.add("Users", id=f"u-{number}", userName=f"u{number}@acme.example")
    made.groups.warm(made.talk, ["Agents", "Sellers"])
    made.fake.log.clear()
    backlog(redis, 500)
    return made


def backlog(redis: Redis, jobs: int) -> None:
    """Let this many jobs wait in the lane."""
    redis.delete("rq:queue:people")
    if jobs:
        redis.rpush("rq:queue:people", *range(jobs))


def joins(found: House, *accounts: str, **changed: Any) -> list[Ended]:  # noqa: ANN401 - a task's fields
    """Let accounts join Agents one after the other."""
    return [found.keep(found.wants("Agents", **changed), account_id=each) for each in accounts]


def joiner(key: str) -> Event:
    """Make the event of one who joins the department."""
    own = {"external_id": key, "email": f"{key}@acme.example"}
    return event(Kind.JOINER, f"joined {key}", person=key, **(BO | own))


def members(found: House) -> set[str]:
    """Return who is in Agents."""
    return set(found.fake.members_of("g-1"))


def while_it_is_sent(*then: Any) -> Fault:  # noqa: ANN401 - functions
    """Do something between the moment at which a batch is taken and the server's answer."""

    def fault(proceed: Any) -> httpx.Response:  # noqa: ANN401 - a fault
        for each in then:
            each()
        return proceed()  # type: ignore[no-any-return]

    return fault


# ---- waiting and going together


def test_joiner_in_a_backlog_is_put_off_once(found: House) -> None:
    """The first time the change is noted, and the account's own attempt ends for this group."""
    (ended,) = joins(found, "u-7")

    assert ended.lines == []
    assert ended.trouble == "group_batch"
    assert isinstance(ended.agreement.trouble, Postponed)
    assert ended.agreement.trouble.retry_at is not None
    assert ended.agreement.trouble.retry_at - datetime.now(UTC) < timedelta(seconds=WAIT_SECONDS)
    assert ended.memberships == {}


def test_joiner_without_a_backlog_goes_alone_at_once(found: House, redis: Redis) -> None:
    """Nobody waits, so nobody is waited for."""
    backlog(redis, BACKLOG_MIN - 1)

    (ended,) = joins(found, "u-7")

    assert ended.lines == ["PATCH /Groups/g-1"]
    assert ended.memberships == IN_AGENTS


def test_backlog_at_the_gate_counts_too_and_gathers_longer(found: House, redis: Redis) -> None:
    """Whom the target's limit keeps waiting is in no lane, and comes slowly."""
    backlog(redis, 0)
    redis.zadd(keys.waiting("crm"), {f"E{number}": number for number in range(10)})

    (ended,) = joins(found, "u-7")

    assert isinstance(ended.agreement.trouble, Postponed)
    assert ended.agreement.trouble.retry_at is not None
    assert ended.agreement.trouble.retry_at - datetime.now(UTC) > timedelta(seconds=WAIT_AT_THE_GATE_SECONDS - 1)


def test_who_comes_back_takes_all_along(found: House) -> None:
    """One PATCH for all that were put off; the others find it done and need no request."""
    joins(found, "u-7", "u-8", "u-9")

    back = joins(found, "u-8", "u-7", "u-9")

    assert [ended.lines for ended in back] == [["PATCH /Groups/g-1"], [], []]
    assert {"u-1", "u-7", "u-8", "u-9"} == members(found)
    assert [ended.memberships for ended in back] == [IN_AGENTS] * 3
    assert [ended.agreement.groups_added for ended in back] == [["Agents"]] * 3


def test_last_of_the_backlog_takes_all_along(found: House, redis: Redis) -> None:
    """Nobody is behind, so that the last one does not wait for the others to come back."""
    joins(found, "u-7", "u-8")
    backlog(redis, 0)

    (ended,) = joins(found, "u-9")

    assert ended.lines == ["PATCH /Groups/g-1"]
    assert {"u-1", "u-7", "u-8", "u-9"} == members(found)


def test_hundred_joiners_of_one_department_need_a_handful_of_requests(found: House, redis: Redis) -> None:
    """Where they would be a hundred."""
    accounts = [f"u-{number}" for number in range(10, 110)]
    put_off = []
    for left, account in zip(reversed(range(100)), accounts, strict=True):
        backlog(redis, left)
        put_off += [account for ended in joins(found, account) if ended.trouble]

    joins(found, *put_off)

    assert len(found.fake.log) <= BACKLOG_MIN
    assert set(accounts) | {"u-1"} == members(found)


def test_batch_has_the_size_that_the_target_takes(found: House) -> None:
    """The rest goes with the next who comes."""
    found.can = Capabilities(member_batch=2)
    joins(found, "u-7", "u-8", "u-9")

    back = joins(found, "u-7", "u-8", "u-9")

    assert sum(len(ended.lines) for ended in back) == 2
    assert {"u-1", "u-7", "u-8", "u-9"} == members(found)


def test_those_who_come_and_those_who_leave_go_together(found: House) -> None:
    """A mover out of the group and a joiner into it are one PATCH."""
    found.keep(found.wants(), IN_AGENTS, "u-1")
    joins(found, "u-7")

    left = found.keep(found.wants(), IN_AGENTS, "u-1")
    (joined,) = joins(found, "u-7")

    assert (left.lines, joined.lines) == (["PATCH /Groups/g-1"], [])
    assert members(found) == {"u-7"}
    assert left.agreement.groups_removed == ["Agents"]


def test_many_at_once_lose_nobody(found: House) -> None:
    """Several workers on one group: each account ends as a member, and no batch undoes another."""
    accounts = [f"u-{number}" for number in range(10, 50)]
    for each in accounts:
        joins(found, each)

    def until_done(account: str) -> Ended:
        ended = None
        while ended is None or ended.trouble:
            (ended,) = joins(found, account)
        return ended

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(until_done, accounts))

    assert {"u-1", *accounts} == members(found)
    assert all(ended.memberships == IN_AGENTS for ended in done)
    assert len(found.fake.writes()) < 10


# ---- what is found done


def test_account_that_was_settled_but_for_the_batch_needs_no_request_at_all(found: House) -> None:
    """Its own attributes agreed when it was put off, and the wanted state is just the same."""
    account = Account(id="u-7", active=True)
    joins(found, "u-7", "u-8")
    before = settled_in_batch(found.wants("Agents", account=account))
    joins(found, "u-8")

    after = settled_in_batch(found.wants("Agents", account=account))

    assert (before, after) == (None, IN_AGENTS)


@pytest.mark.parametrize("change", ["title", "group", "nothing known"])
def test_account_of_which_more_is_wanted_by_now_is_looked_at(change: str, found: House) -> None:
    """What was done for another wanted state settles nothing."""
    account = Account(id="u-7", active=True)
    joins(found, "u-7", "u-8")
    joins(found, "u-8")
    task = found.wants("Agents", account=account)
    tasks = {
        "title": replace(task, wanted=replace(task.wanted, attributes={parse_path("title"): "Lead"})),
        "group": found.wants("Agents", "Sellers", account=account),
        "nothing known": replace(task, account=None),
    }

    assert settled_in_batch(tasks[change]) is None


def test_notes_are_dropped_when_the_account_tells_of_the_group(found: House, redis: Redis) -> None:
    """From then on the account's own record is what counts."""
    joins(found, "u-7", "u-8")
    joins(found, "u-8", "u-7")

    found.keep(found.wants("Agents"), IN_AGENTS, "u-7")

    assert not redis.exists(keys.noted("crm", "u-7"))
    assert redis.ttl(keys.noted("crm", "u-8")) > 0


def test_membership_that_the_account_shows_by_now_is_told_once(found: House) -> None:
    """The target lists the group at the account already, and nobody was told of it yet."""
    joins(found, "u-7", "u-8")
    joins(found, "u-8")
    task = found.wants("Agents", account=Account(id="u-7", active=True))

    ended = found.keep(task, IN_AGENTS, "u-7")

    assert ended.agreement.groups_added == ["Agents"]
    assert ended.lines == []


# ---- refusals and lost answers


def test_batch_that_is_refused_is_made_one_by_one(found: House) -> None:
    """One who is not there any more keeps nobody out, and is told in the target's own words."""
    joins(found, "u-7", "u-404", "u-8")

    back = joins(found, "u-7", "u-404", "u-8")

    assert {"u-1", "u-7", "u-8"} == members(found)
    assert [ended.trouble for ended in back] == [None, "refused", None]
    assert "there is no such member" in str(back[1].agreement.trouble)


def test_batch_whose_answer_is_lost_is_made_again_carefully(found: House) -> None:
    """Nobody knows whether it was done: the next who comes looks first, and nobody is in it twice."""
    found.fake.quirks |= {Quirk.DOUBLES_MEMBERS}
    joins(found, "u-7", "u-8")
    found.fake.next(cuts_after(), on="PATCH")

    back = joins(found, "u-7", "u-8", "u-7")

    assert [ended.trouble for ended in back] == ["no_answer", None, None]
    assert found.fake.members_of("g-1").count("u-7") == 1
    assert {"u-1", "u-7", "u-8"} == members(found)


def test_own_change_whose_answer_was_lost_is_made_again_carefully(found: House) -> None:
    """Though nobody else was in the batch."""
    found.fake.quirks |= {Quirk.DOUBLES_MEMBERS}
    joins(found, "u-7")
    found.fake.next(cuts_after(), on="PATCH")

    back = joins(found, "u-7", "u-7")

    assert [ended.trouble for ended in back] == ["no_answer", None]
    assert found.fake.members_of("g-1").count("u-7") == 1


def test_change_of_another_that_may_have_been_made_is_made_again_carefully(found: House) -> None:
    """Whoever takes it along has a sure change of its own."""
    found.fake.quirks |= {Quirk.DOUBLES_MEMBERS}
    joins(found, "u-7", "u-8")
    found.fake.next(cuts_after(), on="PATCH")
    joins(found, "u-7")

    joins(found, "u-9", "u-9")

    assert sorted(found.fake.members_of("g-1")) == ["u-1", "u-7", "u-8", "u-9"]


def test_job_that_lost_the_group_tells_nothing(found: House, redis: Redis) -> None:
    """Its answer came so late that another job is at it: what came of it is for that one to say."""
    joins(found, "u-7", "u-8")
    lease = keys.group_lease("crm", "g-1")
    found.fake.next(while_it_is_sent(lambda: redis.set(lease, "another")), on="PATCH")

    joins(found, "u-7")

    assert str(redis.hget(keys.noted("crm", "u-8"), "g-1")).startswith("b'sent add")
    assert redis.get(lease) == b"another"


def test_lease_of_a_batch_begins_anew_with_every_request(found: House, redis: Redis) -> None:
    """A batch of many requests takes longer than one lease, and nobody else is to be at the group meanwhile."""
    found.can = Capabilities(member_batch=2, one_operation=True)
    lease, left = keys.group_lease("crm", "g-1"), []

    def slow(proceed: Any) -> httpx.Response:  # noqa: ANN401 - a fault
        left.append(redis.pttl(lease))
        redis.pexpire(lease, 1_000)
        return proceed()  # type: ignore[no-any-return]

    found.keep(found.wants(), IN_AGENTS, "u-1")
    joins(found, "u-7")
    found.fake.next(slow, times=9)

    joins(found, "u-7")

    assert len(left) == 2
    assert min(left) > HOLD_MILLISECONDS / 2
    assert members(found) == {"u-7"}


def test_job_that_lost_the_group_in_the_middle_of_a_batch_stops(found: House, redis: Redis) -> None:
    """What it did not ask for is another job's to do, and what it noted as sent is made again by whom it is about."""
    found.can = Capabilities(member_batch=2, one_operation=True)
    found.keep(found.wants(), IN_AGENTS, "u-1")
    joins(found, "u-7")
    lease = keys.group_lease("crm", "g-1")
    found.fake.next(while_it_is_sent(lambda: redis.set(lease, "another")), on="PATCH")

    (stopped,) = joins(found, "u-7")
    redis.delete(lease)
    (again,) = joins(found, "u-7")
    left = found.keep(found.wants(), IN_AGENTS, "u-1")

    assert (stopped.trouble, len(stopped.lines)) == ("group_busy", 1)
    assert again.trouble is left.trouble is None
    assert members(found) == {"u-7"}


def test_job_that_dies_before_it_tells_loses_nobody(found: House, redis: Redis) -> None:
    """The server did it, the worker was killed: those who were put off come back and find out by asking again."""
    joins(found, "u-7", "u-8")

    class Killed(BaseException):
        """The end of a process, as far as this one can play it."""

    def kill(proceed: Any) -> httpx.Response:  # noqa: ANN401 - a fault
        proceed()
        raise Killed

    found.fake.next(kill, on="PATCH")
    with pytest.raises(Killed):
        joins(found, "u-7")

    back = joins(found, "u-8", "u-7")

    assert [ended.memberships for ended in back] == [IN_AGENTS] * 2
    assert {"u-1", "u-7", "u-8"} == members(found)


def test_group_that_is_gone_is_looked_up_again_by_each(found: House) -> None:
    """It was made anew under another id."""
    joins(found, "u-7", "u-8")
    found.fake.held["Groups"]["g-3"] = {**found.fake.held["Groups"].pop("g-1"), "id": "g-3"}

    back = joins(found, "u-7", "u-8")
    again = joins(found, "u-7", "u-8")

    assert {ended.trouble for ended in back} <= {None, "group_batch"}
    assert [ended.memberships for ended in again] == [{"Agents": "g-3"}] * 2
    assert {"u-1", "u-7", "u-8"} == set(found.fake.members_of("g-3"))


def test_batch_that_is_too_large_is_made_one_by_one(found: House) -> None:
    """The target takes fewer members than its profile says."""
    found.fake.quirks |= {Quirk.SMALL_BATCHES}
    joins(found, "u-7", "u-8", "u-9")

    back = joins(found, "u-7", "u-8", "u-9")

    assert [ended.trouble for ended in back] == [None] * 3
    assert {"u-1", "u-7", "u-8", "u-9"} == members(found)


# ---- who changes their mind, and who leaves


def test_change_that_is_not_wanted_any_more_is_taken_back(found: House) -> None:
    """It was noted and not sent, so that nothing has to be undone."""
    joins(found, "u-7", "u-8")

    withdrawn = found.keep(found.wants(), account_id="u-7")
    joins(found, "u-8")

    assert withdrawn.trouble is None
    assert {"u-1", "u-8"} == members(found)


def test_change_that_was_made_and_is_not_wanted_any_more_is_undone(found: House, redis: Redis) -> None:
    """The account's own record does not know of the group yet; what the batch did counts."""
    joins(found, "u-7", "u-8")
    joins(found, "u-8")
    backlog(redis, 0)

    undone = found.keep(found.wants(), account_id="u-7")

    assert undone.trouble is None
    assert {"u-1", "u-8"} == members(found)
    assert found.keep(found.wants(), account_id="u-7").lines == []


def test_account_that_left_with_others_and_is_wanted_again_joins_again(found: House, redis: Redis) -> None:
    """What the batch took away is given back, though the account's own record never lost it."""
    found.keep(found.wants(), IN_AGENTS, "u-1")
    joins(found, "u-7", "u-7")
    backlog(redis, 0)

    back = found.keep(found.wants("Agents"), IN_AGENTS, "u-1")

    assert back.memberships == IN_AGENTS
    assert {"u-1", "u-7"} == members(found)
    assert found.keep(found.wants("Agents"), IN_AGENTS, "u-1").lines == []


def test_leaver_never_waits(found: House) -> None:
    """However long the backlog is."""
    ended = found.keep(found.leaver(), IN_AGENTS, "u-1")

    assert ended.trouble is None
    assert members(found) == set()


def test_leaver_takes_back_what_was_noted(found: House) -> None:
    """Nobody puts somebody into a group who has left."""
    joins(found, "u-7", "u-8")

    left = found.keep(found.leaver(), account_id="u-7")
    joins(found, "u-8")

    assert (left.lines, left.trouble) == ([], None)
    assert {"u-1", "u-8"} == members(found)


def test_leaver_leaves_what_a_batch_joined(found: House) -> None:
    """Though its own record does not know of it."""
    joins(found, "u-7", "u-8")
    joins(found, "u-8")

    left = found.keep(found.leaver(), account_id="u-7")

    assert left.trouble is None
    assert {"u-1", "u-8"} == members(found)


def test_leaver_leaves_what_a_dead_job_may_have_joined(found: House) -> None:
    """Nobody knows, so it is asked for; a member that is not there has left."""
    joins(found, "u-7", "u-8")
    found.fake.next(cuts_after(), on="PATCH")
    joins(found, "u-8")

    left = found.keep(found.leaver(), account_id="u-7")
    joins(found, "u-8")

    assert left.trouble is None
    assert {"u-1", "u-8"} == members(found)


def test_leaver_leaves_what_a_job_only_tried_to_take_away(found: House) -> None:
    """A mover was to go with others, and nobody knows whether that was done."""
    found.keep(found.wants(), IN_AGENTS, "u-1")
    joins(found, "u-7")
    found.fake.next(cuts_before(), on="PATCH")
    joins(found, "u-7")

    left = found.keep(found.leaver(), IN_AGENTS, "u-1")

    assert left.agreement.groups_removed == ["Agents"]
    assert members(found) == set()


def test_leaver_who_was_to_go_with_others_goes_alone(found: House, redis: Redis) -> None:
    """And nothing of it is left for others to do."""
    found.keep(found.wants(), IN_AGENTS, "u-1")

    left = found.keep(found.leaver(), IN_AGENTS, "u-1")

    assert left.lines == ["PATCH /Groups/g-1"]
    assert not redis.exists(keys.members("crm", "g-1"))


def test_leaver_whose_membership_is_just_being_made_comes_back(found: House) -> None:
    """The answer is awaited by another job; a moment later it is known."""
    joins(found, "u-7", "u-8")
    during: list[Ended] = []
    leave = while_it_is_sent(lambda: during.append(found.keep(found.leaver(), account_id="u-7")))
    found.fake.next(leave, on="PATCH")

    joins(found, "u-8")
    after = found.keep(found.leaver(), account_id="u-7")

    assert [ended.trouble for ended in during] == ["group_busy"]
    assert after.trouble is None
    assert {"u-1", "u-8"} == members(found)


def test_who_is_just_being_joined_by_another_job_comes_back(found: House) -> None:
    """Two jobs do not send the same change."""
    joins(found, "u-7", "u-8")
    during: list[Ended] = []
    found.fake.next(while_it_is_sent(lambda: during.extend(joins(found, "u-7"))), on="PATCH")

    joins(found, "u-8")

    assert [ended.trouble for ended in during] == ["group_batch"]
    assert [said.method for said in found.fake.writes()] == ["PATCH"]


def test_busy_target_is_asked_again_by_the_next(found: House) -> None:
    """What was taken is not lost when the answer is 503."""
    joins(found, "u-7", "u-8")
    found.fake.next(answers(503), on="PATCH")

    back = joins(found, "u-7", "u-8", "u-7")

    assert [ended.trouble for ended in back] == ["busy", None, None]
    assert {"u-1", "u-7", "u-8"} == members(found)


def test_nothing_that_is_noted_stays_for_ever(found: House, redis: Redis) -> None:
    """Every key has an end."""
    joins(found, "u-7", "u-8")

    noted: Any = redis.keys("gatepost:members:*") + redis.keys("gatepost:noted:*")
    assert len(noted) == 3
    assert all(0 < redis.ttl(key) <= keys.NOTES_TTL_SECONDS for key in noted)


# ---- the whole way


def test_department_that_joins_at_once_is_one_group_request_and_little_else(
    make_stage: MakeStage, fake: FakeScim, redis: Redis
) -> None:
    """Each account costs what it always did; the group costs a handful for all of them."""
    fake.add("Groups", id="g-1", displayName="Agents")
    stage = make_stage(crm=fake, policy=AGENTS)
    people = [f"E{number}" for number in range(40)]
    stage.hear(*(joiner(each) for each in people))

    for each in people:
        redis.lpop("rq:queue:people")
        stage.work(each)
    for each in people:
        stage.work(each)

    accounts = {str(user["id"]) for user in fake.users()}
    groups = [line for line in fake.lines() if line.startswith("PATCH /Groups")]
    assert set(fake.members_of("g-1")) == accounts
    assert len(accounts) == len(people)
    assert {stage.state(f"joined {each}") for each in people} == {"applied"}
    assert len(groups) <= BACKLOG_MIN
    assert {group for each in people for group in stage.person(each).accounts["crm"].groups} == {"Agents"}
    assert len(fake.log) <= 2 * len(people) + BACKLOG_MIN + 1


def test_leaver_of_a_department_that_joins_is_out_of_it(make_stage: MakeStage, fake: FakeScim, redis: Redis) -> None:
    """The join was noted, and somebody else would have made it; the leaver does not wait for that."""
    fake.add("Groups", id="g-1", displayName="Agents")
    stage = make_stage(crm=fake, policy=AGENTS)
    people = [f"E{number}" for number in range(6)]
    stage.hear(*(joiner(each) for each in people))
    stage.work("E0")

    stage.hear(event(Kind.LEAVER, "left", minute=1, person="E0"))
    stage.work("E0", lane="leavers")
    for each in people[1:] * 2:
        redis.lpop("rq:queue:people")
        stage.work(each)

    (gone,) = [str(user["id"]) for user in fake.users() if not user["active"]]
    assert stage.state("left") == "applied"
    assert gone not in fake.members_of("g-1")
    assert len(fake.members_of("g-1")) == len(people) - 1
