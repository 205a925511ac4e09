"""What becomes of a hold whose event is outranked, repeated or tried again: whoever is held can be ruled of."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from lifecycle.errors import Malformed
from lifecycle.event import Event
from lifecycle.safety import OVERRULED
from lifecycle.settlement import DROPPED, RELEASED
from tests.workers.crowds import (
    Crowd,
    MakeCrowd,
    active,
    crowd,
    leaves,
    make_crowd,
    moves,
    pass_window,
    people,
    third_held,
)
from tests.workers.fake_scim import FakeScim, answers
from tests.workers.leaving import GRANTS
from tests.workers.stories import BO
from workers.kinship import united

__all__ = ["crowd", "make_crowd", "third_held"]

HELD = ("held", "too_many_leavers")


def again(key: str, minute: int = 12) -> Event:
    """Make the repeat of a leave under an id of its own."""
    return leaves(key, minute).model_copy(update={"id": f"{key}-again"})


def is_whole(crowd: Crowd, *keys: str) -> bool:
    """Tell whether what is held of these persons is what waits for a ruling."""
    listed = {item["id"] for item in crowd.stage.records.holds().items if item["reason"] in OVERRULED}
    return {hold.event for key in keys for hold in crowd.stage.person(key).holds} == listed


@pytest.fixture
def repeated(third_held: Crowd) -> Crowd:
    """Give the third leaver's hold, with a repeat of the leave that is held with it."""
    third_held.tell(again("E3"))
    assert third_held.reason("E3-again") == HELD
    assert third_held.holds() == ["hris:E3-left"]
    return third_held


def test_release_is_of_all_that_is_held_with_the_event(repeated: Crowd, fake: FakeScim) -> None:
    """The repeat outranks the event by which the hold is known; whoever releases that one means the leave."""
    repeated.rule("E3-left", RELEASED)
    assert repeated.stage.mailbox("E3") == ["hris:E3-left", "hris:E3-again"]
    repeated.work("E3")

    assert repeated.states(["E3-left", "E3-again"]) == ["superseded", "applied"]
    assert (active(fake), repeated.holds(), repeated.stage.person("E3").holds) == (0, [], ())
    steps = [step["detail"] for step in repeated.stage.found("E3-again")["timeline"] if step["step"] == "release"]
    assert steps == [{"by": "ada", "with": "hris:E3-left"}]


def test_drop_is_of_whatever_else_says_that_somebody_left(repeated: Crowd, fake: FakeScim, redis: Redis) -> None:
    """The repeat locks nobody out later, also when there is room again; what said something else is done."""
    repeated.tell(moves("E3", 20, title="Chief"))
    pass_window(redis)

    repeated.rule("E3-left", DROPPED)
    repeated.work("E3")

    assert repeated.reason("E3-left") == repeated.reason("E3-again") == ("ignored", "dropped")
    assert repeated.stage.state("E3-moved") == "applied"
    assert repeated.stage.records.person("E3")["status"] == "active"
    assert (active(fake), repeated.holds(), repeated.stage.person("E3").holds) == (1, [], ())


@pytest.mark.parametrize("is_full", [True, False], ids=["full", "with room"])
def test_outranked_event_that_is_tried_again_ends_the_hold(
    repeated: Crowd, fake: FakeScim, redis: Redis, *, is_full: bool
) -> None:
    """A retry of the first is one of the repeat, within the limit: that is held by its own name, or done."""
    if not is_full:
        pass_window(redis)
    repeated.stage.records.retry("event:hris:E3-left", actor="ada")
    repeated.work("E3")

    assert repeated.states(["E3-left", "E3-again"]) == ["superseded", "held" if is_full else "applied"]
    assert repeated.holds() == (["hris:E3-again"] if is_full else [])
    assert is_whole(repeated, "E3")
    assert active(fake) == int(is_full)


def test_retry_that_meets_an_outage_leaves_no_hold_of_which_nobody_can_rule(third_held: Crowd, fake: FakeScim) -> None:
    """What is tried again is not held, until it is refused again."""
    fake.next(answers(503), on="GET")
    third_held.stage.records.retry("event:hris:E3-left", actor="ada")
    third_held.work("E3")
    assert (third_held.stage.state("E3-left"), third_held.stage.person("E3").holds) == ("postponed", ())

    third_held.work("E3")

    assert third_held.reason("E3-left") == HELD
    assert (third_held.holds(), active(fake)) == (["hris:E3-left"], 1)
    assert is_whole(third_held, "E3")


