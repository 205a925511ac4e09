"""Safety limits: no more than so many lose access in a while; what is past that waits for a human, all else flows."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.config import Config
from lifecycle.errors import Malformed, Unknown
from lifecycle.event import Kind
from lifecycle.person import Fact, Hold, Person
from lifecycle.settlement import RELEASED
from tests.workers.crowds import (
    TWO,
    Crowd,
    MakeCrowd,
    active,
    crowd,
    joins,
    leaves,
    make_crowd,
    moves,
    pass_window,
    people,
    third_held,
)
from tests.workers.fake_scim import FakeScim, answers, cuts_after
from tests.workers.stories import AT, event
from workers.kinship import united

__all__ = ["crowd", "make_crowd", "third_held"]

SCOPED = {"scope": "person.user_type != 'contractor'"}
HELD = ("held", "too_many_leavers")


# ---- how many


def test_leavers_past_the_number_are_held_and_all_others_flow(make_crowd: MakeCrowd, fake: FakeScim) -> None:
    """Thirty leave in a moment: exactly twenty are locked out, ten held, one alarm; nobody else is hindered."""
    crowd = make_crowd(crm=fake, safety={"leavers": {"max": 20}})
    crowd.joined(*people(30))

    crowd.tell_at_once(*(leaves(key) for key in people(30)))
    crowd.tell(joins("E99"), moves("E99", title="Lead"))

    states = crowd.states([f"{key}-left" for key in people(30)])
    assert (states.count("applied"), states.count("held")) == (20, 10)
    assert active(fake) == 10 + 1
    assert crowd.states(["E99-joined", "E99-moved"]) == ["applied", "applied"]
    assert len(crowd.holds()) == 10
    (alarm,) = crowd.told("safety.held")
    assert (alarm["limit"], alarm["counted"], alarm["allowed"], alarm["known"]) == ("leavers", 20, 20, 30)
    assert (alarm["target"], alarm["reason"], alarm["window_seconds"]) == (None, "too_many_leavers", 600)
    assert alarm["detail"] == "20 of at most 20 within 10m over all targets"
    assert f"hris:{alarm['event']}" in crowd.holds()


def test_release_of_all_applies_all(third_held: Crowd, fake: FakeScim) -> None:
    """What was released is done, by the leavers' lane, and is not counted: the next leaver is held all the same."""
    third_held.joined("E4")
    third_held.stage.redis.delete("rq:queue:leavers")

    assert third_held.rule("E3-left", RELEASED) == RELEASED
    assert third_held.stage.redis.llen("rq:queue:leavers") == 1
    third_held.work("E3")
    third_held.tell(leaves("E4"))

    assert third_held.stage.state("E3-left") == "applied"
    assert active(fake) == 1
    assert third_held.holds() == ["hris:E4-left"]
    assert third_held.stage.person("E3").holds == ()
    (signal,) = third_held.told("safety.released")
    assert (signal["event"], signal["by"], signal["reason"]) == ("E3-left", "ada", "too_many_leavers")
    steps = [step for step in third_held.stage.found("E3-left")["timeline"] if step["step"] == "release"]
    assert [step["detail"] for step in steps] == [{"by": "ada"}]
    assert [data["event"] for data in third_held.told("person.suspended")] == ["E1-left", "E2-left", "E3-left"]


def test_person_counts_once_over_targets_and_repeats(make_crowd: MakeCrowd) -> None:
    """Two targets are one leaver, and so is a second attempt after trouble."""
    crm, desk = FakeScim(), FakeScim()
    crowd = make_crowd(crm=crm, desk=desk, safety=TWO)
    crowd.joined(*people(3))
    desk.next(answers(503), on="PATCH")

    crowd.tell(leaves("E1"))
    assert crowd.stage.state("E1-left") == "postponed"
    crowd.work("E1")
    crowd.tell(leaves("E2"), leaves("E3"))

    assert crowd.states(["E1-left", "E2-left", "E3-left"]) == ["applied", "applied", "held"]
    assert (active(crm), active(desk)) == (1, 1)


