"""What a human rules of what is held: released, dropped, tried again; once, and obeyed whatever happens meanwhile."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.errors import Unknown
from lifecycle.event import State
from lifecycle.holds import Holds
from lifecycle.records import Records
from lifecycle.settlement import DROPPED, RELEASED, Delivery, dump_deliveries
from lifecycle.signal import iso
from tests.workers.crowds import (
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
from tests.workers.fake_scim import FakeScim, answers

__all__ = ["crowd", "make_crowd", "third_held"]

HELD = ("held", "too_many_leavers")


def test_released_event_is_planned_against_the_present(third_held: Crowd, fake: FakeScim) -> None:
    """A rehire that comes before the released event is worked on outranks it."""
    third_held.rule("E3-left", RELEASED)
    third_held.stage.hear(joins("E3", 30).model_copy(update={"id": "back"}))

    third_held.work("E3")

    assert third_held.states(["E3-left", "back"]) == ["superseded", "unchanged"]
    assert active(fake) == 1


def test_released_event_goes_on_through_trouble(third_held: Crowd, fake: FakeScim) -> None:
    """The ruling holds for all attempts, and is told of once."""
    fake.next(answers(503), on="PATCH")
    third_held.rule("E3-left", RELEASED)

    third_held.work("E3")
    before = third_held.stage.state("E3-left")
    third_held.work("E3")

    assert (before, third_held.stage.state("E3-left")) == ("postponed", "applied")
    assert len(third_held.told("safety.released")) == 1


def test_released_leaver_waits_for_nobody(third_held: Crowd, fake: FakeScim, redis: Redis) -> None:
    """Another event of the person waits for a target for an hour; the release does not wait with it."""
    fake.next(answers(500), on="GET")
    third_held.tell(moves("E3", 20, title="Chief"))
    later = Delivery(State.POSTPONED, attempts=1, reason="broken", retry_at=iso(datetime.now(UTC) + timedelta(hours=1)))
    redis.hset(keys.event("hris:E3-moved"), "deliveries", dump_deliveries({"crm": later}))

    third_held.rule("E3-left", RELEASED)
    third_held.stage.work("E3", early=True)

    assert (third_held.stage.state("E3-left"), active(fake)) == ("applied", 0)


def test_ruling_is_made_once(third_held: Crowd, redis: Redis) -> None:
    """A second release, a drop after it, and a ruling of what was never held find nothing."""
    third_held.rule("E3-left", RELEASED)

    for event_id, verdict in (("E3-left", RELEASED), ("hris:E3-left", DROPPED), ("E1-left", RELEASED)):
        with pytest.raises(Unknown, match="is not held: it is"):
            third_held.rule(event_id, verdict)

    assert redis.lrange(keys.mailbox("E3"), 0, -1) == [b"hris:E3-left"]
    with pytest.raises(Unknown, match="no event 'nothing'"):
        third_held.rule("nothing", RELEASED)


def test_many_who_rule_at_once_rule_once(third_held: Crowd) -> None:
    """Releases and drops in the same moment: one of them stands, and all others are told so."""

    def rule(verdict: str) -> str | None:
        try:
            return third_held.rule("E3-left", verdict)
        except Unknown:
            return None

    with ThreadPoolExecutor(8) as pool:
        (verdict,) = filter(None, pool.map(rule, [RELEASED, DROPPED] * 8))
    third_held.work("E3")

    assert third_held.stage.state("E3-left") == {RELEASED: "applied", DROPPED: "ignored"}[verdict]
    assert third_held.stage.mailbox("E3") == []


class Late(Holds):
    """Holds of which somebody rules just before a ruling is written."""

    def __init__(self, records: Records, *first: str) -> None:
        """Keep what the others rule, one after the other."""
        super().__init__(records._redis, records._event, records._person, records._tried_again)
        self.records, self.first = records, list(first)

    def _write(self, *arguments: Any) -> None:  # noqa: ANN401 - of the base
        if self.first:
            self.records.rule("E3-left", ["hris"], self.first.pop(), actor="bo")
        super()._write(*arguments)


def test_ruling_that_comes_a_moment_too_late_is_told_so(third_held: Crowd) -> None:
    """It finds the event as the other ruling left it, and changes nothing."""
    late = Late(third_held.stage.records, DROPPED)

    with pytest.raises(Unknown, match="hris:E3-left is not held: it is kept"):
        late.rule("hris:E3-left", RELEASED, actor="ada")
    third_held.work("E3")

    assert third_held.stage.found("E3-left")["detail"] == "dropped by bo"
    assert third_held.stage.mailbox("E3") == []


# ---- drop


def test_dropped_leaver_is_taken_back(third_held: Crowd, fake: FakeScim, redis: Redis) -> None:
    """The person works here again as before, is not locked out by the next event, and what was held with it is done."""
    third_held.tell(moves("E3", 20, title="Chief"))

    assert third_held.rule("E3-left", DROPPED) == DROPPED
    third_held.work("E3")

    assert third_held.reason("E3-left") == ("ignored", "dropped")
    assert third_held.stage.found("E3-left")["detail"] == "dropped by ada"
    assert third_held.stage.state("E3-moved") == "applied"
    assert fake.user("E3@acme.example")["title"] == "Chief"
    assert active(fake) == 1
    assert third_held.stage.records.person("E3")["status"] == "active"
    assert third_held.holds() == []
    assert redis.sismember(keys.known(None), "E3")
    assert third_held.told("safety.released") == []


def test_dropped_leaver_who_came_back_meanwhile_stays_as_told(third_held: Crowd) -> None:
    """A newer status is not undone by a drop."""
    third_held.rule("E3-left", DROPPED)
    third_held.stage.hear(leaves("E3", 30).model_copy(update={"id": "for good"}))

    third_held.work("E3")

    assert third_held.stage.records.person("E3")["status"] == "left"
    assert third_held.stage.state("E3-left") == "ignored"
    assert third_held.reason("for good") == HELD


def test_leaver_who_is_out_somewhere_is_not_taken_back(make_crowd: MakeCrowd) -> None:
    """A drop gives nobody access: where the leaver took effect the person stays out, and the other account as it is."""
    crm, desk = FakeScim(), FakeScim()
    crowd = make_crowd(crm=crm, desk=desk, own={"desk": {"leavers": {"max": 1}}})
    crowd.joined(*people(2))
    crowd.tell(leaves("E1"), leaves("E2"))

    crowd.rule("E2-left", DROPPED)
    crowd.work("E2")

    assert crowd.reason("E2-left") == ("ignored", "dropped")
    assert crowd.stage.records.person("E2")["status"] == "left"
    assert (active(crm), active(desk)) == (0, 1)


# ---- retry, and what is held for another reason


def test_retry_does_not_get_round_the_limit(third_held: Crowd, redis: Redis) -> None:
    """Tried again while the window is full it is held again, without an alarm; with room it is done and counted."""
    third_held.stage.records.retry("event:hris:E3-left", actor="ada")
    assert third_held.holds() == []
    third_held.work("E3")
    assert (third_held.reason("E3-left"), third_held.holds()) == (HELD, ["hris:E3-left"])
    assert len(third_held.told("safety.held")) == 1

    pass_window(redis)
    third_held.stage.records.retry("event:hris:E3-left", actor="ada")
    third_held.work("E3")

    assert third_held.stage.state("E3-left") == "applied"
    assert redis.zrange(keys.window("leavers", None), 0, -1) == [b"E3"]
    assert third_held.stage.person("E3").holds == ()


def test_release_of_another_hold_only_tries_again(crowd: Crowd, fake: FakeScim) -> None:
    """Whom an event is about no release makes sure: it is tried again, and held again while it is not clear."""
    for name in ("E8@acme.example", "E8b@acme.example"):
        fake.add("Users", userName=name, externalId="E8", active=True)
    crowd.tell(leaves("E8"))

    assert crowd.holds() == ["hris:E8-left"]
    assert crowd.rule("E8-left", RELEASED) == "tried_again"
    assert crowd.holds() == []
    crowd.work("E8")
    assert crowd.reason("E8-left") == ("held", "several_accounts")
    assert crowd.stage.records.holds().items[0]["holds"] == []
    assert crowd.told("safety.released") == []
    crowd.rule("E8-left", DROPPED)
    crowd.work("E8")
    assert crowd.reason("E8-left") == ("ignored", "dropped")
    assert active(fake) == 3 + 2


# ---- an event that is still tried elsewhere


@pytest.fixture
def half_held(make_crowd: MakeCrowd) -> tuple[Crowd, FakeScim, FakeScim]:
    """Give a leaver who is held on one target while the other one is away."""
    crm, desk = FakeScim(), FakeScim()
    crowd = make_crowd(crm=crm, desk=desk, own={"crm": {"leavers": {"max": 1}}})
    crowd.joined(*people(2))
    crowd.tell(leaves("E1"))
    desk.next(answers(503), on="PATCH")
    crowd.tell(leaves("E2"))
    assert crowd.stage.state("E2-left") == "postponed"
    assert (crowd.stage.delivery("E2-left", "crm")["outcome"], active(crm), active(desk)) == ("held", 1, 1)
    return crowd, crm, desk


def test_hold_is_listed_and_released_while_another_target_is_away(
    half_held: tuple[Crowd, FakeScim, FakeScim],
) -> None:
    """An outage elsewhere keeps nobody from ruling."""
    crowd, crm, desk = half_held
    desk.next(answers(503), on="PATCH")

    assert crowd.holds() == ["hris:E2-left"]
    crowd.rule("E2-left", RELEASED)
    crowd.work("E2")

    assert (active(crm), active(desk), crowd.stage.state("E2-left")) == (0, 1, "postponed")
    assert crowd.holds() == []
    assert crowd.stage.mailbox("E2") == ["hris:E2-left"]


@pytest.mark.parametrize(("verdict", "state", "left"), [(RELEASED, "applied", 0), (DROPPED, "ignored", 1)])
def test_ruling_that_comes_during_an_attempt_is_not_lost(
    half_held: tuple[Crowd, FakeScim, FakeScim], verdict: str, state: str, left: int
) -> None:
    """The attempt read the event before the ruling and settles it after: it is read again, and the ruling is obeyed."""
    crowd, crm, desk = half_held

    def meanwhile(proceed: Callable[[], httpx.Response]) -> httpx.Response:
        crowd.rule("E2-left", verdict)
        return proceed()

    desk.next(meanwhile, on="PATCH")
    crowd.work("E2")

    assert (crowd.stage.state("E2-left"), active(crm), active(desk)) == (state, left, 0)
    assert crowd.holds() == []
    assert crowd.stage.mailbox("E2") == []


def test_hold_stands_though_its_event_is_tried_elsewhere(
    half_held: tuple[Crowd, FakeScim, FakeScim], redis: Redis
) -> None:
    """An event that comes while the other target is away is held too, also where there is room again."""
    crowd, crm, desk = half_held
    pass_window(redis)
    desk.next(answers(503), on="PATCH")

    crowd.tell(moves("E2", 20, title="Chief"))

    assert (active(crm), crowd.holds()) == (1, ["hris:E2-left"])
    assert crowd.stage.delivery("E2-moved", "crm")["outcome"] == "held"


def test_doubt_about_a_person_is_listed_when_nothing_else_is_left_to_do(make_crowd: MakeCrowd) -> None:
    """While the event is tried on another target it is not to be tried again by hand."""
    crm, desk = FakeScim(), FakeScim()
    crowd = make_crowd(crm=crm, desk=desk)
    for name in ("E8@acme.example", "E8b@acme.example"):
        crm.add("Users", userName=name, externalId="E8", active=True)
    desk.next(answers(503), on="GET")

    crowd.tell(leaves("E8"))
    before = crowd.stage.state("E8-left"), crowd.holds()
    crowd.work("E8")

    assert before == ("postponed", [])
    assert (crowd.stage.state("E8-left"), crowd.holds()) == ("held", ["hris:E8-left"])


def test_rehire_while_another_target_is_away_leaves_no_hold(half_held: tuple[Crowd, FakeScim, FakeScim]) -> None:
    """The event that is still tried elsewhere is superseded there too, and nobody has to rule of it."""
    crowd, crm, desk = half_held

    crowd.tell(joins("E2", 30).model_copy(update={"id": "back"}))

    assert (crowd.stage.state("E2-left"), crowd.holds(), active(crm), active(desk)) == ("superseded", [], 1, 1)
