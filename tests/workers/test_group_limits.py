"""Limits of what is taken from people who stay: groups and roles; and of deletions."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.errors import GatepostError, Held, Postponed, Refused
from lifecycle.person import Account, Hold
from lifecycle.policy import Policy
from lifecycle.settlement import DROPPED, RELEASED
from lifecycle.windows import Windows
from tests.workers.crowds import Crowd, MakeCrowd, joins, leaves, make_crowd, moves, people
from tests.workers.fake_scim import FakeScim, Quirk, answers
from tests.workers.memberships import house
from tests.workers.stories import AT, Meeting, person
from workers.allowance import Allowance
from workers.scim.batches import BACKLOG_MIN
from workers.task import worse

__all__ = ["make_crowd"]

GRANTS = {
    "grants": [
        {"when": "person.department == 'Support'", "groups": ["Agents"], "roles": ["agent"]},
        {"when": "person.department == 'Sales'", "groups": ["Sellers"], "roles": ["seller"]},
    ]
}
GROUPS = {"grants": [{"when": each["when"], "groups": each["groups"]} for each in GRANTS["grants"]]}
ONE = {"group_removals": {"max": 1}}
HELD = ("held", "too_many_group_removals")
IN_AGENTS = {"Agents": "g-1"}


def server(*quirks: Quirk) -> FakeScim:
    """Make a server with both groups."""
    fake = FakeScim(frozenset(quirks))
    for name in ("Agents", "Sellers"):
        fake.add("Groups", displayName=name)
    return fake


def refuse(limit: str, names: Iterable[str] = (), /) -> None:
    """Be past every limit."""
    raise Held(f"{limit}: {sorted(names)}", reason=f"too_many_{limit}")


def two_moved(make_crowd: MakeCrowd, fake: FakeScim, policy: Mapping[str, Any] = GROUPS) -> Crowd:
    """Let two move between departments, of whom one may lose a group; the second one is held."""
    crowd = make_crowd(crm=fake, policy=policy, safety=ONE)
    crowd.joined("E1", "E2")
    crowd.tell(*(moves(key, department="Sales", title="Seller") for key in people(2)))
    assert crowd.states(["E1-moved", "E2-moved"]) == ["applied", "held"]
    return crowd


@pytest.mark.parametrize("quirks", [(), (Quirk.NO_PATCH_405,)], ids=["by PATCH", "by PUT"])
def test_group_past_the_limit_is_kept_and_all_else_is_done(make_crowd: MakeCrowd, quirks: tuple[Quirk, ...]) -> None:
    """The new group and the new title are there, the old group still is; the release takes it."""
    fake = server(*quirks)

    crowd = two_moved(make_crowd, fake)

    ids = [fake.user(f"{key}@acme.example")["id"] for key in people(2)]
    assert (fake.members("Agents"), sorted(fake.members("Sellers"))) == ([ids[1]], ids)
    assert fake.user("E2@acme.example")["title"] == "Seller"
    assert crowd.reason("E2-moved") == HELD
    (hold,) = crowd.stage.records.holds().items[0]["holds"]
    assert (hold["change"], hold["names"], hold["limit"]) == ("remove", ["Agents"], "group_removals")
    assert crowd.stage.records.person("E2")["accounts"]["crm"]["groups"].keys() == {"Agents", "Sellers"}
    assert [data["limit"] for data in crowd.told("safety.held")] == ["group_removals"]

    crowd.rule("E2-moved", RELEASED)
    crowd.work("E2")

    assert (fake.members("Agents"), crowd.stage.state("E2-moved")) == ([], "applied")
    assert crowd.told("person.updated")[-1]["groups_removed"] == ["Agents"]
    assert len(crowd.told("person.updated")) == 3


def test_later_change_is_applied_but_for_what_is_held(make_crowd: MakeCrowd) -> None:
    """A new title is written, and the event is held with the first; one ruling is for both."""
    fake = server()
    crowd = two_moved(make_crowd, fake)

    crowd.tell(moves("E2", 20, "again", title="Chief"))

    assert fake.user("E2@acme.example")["title"] == "Chief"
    assert (crowd.reason("E2-again"), crowd.holds()) == (HELD, ["hris:E2-moved"])
    crowd.rule("E2-moved", DROPPED)
    crowd.stage.redis.delete(keys.window("group_removals", None))
    crowd.work("E2")
    assert crowd.states(["E2-moved", "E2-again"]) == ["ignored", "unchanged"]
    assert len(fake.members("Agents")) == 1


def test_who_moves_back_needs_no_ruling(make_crowd: MakeCrowd) -> None:
    """The group that was kept is wanted again: nothing is held any more."""
    fake = server()
    crowd = two_moved(make_crowd, fake)
    crowd.stage.redis.delete(keys.window("group_removals", None))

    crowd.tell(moves("E2", 20, "back", department="Support", title="Agent"))

    assert crowd.states(["E2-moved", "E2-back"]) == ["superseded", "applied"]
    assert (crowd.holds(), crowd.stage.person("E2").holds) == ([], ())
    assert fake.members("Agents") == [fake.user("E2@acme.example")["id"]]


def test_who_moves_back_past_the_limit_keeps_the_other_group(make_crowd: MakeCrowd) -> None:
    """What was held is wanted again and superseded; what would be taken now is a hold of its own."""
    fake = server()
    crowd = two_moved(make_crowd, fake)

    crowd.tell(moves("E2", 20, "back", department="Support", title="Agent"))

    assert (crowd.stage.state("E2-moved"), crowd.reason("E2-back")) == ("superseded", HELD)
    assert crowd.holds() == ["hris:E2-back"]
    assert [hold.names for hold in crowd.stage.person("E2").holds] == [("Sellers",)]
    assert len(crowd.told("safety.held")) == 1


def test_leaver_is_not_hindered_by_what_was_kept(make_crowd: MakeCrowd) -> None:
    """Who leaves is a leaver, out of every group, and what was held of the mover is moot."""
    fake = server()
    crowd = two_moved(make_crowd, fake)

    crowd.tell(leaves("E2", 30))

    assert crowd.states(["E2-left", "E2-moved"]) == ["applied", "unchanged"]
    assert (fake.members("Agents"), fake.user("E2@acme.example")["active"]) == ([], False)
    assert crowd.holds() == []


def test_held_leaver_stays_in_all_groups(make_crowd: MakeCrowd, redis: Redis) -> None:
    """Nothing at all is taken of who is held, and a leaver's groups are no group removals."""
    fake = server()
    crowd = make_crowd(crm=fake, policy=GROUPS, safety=ONE | {"leavers": {"max": 1}})
    crowd.joined("E1", "E2")

    crowd.tell(leaves("E1"), leaves("E2"))

    assert fake.members("Agents") == [fake.user("E2@acme.example")["id"]]
    assert crowd.states(["E1-left", "E2-left"]) == ["applied", "held"]
    assert redis.keys("gatepost:window:group_removals*") == []