def test_limit_of_one_target_holds_there_alone(make_crowd: MakeCrowd) -> None:
    """Who does not fit there is locked out elsewhere, and one who fits nowhere at once is counted nowhere."""
    crm, desk = FakeScim(), FakeScim()
    crowd = make_crowd(crm=crm, desk=desk, safety={"leavers": {"max": 5}}, own={"desk": {"leavers": {"max": 1}}})
    crowd.joined(*people(2))

    crowd.tell(leaves("E1"), leaves("E2"))

    assert (active(crm), active(desk)) == (0, 1)
    assert crowd.reason("E2-left") == HELD
    (hold,) = crowd.stage.records.person("E2")["holds"]
    assert (hold["target"], hold["scope"], hold["change"]) == ("desk", "desk", "suspend")
    assert hold["detail"] == "1 of at most 1 within 10m on desk"
    assert [data["target"] for data in crowd.told("safety.held")] == ["desk"]


def test_who_fits_into_one_window_only_is_counted_in_none(make_crowd: MakeCrowd, fake: FakeScim, redis: Redis) -> None:
    """A hold by a target's own limit uses up nothing of the limit over all."""
    crowd = make_crowd(crm=fake, safety={"leavers": {"max": 5}}, own={"crm": {"leavers": {"max": 1}}})
    crowd.joined(*people(2))

    crowd.tell(leaves("E1"), leaves("E2"))

    assert redis.zrange(keys.window("leavers", None), 0, -1) == [b"E1"]
    assert redis.zrange(keys.window("leavers", "crm"), 0, -1) == [b"E1"]


@pytest.mark.parametrize("scope", ["over all", "on the target"])
def test_share_is_of_all_who_were_known(make_crowd: MakeCrowd, fake: FakeScim, scope: str) -> None:
    """A fifth of ten is two, and it stays two while they go; whoever left long ago is nobody's share."""
    share = {"leavers": {"share": 0.2}}
    limits: dict[str, Any] = {"safety": share} if scope == "over all" else {"own": {"crm": share}}
    crowd = make_crowd(crm=fake, **limits)
    crowd.joined(*people(11))
    crowd.tell(leaves("E11"))
    pass_window(crowd.stage.redis)

    crowd.tell(*(leaves(key) for key in people(4)))

    assert crowd.states([f"{key}-left" for key in people(4)]) == ["applied", "applied", "held", "held"]
    (alarm,) = crowd.told("safety.held")
    assert (alarm["known"], alarm["allowed"]) == (10, 2)


def test_one_always_may(make_crowd: MakeCrowd, fake: FakeScim) -> None:
    """The smallest share of few is still one: else nobody could ever leave a small company."""
    crowd = make_crowd(crm=fake, safety={"leavers": {"share": 0.01}})
    crowd.joined(*people(3))

    crowd.tell(leaves("E1"), leaves("E2"))

    assert crowd.states(["E1-left", "E2-left"]) == ["applied", "held"]


def test_leaver_of_whom_nothing_is_taken_is_not_counted(make_crowd: MakeCrowd, fake: FakeScim, redis: Redis) -> None:
    """Who has no account, and who is out already, uses up nothing."""
    crowd = make_crowd(crm=fake, safety=TWO)
    crowd.joined("E1")
    fake.add("Users", userName="E2@acme.example", externalId="E2", active=False)

    crowd.tell(leaves("E1"), leaves("E1", 20).model_copy(update={"id": "again"}), leaves("E2"), leaves("E3"))

    assert redis.zrange(keys.window("leavers", None), 0, -1) == [b"E1"]
    assert crowd.states(["E1-left", "again", "E2-left", "E3-left"]) == [
        "applied",
        "unchanged",
        "applied",
        "unchanged",
    ]


def test_room_comes_again_when_the_window_has_passed(third_held: Crowd, redis: Redis) -> None:
    """The next one leaves as always; whoever is held stays so; and a new storm is a new alarm."""
    pass_window(redis)
    third_held.joined("E4", "E5", "E6")

    third_held.tell(leaves("E4"), leaves("E5"), leaves("E6"))

    assert third_held.states(["E3-left", "E4-left", "E5-left", "E6-left"]) == ["held", "applied", "applied", "held"]
    assert len(third_held.told("safety.held")) == 2


def test_window_forgets_one_after_the_other(crowd: Crowd, redis: Redis) -> None:
    """It slides: when the first of two is older than the window, one more may."""
    crowd.tell(leaves("E1"), leaves("E2"))
    redis.zincrby(keys.window("leavers", None), -600_001, "E1")

    crowd.tell(leaves("E3"))

    assert crowd.stage.state("E3-left") == "applied"