@pytest.mark.parametrize("newer", [again, lambda key: moves(key, 12, external_id=key)], ids=["repeat", "mover"])
def test_hold_goes_over_to_the_event_that_outranks_its_own(
    make_crowd: MakeCrowd, newer: Callable[[str], Event]
) -> None:
    """While another target is away the leave is repeated: what is held stays listed, and is released by that name."""
    crm, desk = FakeScim(), FakeScim()
    crowd = make_crowd(crm=crm, desk=desk, own={"crm": {"leavers": {"max": 1}}})
    crowd.joined(*people(2))
    desk.next(answers(503), on="PATCH", times=3)
    crowd.tell(leaves("E1"), leaves("E2"))
    assert crowd.holds() == ["hris:E2-left"]

    crowd.tell(newer("E2"))
    crowd.work("E2")

    assert len(crowd.holds()) == 1
    assert is_whole(crowd, "E2")
    crowd.rule(crowd.holds()[0], RELEASED)
    crowd.work("E2")
    crowd.work("E1")
    assert (active(crm), active(desk), crowd.holds()) == (0, 0, [])
    assert crowd.stage.mailbox("E2") == []


def test_hold_ends_where_its_event_turns_out_not_to_be_ours(make_crowd: MakeCrowd) -> None:
    """Another system looks after the person: what is tried elsewhere still is ignored, and nobody has to rule of it."""
    crm, desk = FakeScim(), FakeScim()
    crowd = make_crowd(crm=crm, desk=desk, own={"crm": {"leavers": {"max": 1}}}, policy={"home_source": "okta"})
    crowd.joined(*people(2))
    desk.next(answers(503), on="PATCH", times=2)
    crowd.tell(leaves("E1"), leaves("E2"))
    assert crowd.holds() == ["hris:E2-left"]

    crowd.tell(moves("E2", 12, source_of_truth="workday"))

    assert crowd.reason("E2-left") == ("ignored", "not_home")
    assert (crowd.holds(), crowd.stage.person("E2").holds) == ([], ())


@pytest.fixture
def two_moved(make_crowd: MakeCrowd, fake: FakeScim) -> Crowd:
    """Give two persons who lose a group by a source that sends whole records; the second is held."""
    limits = {"leavers": {"max": 1}, "group_removals": {"max": 1}}
    crowd = make_crowd(crm=fake, policy={"grants": GRANTS}, safety=limits)
    for name in ("Agents", "Leads"):
        fake.add("Groups", displayName=name)
    crowd.joined(*people(4))
    crowd.tell(record("E1", 5), record("E2", 5))
    assert crowd.reason("E2-moved") == ("held", "too_many_group_removals")
    return crowd


def record(key: str, minute: int, name: str = "moved", **more: str) -> Event:
    """Make a mover that tells the whole record, of another department."""
    own = {"external_id": key, "email": f"{key}@acme.example", "department": "Sales"}
    return moves(key, minute, name, **(BO | own | more))


def test_release_is_of_the_newer_record_too(two_moved: Crowd, fake: FakeScim) -> None:
    """A later record says the same and more: the release of the first is of both."""
    two_moved.tell(record("E2", 6, "again", phone="+1 555 0100"))
    assert is_whole(two_moved, "E2")

    two_moved.rule("E2-moved", RELEASED)
    two_moved.work("E2")

    assert two_moved.states(["E2-moved", "E2-again"]) == ["superseded", "applied"]
    assert len(fake.members("Agents")) == 2
    assert (two_moved.holds(), two_moved.stage.person("E2").holds) == ([], ())


def test_release_overrules_no_other_limit(two_moved: Crowd, fake: FakeScim) -> None:
    """Whoever releases the removal of a group lets no leaver past the leavers' limit."""
    two_moved.tell(leaves("E3"))
    two_moved.rule("E2-moved", RELEASED)
    two_moved.stage.hear(leaves("E2"))

    two_moved.work("E2")

    assert two_moved.reason("E2-left") == HELD
    assert (two_moved.holds(), active(fake)) == (["hris:E2-left"], 3)
    assert is_whole(two_moved, "E2")
    two_moved.rule("E2-left", RELEASED)
    two_moved.work("E2")
    assert (two_moved.stage.state("E2-left"), active(fake), two_moved.holds()) == ("applied", 2, [])


def test_release_on_one_target_is_kept_by_that_on_another(make_crowd: MakeCrowd) -> None:
    """Held on a second target while the first, where it was released, is away: the second release undoes nothing."""
    crm, desk = FakeScim(), FakeScim()
    one = {"leavers": {"max": 1}}
    crowd = make_crowd(crm=crm, desk=desk, own={"crm": one, "desk": one})
    crowd.joined(*people(2))
    crowd.tell(leaves("E1"))
    desk.next(answers(503), on="GET")
    crowd.tell(leaves("E2"))
    assert [hold.target for hold in crowd.stage.person("E2").holds] == ["crm"]

    crm.next(answers(503), on="PATCH")
    crowd.rule("E2-left", RELEASED)
    crowd.work("E2")
    assert [hold.target for hold in crowd.stage.person("E2").holds] == ["desk"]
    assert (crowd.holds(), active(crm), active(desk)) == (["hris:E2-left"], 1, 1)
    crowd.rule("E2-left", RELEASED)
    crowd.work("E2")

    assert (active(crm), active(desk), crowd.stage.state("E2-left")) == (0, 0, "applied")


