"""What a human dropped is not done later on the ground of the same facts, and is done for new ones."""

import pytest
from redis import Redis

from lifecycle.config import Config
from lifecycle.person import Hold, Person
from lifecycle.settlement import DROPPED
from tests.conftest import MakeConfig
from tests.workers.crowds import Crowd, MakeCrowd, active, joins, leaves, make_crowd, moves, pass_window, people
from tests.workers.fake_scim import FakeScim
from tests.workers.leaving import AT_ONCE, GRANTS, make_scene
from tests.workers.stories import AT
from workers.kinship import united

__all__ = ["make_crowd"]

ONE = {"leavers": {"max": 1}, "group_removals": {"max": 1}}
SCOPED = {"scope": "person.user_type != 'contractor'"}
ROLES = [
    {"when": "person.department == 'Support'", "groups": ["Agents"], "roles": ["agent"]},
    {"when": "person.title == 'Agent'", "groups": ["Leads"]},
]


@pytest.fixture
def spared(make_crowd: MakeCrowd, fake: FakeScim, redis: Redis) -> Crowd:
    """Give one who fell out of scope with too many, which was dropped; there is room again."""
    crowd = make_crowd(crm=fake, safety=ONE, policy=SCOPED)
    crowd.joined(*people(2))
    crowd.tell(*(moves(key, user_type="contractor") for key in people(2)))
    drop(crowd, redis)
    return crowd


def drop(crowd: Crowd, redis: Redis, event_id: str = "E2-moved") -> None:
    """Drop what is held, and let the window pass."""
    crowd.rule(event_id, DROPPED)
    crowd.work("E2")
    assert crowd.reason(event_id) == ("ignored", "dropped")
    pass_window(redis)


def test_later_event_locks_nobody_out_whom_a_human_spared(spared: Crowd, fake: FakeScim) -> None:
    """Who fell out of scope has access yet; no event of another matter takes it, and nobody is asked again."""
    spared.tell(moves("E2", 20, "title", title="Boss"), moves("E2", 21, "again", title="Chief"))

    assert spared.reason("E2-title") == spared.reason("E2-again") == ("ignored", "dropped")
    assert (active(fake), spared.holds(), spared.stage.person("E2").holds) == (1, [], ())


def test_event_that_was_held_with_it_locks_nobody_out(make_crowd: MakeCrowd, fake: FakeScim, redis: Redis) -> None:
    """It is tried again after the drop, with room, and on the same facts."""
    crowd = make_crowd(crm=fake, safety=ONE, policy=SCOPED)
    crowd.joined(*people(2))
    crowd.tell(*(moves(key, user_type="contractor") for key in people(2)), moves("E2", 20, "title", title="Boss"))
    pass_window(redis)

    drop(crowd, redis)

    assert (crowd.reason("E2-title"), active(fake)) == (("ignored", "dropped"), 1)


def test_leaver_is_a_new_word(spared: Crowd, fake: FakeScim) -> None:
    """A source says that the person left: that was not dropped."""
    spared.tell(leaves("E2", 20))

    assert (spared.stage.state("E2-left"), active(fake)) == ("applied", 0)
    assert spared.stage.person("E2").dropped == ()


def test_leaver_who_is_held_is_held_though_less_was_dropped(spared: Crowd, fake: FakeScim) -> None:
    """What comes while the leave waits for its ruling waits with it; after its drop the first drop counts."""
    spared.joined("E3")
    spared.tell(leaves("E3"), leaves("E2", 20), moves("E2", 21, "title", title="Boss"))
    assert spared.states(["E2-left", "E2-title"]) == ["held", "held"]
    assert spared.holds() == ["hris:E2-left"]

    spared.rule("E2-left", DROPPED)
    spared.work("E2")
    pass_window(spared.stage.redis)
    spared.tell(moves("E2", 22, "again", title="Chief"))

    assert (spared.reason("E2-again"), active(fake)) == (("ignored", "dropped"), 1)


def test_who_is_wanted_again_is_spared_no_more(spared: Crowd, fake: FakeScim) -> None:
    """Back in scope the drop is over: falling out of it anew is done within the limit."""
    spared.tell(moves("E2", 20, "back", user_type="employee"))
    assert spared.stage.person("E2").dropped == ()

    spared.tell(moves("E2", 21, "out", user_type="contractor"))

    assert (spared.stage.state("E2-out"), active(fake)) == ("applied", 0)