def test_limit_that_lets_one_through_now_and_then_is_one_episode(third_held: Crowd, redis: Redis) -> None:
    """Room for one and full again is no news; only a whole window without a hold ends it."""
    redis.zincrby(keys.window("leavers", None), -600_001, "E1")
    third_held.joined("E4", "E5")

    third_held.tell(leaves("E4"), leaves("E5"))

    assert third_held.states(["E4-left", "E5-left"]) == ["applied", "held"]
    assert len(third_held.told("safety.held")) == 1
    left: Any = redis.pttl(keys.episode("leavers", None))
    assert 590_000 < left <= 600_000


def test_falling_out_of_scope_counts_as_leaving(make_crowd: MakeCrowd, fake: FakeScim) -> None:
    """A mass update that makes contractors of all is as bad as a mass of leavers, and is released as those are."""
    crowd = make_crowd(crm=fake, safety=TWO, policy=SCOPED)
    crowd.joined(*people(4))

    crowd.tell(*(moves(key, user_type="contractor") for key in people(4)))

    assert crowd.states([f"{key}-moved" for key in people(4)]) == ["applied", "applied", "held", "held"]
    assert crowd.reason("E3-moved") == HELD
    crowd.stage.redis.delete("rq:queue:leavers")
    crowd.rule("E3-moved", RELEASED)
    assert crowd.stage.redis.llen("rq:queue:leavers") == 1
    crowd.work("E3")
    assert (crowd.stage.state("E3-moved"), active(fake)) == ("applied", 1)


def test_without_limits_nothing_is_counted(make_crowd: MakeCrowd, fake: FakeScim, redis: Redis) -> None:
    """Absent is no limit, and costs no step."""
    crowd = make_crowd(crm=fake)
    crowd.joined(*people(3))

    crowd.tell(*(leaves(key) for key in people(3)))

    assert active(fake) == 0
    assert redis.keys("gatepost:window:*") == []


# ---- while a hold stands


def test_hold_is_shown_with_what_it_is(third_held: Crowd) -> None:
    """Listed by the event's name with the person, the limit, where, since when and what would be done."""
    (item,) = third_held.stage.records.holds().items
    person = third_held.stage.records.person("E3")

    assert (item["id"], item["event"], item["kind"], item["person"]) == ("hris:E3-left", "E3-left", "leaver", "E3")
    assert (item["state"], item["reason"]) == HELD
    (hold,) = item["holds"]
    assert (hold["target"], hold["limit"], hold["scope"], hold["change"]) == ("crm", "leavers", None, "suspend")
    assert abs((datetime.fromisoformat(item["since"]) - datetime.now(UTC)).total_seconds()) < 60
    assert person["holds"] == [hold]
    assert person["status"] == "left"


def test_later_event_is_held_with_it_and_follows_it(third_held: Crowd, fake: FakeScim, redis: Redis) -> None:
    """Whatever comes, the hold stands, also when there is room again: no second one, no alarm, nothing counted."""
    pass_window(redis)

    third_held.tell(moves("E3", 20, title="Chief"))

    assert third_held.reason("E3-moved") == HELD
    assert third_held.stage.found("E3-moved")["detail"].startswith("held with hris:E3-left: 2 of at most 2")
    assert (third_held.holds(), len(third_held.told("safety.held"))) == (["hris:E3-left"], 1)
    assert redis.keys("gatepost:window:*") == []
    with pytest.raises(Malformed, match="hris:E3-moved is held with hris:E3-left"):
        third_held.rule("E3-moved", RELEASED)

    third_held.rule("E3-left", RELEASED)
    third_held.work("E3")

    assert third_held.states(["E3-left", "E3-moved"]) == ["applied", "applied"]
    assert active(fake) == 0
    assert third_held.stage.mailbox("E3") == []
    assert third_held.stage.is_free("E3")


def test_rehire_makes_a_hold_moot(third_held: Crowd, fake: FakeScim) -> None:
    """Somebody who is back is not to be locked out: what was held is superseded, and nobody has to rule of it."""
    third_held.tell(moves("E3", 20, title="Chief"), joins("E3", 30).model_copy(update={"id": "back"}))

    assert third_held.states(["E3-left", "E3-moved", "back"]) == ["superseded", "superseded", "unchanged"]
    assert third_held.holds() == []
    assert third_held.stage.person("E3").holds == ()
    assert active(fake) == 1
    with pytest.raises(Unknown, match="hris:E3-left is not held: it is superseded"):
        third_held.rule("E3-left", RELEASED)