def test_event_that_is_tried_elsewhere_is_tried_again_where_its_hold_was_dropped(make_crowd: MakeCrowd) -> None:
    """What was held with a leave that never was is done there too, though another target is away all the while."""
    crm, desk = FakeScim(), FakeScim()
    crowd = make_crowd(crm=crm, desk=desk, own={"crm": {"leavers": {"max": 1}}})
    crowd.joined(*people(2))
    crowd.tell(leaves("E1"))
    desk.next(answers(503), on="PATCH", times=2)
    crowd.tell(leaves("E2"), moves("E2", 12, title="Chief"))
    assert crowd.holds() == ["hris:E2-left"]
    assert crowd.stage.delivery("E2-moved", "crm")["outcome"] == "held"

    crowd.rule("E2-left", DROPPED)
    desk.next(answers(503, retry_after="600"), on="PATCH")
    crowd.work("E2")
    assert min(crowd.stage.later()) - datetime.now(UTC) < timedelta(minutes=1)
    crowd.work("E2")

    assert crowd.states(["E2-left", "E2-moved"]) == ["ignored", "applied"]
    assert crm.user("E2@acme.example")["title"] == "Chief"
    assert (crowd.holds(), crowd.stage.person("E2").holds) == ([], ())


@pytest.mark.parametrize("verdict", [RELEASED, DROPPED])
def test_two_who_are_found_to_be_one_are_ruled_of_at_once(make_crowd: MakeCrowd, fake: FakeScim, verdict: str) -> None:
    """Each was held by a name of its own; the hold that is left is of both, and nothing is held by nobody."""
    crowd = make_crowd(crm=fake, safety={"leavers": {"max": 1}})
    crowd.joined(*people(3))
    crowd.tell(*(leaves(key) for key in people(3)))
    assert crowd.holds() == ["hris:E2-left", "hris:E3-left"]

    unite(crowd, "E3", "E2")

    assert crowd.holds() == ["hris:E2-left"]
    assert is_whole(crowd, "E2")
    with pytest.raises(Malformed, match="hris:E3-left is held with hris:E2-left"):
        crowd.rule("E3-left", verdict)
    crowd.rule("E2-left", verdict)
    assert crowd.stage.mailbox("E2") == ["hris:E2-left", "hris:E3-left"]
    crowd.work("E2")
    assert set(crowd.states(["E2-left", "E3-left"])) <= {"applied", "superseded", "ignored"}
    assert (crowd.holds(), crowd.stage.mailbox("E2"), crowd.stage.mailbox("E3")) == ([], [], [])
    assert crowd.stage.person("E2").holds == ()


def unite(crowd: Crowd, key: str, other: str) -> None:
    """Make one person of two."""
    people = crowd.stage.people
    token, other_token = people.take(key), people.take(other)
    assert token
    assert other_token
    merged = united(crowd.stage.config, people.get(key), people.get(other))
    crowd.stage.world.links.merge(key, token, "people", other_token, merged)
    people.free(key, token)
    people.free(other, other_token)


def test_hold_that_ends_on_one_target_lets_go_there_alone(make_crowd: MakeCrowd) -> None:
    """What was held with it is tried again there, and stays held on the other; so each is held by a hold."""
    crm, desk = FakeScim(), FakeScim()
    one = {"leavers": {"max": 1}}
    crowd = make_crowd(crm=crm, desk=desk, own={"crm": one, "desk": one})
    crowd.joined(*people(2))
    crowd.tell(leaves("E1"), leaves("E2"), moves("E2", 12, title="Chief"))
    both = {"crm": ("hris:E2-moved",), "desk": ("hris:E2-moved",)}
    assert {hold.target: hold.others for hold in crowd.stage.person("E2").holds} == both
    before = crowd.stage.delivery("E2-moved", "crm")["attempts"]

    desk.next(answers(503), on="GET")
    crowd.stage.records.retry("event:hris:E2-left", actor="ada")
    crowd.work("E2")
    crowd.work("E2")

    assert {hold.target: hold.others for hold in crowd.stage.person("E2").holds} == both
    assert crowd.stage.delivery("E2-moved", "crm")["attempts"] == before
    assert crowd.stage.delivery("E2-moved", "desk")["attempts"] > before
    assert is_whole(crowd, "E2")
    assert (active(crm), active(desk)) == (1, 1)
