"""Signals: what subscribers are told of an attempt."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lifecycle.event import Event, Kind, State
from lifecycle.person import Account, Person
from lifecycle.signal import Signal
from tests.workers.stories import AT, BO, event, person
from workers.outcome import Result
from workers.scim.client import Conversation
from workers.signals import signals_for
from workers.task import Agreement

NOW = AT + timedelta(milliseconds=412)
ACCOUNT = Account(id="u-7", user_name="bo.ray@acme.example", active=False)
LEAVER = event(Kind.LEAVER, "left")


def result(state: State = State.APPLIED, *, place: str = "crm", **agreed: Any) -> Result:  # noqa: ANN401 - an agreement
    """Make the result of one target."""
    agreement = Agreement(ACCOUNT, applied_at=NOW, **agreed)
    reason = "reason" if state is State.FAILED else None
    return Result(place, state, agreement, Conversation(lambda: None), reason, "why")


def made(*results: Result, known: Person | None = None, cause: Event = LEAVER) -> list[Signal]:
    """Return the signals of an attempt."""
    return signals_for(known or person("left", **BO), cause, results, NOW)


def body(signal: Signal) -> dict[str, Any]:
    """Read a signal as a subscriber does."""
    return dict(json.loads(signal.body))


@pytest.mark.parametrize("change", ["provisioned", "updated", "suspended", "restored"])
def test_each_change_has_its_signal(change: str) -> None:
    """What changed on a target is the type of the signal."""
    (signal,) = made(result(change=change))

    assert f"person.{change}" == signal.type
    assert body(signal)["type"] == f"person.{change}"


def test_suspension_tells_all_that_a_security_tool_asks() -> None:
    """Who, where, why, what was taken away, what was there before, and how long it took."""
    agreement = result(
        change="suspended", groups_removed=["Agents"], groups_before=["Agents", "Choir"], confirmed_at=NOW
    )

    (signal,) = made(agreement)

    data = body(signal)["data"]
    assert {
        "event": "left",
        "source": "hris",
        "target": "crm",
        "reason": "left",
        "person": {"external_id": "E1042", "user_name": "bo.ray@acme.example"},
        "account": {"id": "u-7", "active": False},
        "groups_removed": ["Agents"],
        "groups_added": [],
        "entitlements_before": {"groups": ["Agents", "Choir"], "roles": []},
        "received_at": "2026-03-02T09:00:00.000Z",
        "applied_at": "2026-03-02T09:00:00.412Z",
        "confirmed_at": "2026-03-02T09:00:00.412Z",
        "latency_ms": 412,
    }.items() <= data.items()
    assert data["sessions_revoked"] is False


def test_roles_and_sessions_that_were_taken_are_told() -> None:
    """What was there before, what is gone of it, and that no session goes on."""
    roles = ["employee", "supervisor"]

    (signal,) = made(result(change="suspended", sessions_revoked=True, roles_before=roles, roles_removed=roles))

    data = body(signal)["data"]
    assert data["entitlements_before"] == {"groups": [], "roles": roles}
    assert (data["roles_removed"], data["sessions_revoked"]) == (roles, True)


def test_sessions_that_ended_later_are_news() -> None:
    """The same event tells of the suspension at once, and of the sessions when they are over; each has its own id."""
    (first,) = made(result(change="suspended"))
    (second,) = made(result(change="suspended", sessions_revoked=True))

    assert first.type == second.type == "person.suspended"
    assert first.id != second.id


def test_suspension_of_who_fell_out_of_scope_says_so() -> None:
    """The person did not leave; the policy no longer covers them."""
    (signal,) = made(result(change="suspended"), known=person(**BO), cause=event(Kind.MOVER))

    assert body(signal)["data"]["reason"] == "out_of_scope"


@pytest.mark.parametrize("state", [State.UNCHANGED, State.POSTPONED, State.HELD, State.IGNORED])
def test_nothing_that_changed_is_nothing_to_tell(state: State) -> None:
    """A subscriber hears of changes and failures only."""
    assert made(result(state)) == []


def test_failure_is_told_with_its_reason() -> None:
    """``delivery.failed`` names the target, the kind of event and the sentence of the target."""
    (signal,) = made(result(State.FAILED))

    assert signal.type == "delivery.failed"
    data = body(signal)["data"]
    assert (data["target"], data["reason"], data["detail"], data["kind"]) == ("crm", "reason", "why", "leaver")


def test_change_that_ended_in_trouble_tells_both() -> None:
    """The account was made and a group was missing: both are facts."""
    found = made(result(State.FAILED, change="provisioned"))

    assert [signal.type for signal in found] == ["person.provisioned", "delivery.failed"]


def test_every_target_has_its_own_signal() -> None:
    """Two targets, two facts, two ids."""
    found = made(result(change="suspended"), result(place="desk", change="suspended"))

    assert [signal.target for signal in found] == ["crm", "desk"]
    assert len({signal.id for signal in found}) == 2


def test_id_comes_from_the_cause() -> None:
    """The same change of the same event on the same target never makes two signals, whenever it is told."""
    (later,) = signals_for(person("left", **BO), LEAVER, [result(change="suspended")], datetime.now(UTC))

    assert made(result(change="suspended"))[0].id == later.id
    assert made(result(change="updated"))[0].id != later.id


def test_change_that_is_made_again_is_news() -> None:
    """Somebody let the account in by hand, and a retry locks it out again: another id than before."""

    def told(settled_at: datetime) -> str:
        account = Account(id="u-7", settled_at=settled_at)
        before = person("left", **BO).model_copy(update={"accounts": {"crm": account}})
        (found,) = signals_for(before, LEAVER, [result(change="suspended")], NOW, before=before)
        return found.id

    assert told(NOW) == told(NOW)
    assert told(NOW) != told(NOW + timedelta(minutes=1))


def test_failure_that_happens_again_is_news() -> None:
    """After a retry the same event may fail again, under an id of its own."""
    (again,) = signals_for(person(), LEAVER, [result(State.FAILED)], NOW + timedelta(hours=1))

    assert made(result(State.FAILED))[0].id != again.id