def test_hold_is_moot_as_soon_as_somebody_is_back(third_held: Crowd, fake: FakeScim) -> None:
    """Also where the target is away for the rehire: nobody could be locked out by the hold any more."""
    fake.next(answers(503), on="GET")

    third_held.tell(joins("E3", 30).model_copy(update={"id": "back"}))

    assert third_held.states(["E3-left", "back"]) == ["superseded", "postponed"]
    assert third_held.holds() == []


def test_doubt_about_the_person_is_a_hold_of_its_own(third_held: Crowd, fake: FakeScim) -> None:
    """An event that could be about somebody else by now is not held with the leaver, but beside it."""
    fake.held["Users"][fake.user("E3@acme.example")["id"]]["externalId"] = "E77"

    third_held.tell(moves("E3", 20, title="Chief"))

    assert third_held.reason("E3-moved") == ("held", "other_owner")
    assert third_held.holds() == ["hris:E3-left", "hris:E3-moved"]
    assert [hold.others for hold in third_held.stage.person("E3").holds] == [()]


def test_superseded_event_is_no_hold_though_nothing_could_be_decided(make_crowd: MakeCrowd, fake: FakeScim) -> None:
    """The policy fails of somebody who came back while a leaver was released: nobody has to rule of that one."""
    crowd = make_crowd(crm=fake, safety={"leavers": {"max": 1}}, policy={"scope": "person.custom.level > 3"})
    crowd.joined("E1", "E2", custom={"level": 4})
    crowd.tell(leaves("E1"), leaves("E2"))
    crowd.rule("E2-left", RELEASED)
    crowd.stage.hear(joins("E2", 30, custom=None).model_copy(update={"id": "back"}))

    crowd.work("E2")

    assert crowd.states(["E2-left", "back"]) == ["superseded", "failed"]
    assert crowd.holds() == []


def test_hold_ends_where_the_target_is_gone(third_held: Crowd, make_crowd: MakeCrowd) -> None:
    """A target that is configured no longer holds nobody; what was released for it fails with the reason."""
    other = make_crowd(desk=FakeScim(), safety=TWO)

    third_held.rule("E3-left", RELEASED)
    other.work("E3")

    assert other.reason("E3-left") == ("failed", "target_unknown")
    assert other.stage.person("E3").holds == ()


# ---- deaths


def test_worker_that_dies_after_the_check_costs_no_alarm_and_makes_no_second(
    crowd: Crowd, fake: FakeScim, redis: Redis
) -> None:
    """Nothing of its attempt is settled; the next one finds the same hold, and tells of it once."""
    crowd.tell(leaves("E1"), leaves("E2"))
    crowd.stage.hear(leaves("E3"))

    def robbed(proceed: Callable[[], httpx.Response]) -> httpx.Response:
        redis.set(keys.lease("E3"), "another job")
        return proceed()

    fake.next(robbed, on="GET")
    crowd.work("E3")
    assert (crowd.stage.state("E3-left"), crowd.told("safety.held")) == ("kept", [])
    assert redis.exists(keys.episode("leavers", None))
    redis.delete(keys.lease("E3"))

    crowd.work("E3")

    assert crowd.reason("E3-left") == HELD
    assert len(crowd.told("safety.held")) == 1


def test_worker_that_dies_after_the_count_has_counted_once(crowd: Crowd, fake: FakeScim) -> None:
    """The lost answer of a suspension is found done, and the person is one of two."""
    fake.next(cuts_after(httpx.ReadTimeout), on="PATCH")

    crowd.tell(leaves("E1"))
    crowd.work("E1")
    crowd.tell(leaves("E2"), leaves("E3"))

    assert crowd.states(["E1-left", "E2-left", "E3-left"]) == ["applied", "applied", "held"]


def test_alarm_has_one_body(third_held: Crowd, redis: Redis) -> None:
    """The second hold of an episode leaves the alarm as the first one told it."""
    third_held.joined("E4")
    before = third_held.told("safety.held")

    third_held.tell(leaves("E4"))

    assert third_held.told("safety.held") == before
    assert len(redis.zrange(keys.SIGNALS, 0, -1)) == len(set(redis.zrange(keys.SIGNALS, 0, -1)))


