"""Settle: from the results of one attempt to where each event stands."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lifecycle.config import Config
from lifecycle.errors import Postponed
from lifecycle.event import Event, Kind, State
from lifecycle.person import Account, Fact, Person
from lifecycle.settlement import Delivery, Kept, Parked, Settled, Settlement, still_open
from lifecycle.signal import iso
from tests.workers.stories import AT, BO, event, target
from workers.fold import Folded, fold
from workers.outcome import Result
from workers.scim.client import Conversation, Exchange
from workers.settle import attempts, settle
from workers.task import Agreement

NOW = AT + timedelta(days=1)
SOON = NOW + timedelta(seconds=5)
NOBODY = Person(key="E1042")
JOINED = event(Kind.JOINER, "joined", **BO)
MOVED = event(Kind.MOVER, "moved", minute=1, title="Lead")
LEFT = event(Kind.LEAVER, "left", minute=2)


def kept(found: Event, state: State = State.KEPT, **deliveries: Delivery) -> Kept:
    """Make an unsettled event."""
    return Kept(found, state, deliveries)


def result(place: str, state: State, *, requests: int = 1, retry_at: datetime | None = None, **agreed: Any) -> Result:  # noqa: ANN401 - an agreement
    """Make what one target came to."""
    talk = Conversation(lambda: None, [Exchange(NOW, "GET", "/Users/u-7", 200, 3)] * requests)
    return Result(place, state, Agreement(**agreed), talk, f"reason of {place}", f"detail of {place}", retry_at)


def settled(
    mailbox: list[Kept], *results: Result, person: Person = NOBODY, now: datetime = NOW, targets: Sequence[str] = ()
) -> Settled:
    """Fold and settle."""
    folded: Folded = fold(Config(), person, mailbox, now)
    return settle(Config(targets={name: target() for name in targets}), folded, mailbox, results, now)


def by_id(found: Settled) -> dict[str, Settlement]:
    """Return settlements by the id of their event."""
    return {settlement.kept.event.id: settlement for settlement in found.settlements}


@pytest.mark.parametrize(
    ("states", "worst"),
    [
        ([State.APPLIED, State.UNCHANGED], State.APPLIED),
        ([State.UNCHANGED, State.IGNORED], State.UNCHANGED),
        ([State.IGNORED, State.IGNORED], State.IGNORED),
        ([State.APPLIED, State.HELD], State.HELD),
        ([State.FAILED, State.HELD], State.FAILED),
        ([State.FAILED, State.POSTPONED], State.POSTPONED),
        ([State.APPLIED, State.POSTPONED], State.POSTPONED),
        ([], State.IGNORED),
    ],
    ids=lambda found: "+".join(found) if isinstance(found, list) else str(found),
)
def test_worst_outcome_is_the_events_own(states: list[State], worst: State) -> None:
    """What is still to come, then what needs a person, then what was done."""
    results = [result(f"t{number}", state, retry_at=SOON) for number, state in enumerate(states)]

    found = by_id(settled([kept(JOINED)], *results))["joined"]

    assert worst == found.state
    assert states == [delivery.outcome for delivery in found.deliveries.values()]


def test_reason_is_that_of_the_worst_target() -> None:
    """An operator sees first what has to be mended."""
    found = by_id(settled([kept(JOINED)], result("crm", State.APPLIED), result("desk", State.FAILED)))["joined"]

    assert (found.reason, found.detail) == ("reason of desk", "detail of desk")


def test_superseded_event_names_its_successor_and_costs_nothing() -> None:
    """It is settled without a request of its own."""
    found = by_id(settled([kept(JOINED), kept(LEFT)], result("crm", State.APPLIED, requests=3)))

    assert (found["joined"].state, found["joined"].detail) == (State.SUPERSEDED, "outranked by hris:left")
    assert found["joined"].deliveries == {}
    assert found["left"].deliveries["crm"].requests == 3


def test_requests_are_counted_for_the_deciding_event_alone() -> None:
    """Events that ride along share the outcome, not the bill."""
    found = by_id(settled([kept(JOINED), kept(MOVED)], result("crm", State.APPLIED, requests=2)))

    assert (found["joined"].state, found["moved"].state) == (State.APPLIED, State.APPLIED)
    assert (found["joined"].deliveries["crm"].requests, found["moved"].deliveries["crm"].requests) == (2, 0)
    assert {"with": "hris:joined"}.items() <= found["moved"].steps[0].detail.items()


def test_attempts_and_requests_add_up() -> None:
    """A second attempt is added to what the first one cost."""
    before = Delivery(State.POSTPONED, requests=2, attempts=1, reason="busy")

    found = by_id(settled([kept(JOINED, crm=before)], result("crm", State.APPLIED, requests=3)))["joined"]

    assert found.deliveries["crm"] == Delivery(State.APPLIED, requests=5, attempts=2, reason="reason of crm")


def test_target_that_is_settled_keeps_its_outcome() -> None:
    """While another target is asked again, what was applied stays applied."""
    done = Delivery(State.APPLIED, requests=2, attempts=1)
    waiting = Delivery(State.POSTPONED, requests=1, attempts=1)

    found = by_id(settled([kept(JOINED, State.POSTPONED, crm=done, desk=waiting)], result("desk", State.UNCHANGED)))

    assert found["joined"].deliveries["crm"] == done
    assert found["joined"].state is State.APPLIED


def test_event_is_open_on_a_target_until_its_outcome_is_final() -> None:
    """Not yet tried, or postponed."""
    found = {state: still_open(kept(JOINED, crm=Delivery(state)), "crm") for state in State}

    assert {State.POSTPONED} == {state for state, is_open in found.items() if is_open}
    assert still_open(kept(JOINED), "crm")
    assert (
        attempts(kept(JOINED), "crm"),
        attempts(kept(JOINED, crm=Delivery(State.HELD, attempts=3)), "crm"),
    ) == (0, 3)


def test_later_look_is_at_the_first_moment_that_a_target_names() -> None:
    """One look for all targets, in the lane of the kinds that wait."""
    results = [
        result("crm", State.POSTPONED, retry_at=SOON),
        result("desk", State.POSTPONED, retry_at=SOON + timedelta(hours=1)),
    ]

    assert settled([kept(JOINED)], *results).again == [("people", SOON)]
    assert settled([kept(LEFT)], *results).again == [("leavers", SOON)]


def away(moment: datetime) -> Delivery:
    """Return what is kept of a target that is to be asked again."""
    return Delivery(State.POSTPONED, attempts=1, reason="broken", retry_at=iso(moment))


def test_look_for_the_other_target_is_left_by_the_first_ones() -> None:
    """Two targets are away until different moments: whatever the first one comes to, the second is looked at."""
    later = NOW + timedelta(hours=1)
    waiting = kept(JOINED, State.POSTPONED, crm=away(NOW), desk=away(later))

    def looks(outcome: Result) -> Sequence[tuple[str, datetime]]:
        return settled([waiting], outcome, targets=("crm", "desk")).again

    assert looks(result("crm", State.APPLIED)) == [("people", later)]
    assert looks(result("crm", State.POSTPONED, retry_at=SOON)) == [("people", SOON)]
    assert looks(result("crm", State.POSTPONED, retry_at=later + timedelta(1))) == [("people", later)]


def test_look_that_is_in_the_schedule_is_not_scheduled_again() -> None:
    """Who comes meanwhile finds that nothing is due and that the look is there."""
    later = NOW + timedelta(hours=1)
    waiting = kept(JOINED, State.POSTPONED, crm=away(later), desk=away(later + timedelta(hours=1)))

    assert settled([waiting, kept(MOVED)], targets=("crm", "desk")).again == []


def test_look_that_came_early_is_made_again() -> None:
    """A worker's clock is three seconds behind the scheduler's, by which the next look is three seconds later."""
    seconds = timedelta(seconds=3)

    found = settled([kept(JOINED, State.POSTPONED, crm=away(NOW + seconds))], targets=["crm"])

    assert found.again == [("people", NOW + 2 * seconds)]


def test_look_for_a_leaver_is_not_left_to_the_others() -> None:
    """A look among joiners may come late: a leaver has its own, unless there is one as early."""
    later = NOW + timedelta(hours=1)
    moved = kept(MOVED, State.POSTPONED, crm=away(NOW + timedelta(minutes=10)))
    left = kept(LEFT, State.POSTPONED, crm=away(later))

    assert settled([moved, left], targets=["crm"]).again == []
    assert settled([moved, kept(LEFT)], result("crm", State.POSTPONED, retry_at=later)).again == [("leavers", later)]


def test_probe_is_one_try_however_often_it_is_made() -> None:
    """Who tries a shut target for all does not run out of tries by it, and is not taken for one that sent nothing."""
    waiting = Result("crm", State.POSTPONED, Agreement(), _sent(1), "circuit", parked=Parked("crm", 1, 2))
    turned_away = Result("crm", State.POSTPONED, Agreement(), _sent(0), "circuit", parked=Parked("crm", 1, 2))
    before = kept(JOINED, State.POSTPONED, crm=Delivery(State.POSTPONED, attempts=1, reason="circuit"))

    tries = [
        by_id(settled([each], found))["joined"].deliveries["crm"].attempts
        for each in (kept(JOINED), before)
        for found in (turned_away, waiting)
    ]

    assert tries == [0, 1, 1, 1]


def _sent(requests: int) -> Conversation:
    return Conversation(lambda: None, [Exchange(NOW, "GET", "/Users/u-7", 401, 3)] * requests)


def test_no_later_look_where_nothing_waits() -> None:
    """What is final is not looked at again."""
    assert settled([kept(JOINED)], result("crm", State.APPLIED), result("desk", State.FAILED)).again == []


def test_future_event_is_scheduled_once() -> None:
    """Its look is offered when it is first seen, and not again by each attempt in between."""
    tomorrow = NOW + timedelta(days=1)
    leaves = event(Kind.LEAVER, "leaves", minute=5, effective_at=tomorrow)

    first = settled([kept(leaves)])
    second = settled([replace(kept(leaves, State.SCHEDULED), due_at=tomorrow)])

    assert [("leavers", tomorrow)] == first.again
    assert second.again == []
    assert (by_id(first)["leaves"].state, by_id(second)["leaves"].state) == (State.SCHEDULED, State.SCHEDULED)
    assert [step.step for step in by_id(first)["leaves"].steps] == ["fold"]
    assert by_id(second)["leaves"].steps == ()


@pytest.mark.parametrize("earlier", [True, False])
def test_future_event_whose_moment_moves_is_looked_at_then(earlier: bool) -> None:
    """The person's zone became known: the look moves with the moment, and the timeline says from when to when."""
    leaves = event(Kind.LEAVER, "leaves", minute=5, effective_at="2026-03-10")
    by_utc = datetime(2026, 3, 11, tzinfo=UTC)
    zone, moment = (
        ("Asia/Tokyo", by_utc - timedelta(hours=9)) if earlier else ("America/Lima", by_utc + timedelta(hours=5))
    )
    person = NOBODY.model_copy(update={"facts": {"timezone": Fact(value=zone, at=AT, event="hris:e9")}})

    found = settled([replace(kept(leaves, State.SCHEDULED), due_at=by_utc)], person=person)

    (settlement,) = found.settlements
    assert found.again == [("leavers", moment)]
    assert (settlement.state, settlement.due_at) == (State.SCHEDULED, moment)
    assert [step.detail for step in settlement.steps] == [{"scheduled_for": iso(moment), "before": iso(by_utc)}]