def test_leaver_who_is_inactive_already_counts_while_there_are_groups(make_crowd: MakeCrowd) -> None:
    """Somebody made the account inactive by hand; its memberships are a thing to lose."""
    fake = server()
    crowd = make_crowd(crm=fake, policy=GROUPS, safety={"leavers": {"max": 1}})
    crowd.joined("E1", "E2")
    account = fake.user("E2@acme.example")["id"]
    fake.held["Users"][account]["active"] = False

    crowd.tell(leaves("E1"), leaves("E2"))

    assert (crowd.stage.state("E2-left"), fake.members("Agents")) == ("held", [account])


@pytest.mark.parametrize("policy", [GROUPS, GRANTS], ids=["a group is held", "a role is held too"])
def test_new_name_is_known_though_something_is_held(make_crowd: MakeCrowd, policy: Mapping[str, Any]) -> None:
    """The account was renamed, so that it is known by the new name when it is renamed again."""
    fake = server(Quirk.KNOWS_NO_EXTERNAL_ID)
    crowd = two_moved(make_crowd, fake, policy)

    for number in (1, 2):
        crowd.tell(moves("E2", 20 + number, f"renamed{number}", email=f"bo{number}@acme.example"))

    assert crowd.stage.person("E2").accounts["crm"].user_name == "bo2@acme.example"
    assert crowd.reason("E2-renamed2") == HELD
    assert fake.user("bo2@acme.example")["active"]