def test_leave_that_was_taken_back_spares_from_nothing_else(
    make_crowd: MakeCrowd, fake: FakeScim, redis: Redis
) -> None:
    """Who was said to have left works here again; to fall out of scope later is another matter."""
    crowd = make_crowd(crm=fake, safety=ONE, policy=SCOPED)
    crowd.joined(*people(2))
    crowd.tell(*(leaves(key) for key in people(2)))
    drop(crowd, redis, "E2-left")
    assert crowd.stage.person("E2").dropped == ()

    crowd.tell(moves("E2", 20, user_type="contractor"))

    assert (crowd.stage.state("E2-moved"), active(fake)) == ("applied", 0)


def test_leave_that_took_effect_elsewhere_is_not_done_later(make_crowd: MakeCrowd, redis: Redis) -> None:
    """The account of which a human said so stays as it is, until the person leaves anew."""
    crm, desk = FakeScim(), FakeScim()
    crowd = make_crowd(crm=crm, desk=desk, own={"desk": {"leavers": {"max": 1}}})
    crowd.joined(*people(2))
    crowd.tell(*(leaves(key) for key in people(2)))
    drop(crowd, redis, "E2-left")

    crowd.tell(moves("E2", 20, title="Boss"))
    assert (active(crm), active(desk)) == (0, 1)
    assert crowd.stage.delivery("E2-moved", "desk")["reason"] == "dropped"
    crowd.tell(joins("E2", 30).model_copy(update={"id": "back"}))
    crowd.tell(leaves("E2", 40).model_copy(update={"id": "for good"}))

    assert (active(crm), active(desk), crowd.stage.state("for good")) == (0, 0, "applied")


def test_deletion_that_was_dropped_is_not_made_later(redis: Redis, config: MakeConfig) -> None:
    """Who is out stays out and undeleted; the next leaver deletes."""
    crm, desk = FakeScim(), FakeScim()
    safety = {"deletions": {"max": 1}}
    crowd = Crowd(make_scene(redis, config, crm, others={"desk": desk}, safety=safety, **AT_ONCE))
    crowd.joined(*people(2))
    crowd.tell(*(leaves(key) for key in people(2)))
    assert ([each["active"] for each in crm.users()], active(desk)) == ([False], 0)
    drop(crowd, redis, "E2-left")

    crowd.tell(moves("E2", 20, title="Boss"))
    assert len(crm.users()) == 1
    crowd.tell(leaves("E2", 30).model_copy(update={"id": "for good"}))

    assert crm.users() == []
    assert crowd.stage.person("E2").dropped == ()


def test_group_that_a_human_left_stays_until_it_is_given_again(
    make_crowd: MakeCrowd, fake: FakeScim, redis: Redis
) -> None:
    """Others are left as the policy says; the one of the drop, and the role, when they were given anew and are not."""
    crowd = make_crowd(crm=fake, safety=ONE, policy={"grants": ROLES})
    for name in ("Agents", "Leads"):
        fake.add("Groups", displayName=name)
    crowd.joined(*people(2))
    crowd.tell(*(moves(key, department="Sales") for key in people(2)))
    drop(crowd, redis)

    crowd.tell(moves("E2", 20, "title", title="Boss"))
    assert (len(fake.members("Agents")), len(fake.members("Leads"))) == (1, 1)
    assert [each["value"] for each in fake.user("E2@acme.example")["roles"]] == ["agent"]
    assert crowd.stage.state("E2-title") == "applied"
    pass_window(redis)
    crowd.tell(moves("E2", 21, "back", department="Support"))
    assert crowd.stage.person("E2").dropped == ()
    crowd.tell(moves("E2", 22, "away", department="Sales"))

    assert (len(fake.members("Agents")), crowd.stage.state("E2-away")) == (0, "applied")
    assert not fake.user("E2@acme.example").get("roles")


def test_who_leaves_is_spared_no_group(make_crowd: MakeCrowd, fake: FakeScim, redis: Redis) -> None:
    """Whoever left loses all, also what a human had left to them."""
    crowd = make_crowd(crm=fake, safety=ONE, policy={"grants": GRANTS})
    for name in ("Agents", "Leads"):
        fake.add("Groups", displayName=name)
    crowd.joined(*people(2))
    crowd.tell(*(moves(key, department="Sales") for key in people(2)))
    drop(crowd, redis)

    crowd.tell(leaves("E2", 20))

    assert (fake.members("Agents"), active(fake)) == ([], 1)
    assert crowd.stage.person("E2").dropped == ()


def test_one_human_of_two_is_spared_what_either_was() -> None:
    """When two persons are found to be one, what was dropped of either is."""
    one, other = (
        Person(key=key, dropped=(Hold(target=target, limit="leavers", scope=None, event=key, since=AT, detail="1"),))
        for key, target in (("E1", "crm"), ("E2", "desk"))
    )

    assert {each.target for each in united(Config(), one, other).dropped} == {"crm", "desk"}