def test_event_with_a_date_keeps_its_moment_when_it_is_done() -> None:
    """When it took effect is shown for as long as its record lives; of one without a date nothing is."""
    leaves = event(Kind.LEAVER, "leaves", minute=5, effective_at=NOW - timedelta(hours=1))

    found = by_id(settled([kept(JOINED), kept(leaves)], result("crm", State.APPLIED)))

    assert (found["leaves"].due_at, found["joined"].due_at) == (NOW - timedelta(hours=1), None)


def test_account_that_a_target_gave_is_kept_with_the_person() -> None:
    """Also where the attempt ended in trouble: the next one starts from the id."""
    account = Account(id="u-7")
    others = NOBODY.model_copy(update={"accounts": {"desk": Account(id="d-1")}})
    trouble = result("crm", State.POSTPONED, retry_at=SOON, account=account, trouble=Postponed("busy", reason="busy"))

    found = settled([kept(JOINED)], trouble, person=others)

    assert {"crm": account, "desk": Account(id="d-1")} == found.person.accounts


def test_facts_are_kept_although_no_target_answered() -> None:
    """What a source said is known, whatever becomes of it."""
    found = settled([kept(JOINED)], result("crm", State.POSTPONED, retry_at=SOON))

    assert found.person.value("title") == "Agent"