def test_roles_that_are_mapped_are_an_attribute_as_any_other(redis: Redis) -> None:
    """They are not the policy's to give or to take, and need no leave."""
    section = {"attributes": {"userName": "person.email", "roles": "person.custom.roles"}}
    meeting = Meeting(redis, policy=Policy.model_validate(GRANTS), section=section)
    for name in ("Agents", "Sellers"):
        meeting.fake.add("Groups", displayName=name)
    known: dict[str, Any] = {"external_id": "E1", "email": "e1@acme.example", "department": "Support"}
    meeting.agree(person(**known | {"custom.roles": ["agent", "lead"]}))
    task = replace(meeting.task(person(**known | {"custom.roles": ["lead"]})), allow=refuse)

    agreement = meeting.place.adapter.agree(task)

    assert agreement.trouble is None
    assert [each["value"] for each in meeting.fake.user("e1@acme.example")["roles"]] == ["lead"]


@pytest.mark.parametrize("quirks", [(), (Quirk.NO_PATCH_405,)], ids=["by PATCH", "by PUT"])
def test_role_is_kept_as_a_group_is(make_crowd: MakeCrowd, quirks: tuple[Quirk, ...]) -> None:
    """Roles and groups of one person are counted once; past the limit both stay, and both are added to."""
    fake = server(*quirks)

    crowd = two_moved(make_crowd, fake, GRANTS)

    roles = [sorted(each["value"] for each in fake.user(f"{key}@acme.example")["roles"]) for key in people(2)]
    assert roles == [["seller"], ["agent", "seller"]]
    assert [hold.names for hold in crowd.stage.person("E2").holds] == [("Agents", "agent")]
    assert fake.user("E2@acme.example")["title"] == "Seller"
    crowd.rule("E2-moved", RELEASED)
    crowd.work("E2")
    assert [each["value"] for each in fake.user("E2@acme.example")["roles"]] == ["seller"]
    assert fake.members("Agents") == []
    assert crowd.stage.state("E2-moved") == "applied"


def test_trouble_that_time_mends_comes_before_the_hold(make_crowd: MakeCrowd) -> None:
    """A group that cannot be joined yet is tried again; the removal is held when nothing else is left to do."""
    fake = server()
    crowd = make_crowd(crm=fake, policy=GROUPS, safety=ONE)
    crowd.joined("E1", "E2")
    crowd.tell(moves("E1", department="Sales"))
    fake.next(lambda proceed: proceed(), on="PATCH")  # the account's own
    fake.next(answers(503), on="PATCH")

    crowd.tell(moves("E2", department="Sales"))

    assert (crowd.stage.state("E2-moved"), crowd.told("safety.held")) == ("postponed", [])
    assert (crowd.stage.person("E2").holds, crowd.holds()) == ((), [])
    crowd.work("E2")
    assert crowd.reason("E2-moved") == HELD
    assert len(crowd.told("safety.held")) == 1


BUSY = Postponed("busy", reason="busy")
HOLD = Held("held", reason="too_many_leavers")
BAD = Refused("bad", reason="refused")


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (None, None, None),
        (None, BAD, BAD),
        (BAD, None, BAD),
        (BUSY, HOLD, BUSY),
        (HOLD, BUSY, BUSY),
        (HOLD, BAD, HOLD),
        (BAD, HOLD, HOLD),
        (BUSY, BAD, BUSY),
        (BAD, BUSY, BUSY),
    ],
)
def test_worse_trouble_is_told(
    first: GatepostError | None, second: GatepostError | None, told: GatepostError | None
) -> None:
    """What time can mend, then what a human rules of, then what an operator mends."""
    assert worse(first, second) is told