# ---- who is known


def test_people_and_accounts_are_counted_as_they_come_and_go(crowd: Crowd, redis: Redis) -> None:
    """Whoever has access: a leaver no longer when it is gone, a held one still."""
    everybody = {b"E1", b"E2", b"E3"}
    assert redis.smembers(keys.known(None)) == redis.smembers(keys.known("crm")) == everybody

    crowd.tell(*(leaves(key) for key in people(3)))

    assert redis.smembers(keys.known(None)) == redis.smembers(keys.known("crm")) == {b"E3"}
    crowd.tell(joins("E1", 30).model_copy(update={"id": "back"}))
    assert redis.smembers(keys.known("crm")) == {b"E1", b"E3"}


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (SCOPED, {"user_type": "contractor"}),
        ({"home_source": "hris"}, {"source_of_truth": "workday"}),
    ],
    ids=["out of scope", "not home"],
)
def test_strangers_make_no_share_greater(
    make_crowd: MakeCrowd, fake: FakeScim, policy: dict[str, Any], told: dict[str, Any]
) -> None:
    """Twenty of whom only is heard have no access: of five with accounts one may leave, not five."""
    crowd = make_crowd(crm=fake, safety={"leavers": {"share": 0.2}}, policy=policy)
    crowd.joined(*people(5))
    crowd.tell(*(joins(f"X{place}", **told) for place in range(20)))

    crowd.tell(*(leaves(key) for key in people(5)))

    assert crowd.states([f"{key}-left" for key in people(5)]) == ["applied", *["held"] * 4]
    (alarm,) = crowd.told("safety.held")
    assert (alarm["known"], active(fake)) == (5, 4)


def test_person_of_two_sources_is_one(make_crowd: MakeCrowd, fake: FakeScim, redis: Redis) -> None:
    """When two persons are found to be one, so they are in every count, with the holds of both."""
    crowd = make_crowd(crm=fake, safety={"leavers": {"max": 1}}, policy={"link_by": ["employee_number"]})
    crowd.joined("E1", "E2")
    crowd.tell(leaves("E1"), leaves("E2"))
    other = event(Kind.LEAVER, "other", minute=20, person="00u2", external_id="00u2", employee_number="77")
    crowd.tell(moves("E2", 15, employee_number="77"))
    redis.zadd(keys.window("leavers", None), {"00u2": 5e13})
    crowd.stage.hear(other.model_copy(update={"source": "okta"}))

    crowd.work("00u2")
    crowd.work("E2")

    assert crowd.stage.person("E2").ids == ("hris:E2", "okta:00u2")
    assert redis.smembers(keys.known(None)) == {b"E2"}
    assert redis.zscore(keys.window("leavers", None), "00u2") is None
    assert redis.zscore(keys.window("leavers", None), "E2") == 5e13
    assert crowd.holds() == ["hris:E2-left"]


def test_one_human_of_two_has_the_holds_and_the_statuses_of_both() -> None:
    """What was held of either is held; of two holds of a kind one stands; the second best status comes after a drop."""

    def known(key: str, limit: str, minute: int, status: str) -> Person:
        event_name = f"hris:{key}"
        at = AT + timedelta(minutes=minute)
        hold = Hold(target="crm", limit=limit, scope=None, event=event_name, since=AT, detail="2 of at most 2")
        return Person(key=key, status=Fact(value=status, at=at, event=event_name), holds=(hold,))

    mine, other = known("E1", "deletions", 1, "active"), known("E2", "leavers", 2, "left")
    of_a_kind = known("E3", "leavers", 3, "left")

    one = united(Config(), mine, other)
    still = united(Config(), of_a_kind, one)

    assert {hold.event for hold in one.holds} == {"hris:E1", "hris:E2"}
    assert (one.status, one.words) == (other.status, (mine.status, other.status))
    assert [hold.event for hold in still.holds] == [hold.event for hold in one.holds]
    assert {hold.event: hold.others for hold in still.holds} == {"hris:E1": (), "hris:E2": ("hris:E3",)}
    assert (still.status, still.words[-2:]) == (of_a_kind.status, (other.status, of_a_kind.status))