@pytest.mark.parametrize(
    ("found", "change", "confirmed_at", "counted"),
    [
        (LEFT, "suspended", NOW, True),
        (LEFT, "suspended", None, False),
        (LEFT, None, NOW, False),
        (JOINED, "provisioned", NOW, False),
    ],
    ids=["confirmed", "not confirmed", "was out already", "joiner"],
)
def test_time_to_revoke_is_counted_for_confirmed_leavers(
    found: Event, change: str | None, confirmed_at: datetime | None, counted: bool
) -> None:
    """From receipt until the target showed the account inactive."""
    outcome = result("crm", State.APPLIED, change=change, confirmed_at=confirmed_at)

    revoked = settled([kept(found)], outcome).revoked

    assert ([("crm", (NOW - found.received_at).total_seconds())] if counted else []) == revoked


def test_time_to_revoke_of_a_scheduled_leaver_is_counted_from_its_date() -> None:
    """Nobody was late because the leave was told weeks before."""
    leaves = event(Kind.LEAVER, "leaves", effective_at=NOW - timedelta(seconds=3))

    outcome = result("crm", State.APPLIED, change="suspended", confirmed_at=NOW)

    assert settled([kept(leaves)], outcome).revoked == [("crm", 3.0)]


def test_requests_are_told_with_method_and_status() -> None:
    """The fleet's counters see every request, also those without an answer."""
    lost = Result(
        "crm",
        State.POSTPONED,
        Agreement(),
        Conversation(lambda: None, [Exchange(NOW, "POST", "/Users", 0, 9)]),
        retry_at=SOON,
    )

    found = settled([kept(JOINED)], lost, result("desk", State.APPLIED))

    assert found.requests == [("crm", "POST", "none"), ("desk", "GET", "200")]


def test_timeline_of_the_deciding_event_tells_the_conversation() -> None:
    """Fold, each request, and the outcome with what was done; nothing empty."""
    outcome = result(
        "crm", State.APPLIED, requests=2, change="updated", account=Account(id="u-7"), groups_added=["Agents"]
    )

    steps = by_id(settled([kept(JOINED)], outcome))["joined"].steps

    assert [step.step for step in steps] == ["fold", "request", "request", "settle"]
    assert steps[1].detail == {"target": "crm", "method": "GET", "path": "/Users/u-7", "status": 200, "milliseconds": 3}
    assert tuple(steps[3].detail[name] for name in ("change", "account", "groups_added")) == (
        "updated",
        "u-7",
        ["Agents"],
    )
    assert all(value is not None for value in steps[3].detail.values())
    assert datetime.fromisoformat(steps[0].at.isoformat()).astimezone(UTC) == NOW