def test_removal_past_the_limit_is_not_left_to_others(redis: Redis) -> None:
    """What was noted for one request of many is taken back, so that nobody else makes it while it is held."""
    found = house(redis, members=["u-1", "u-7"])
    redis.rpush("rq:queue:people", *range(BACKLOG_MIN))
    task = found.wants("Sellers")
    found.keep(task, IN_AGENTS)
    assert redis.hget(keys.members("crm", "g-1"), "u-7") == b"remove"

    ended = found.keep(replace(task, allow=refuse), IN_AGENTS)

    assert redis.hget(keys.members("crm", "g-1"), "u-7") is None
    assert ended.memberships.keys() >= IN_AGENTS.keys()
    assert found.fake.members_of("g-1") == ["u-1", "u-7"]


def test_protected_account_stays_in_its_groups(make_crowd: MakeCrowd, redis: Redis) -> None:
    """Neither alone nor with others is it moved, whoever the person is whose account it was settled to be."""
    fake = server(Quirk.NO_PATCH_405)
    crowd = make_crowd(crm=fake, policy=GROUPS | {"protected": ["breakglass"]})
    crowd.joined("E1")
    account = fake.user("E1@acme.example")
    fake.held["Users"][account["id"]]["userName"] = "Breakglass"
    redis.rpush("rq:queue:people", *range(BACKLOG_MIN))
    fake.log.clear()

    crowd.tell(moves("E1", department="Sales"), leaves("E1"))

    assert (fake.members("Agents"), fake.writes()) == ([account["id"]], [])
    assert redis.keys("gatepost:members:*") == redis.keys("gatepost:noted:*") == []
    assert crowd.states(["E1-moved", "E1-left"]) == ["ignored", "ignored"]


# ---- deletions, and what a hold stands in the way of


def test_deletions_have_a_limit_of_their_own(make_crowd: MakeCrowd, fake: FakeScim, redis: Redis) -> None:
    """Suspensions use up nothing of it, nor it of theirs."""
    crowd = make_crowd(crm=fake, safety={"deletions": {"max": 1}, "leavers": {"max": 1}})
    config = crowd.stage.config

    def allowance(key: str) -> Allowance:
        return Allowance(config, Windows(redis), person("left", key), "crm", [])

    allowance("E1")("leavers")
    allowance("E2")("deletions")
    allowance("E2")("deletions")

    with pytest.raises(Held, match="1 of at most 1 within 10m over all targets") as held:
        allowance("E3")("deletions")
    assert held.value.reason == "too_many_deletions"


@pytest.mark.parametrize(
    ("hold", "asked", "reason"),
    [
        ("leavers", "leavers", "too_many_leavers"),
        ("leavers", "deletions", "too_many_leavers"),
        ("leavers", "group_removals", None),
        ("deletions", "leavers", None),
        ("deletions", "deletions", "too_many_deletions"),
    ],
)
def test_hold_stands_in_the_way_of_what_is_as_bad(
    make_crowd: MakeCrowd, fake: FakeScim, redis: Redis, hold: str, asked: str, reason: str | None
) -> None:
    """Whoever is not to be locked out is not to be deleted; who is not to be deleted may be locked out."""
    crowd = make_crowd(crm=fake)
    found = Hold(target="crm", limit=hold, scope=None, event="hris:e1", since=AT, detail="2 of at most 2")
    known = person("left", "E1").model_copy(update={"holds": (found,), "accounts": {"crm": Account(id="u-1")}})
    met = []

    try:
        Allowance(crowd.stage.config, Windows(redis), known, "crm", [])(asked)
    except Held as error:
        met.append(error.reason)

    assert met == ([reason] if reason else [])


def test_joiners_of_a_department_need_no_leave(make_crowd: MakeCrowd) -> None:
    """What is only given is not counted."""
    fake = server()
    crowd = make_crowd(crm=fake, policy=GRANTS, safety=ONE | {"leavers": {"max": 1}})

    crowd.tell(*(joins(key) for key in people(4)))

    assert crowd.states([f"{key}-joined" for key in people(4)]) == ["applied"] * 4
    assert crowd.stage.redis.keys("gatepost:window:*") == []
