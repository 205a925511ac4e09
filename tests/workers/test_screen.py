"""Whom the home source does not look after is left alone, whatever is told of them and in whatever order."""

from typing import Any

import pytest

from lifecycle.config import Config
from lifecycle.event import Event, Kind, State
from lifecycle.person import Person
from lifecycle.policy import Policy
from lifecycle.settlement import Kept
from tests.workers.stories import AT, BO, event
from workers.fold import Folded, fold

HOME = Config(policy=Policy(home_source="okta"))
FOREIGN: dict[str, Any] = {"source_of_truth": "crm"}
OURS: dict[str, Any] = {"source_of_truth": "okta"}


def folded(*events: Event, person: Person | None = None, config: Config = HOME) -> Folded:
    """Fold events that were just kept."""
    mailbox = [Kept(each, State.KEPT, {}) for each in events]
    return fold(config, person or Person(key="E1042"), mailbox, AT.replace(year=2027))


def left_out(found: Folded) -> dict[str, str]:
    """Return which events are left out, and why."""
    return {ref.partition(":")[2]: f"{each.state} {each.reason}" for ref, each in found.left_out.items()}


@pytest.mark.parametrize("kind", list(Kind))
def test_person_of_another_home_is_ignored(kind: Kind) -> None:
    """A leaver too: whoever is looked after elsewhere is locked out by that system, and by no other."""
    found = folded(event(kind, **BO, **FOREIGN))

    assert left_out(found) == {"e1": "ignored not_home"}
    assert found.counting == ()
    assert found.person.status is None
    assert not found.person.knows("title")


@pytest.mark.parametrize("told", [OURS, {"source_of_truth": None}, {}], ids=["home", "cleared", "not told"])
def test_person_of_the_home_source_is_not(told: dict[str, Any]) -> None:
    """Nor is anybody of whom it is not known."""
    assert left_out(folded(event(Kind.LEAVER, **BO, **told))) == {}


def test_without_a_home_source_all_are_ours() -> None:
    """The rule is for who names one."""
    assert left_out(folded(event(Kind.LEAVER, **FOREIGN), config=Config())) == {}


@pytest.mark.parametrize("at_once", [True, False], ids=["in a heap", "one by one"])
def test_who_is_not_ours_stays_so_when_it_is_not_said_again(at_once: bool) -> None:
    """A leaver says no more than whom it is about; of whom it is about we were told before, and ignored it."""
    joined = event(Kind.JOINER, "joined", **BO, **FOREIGN)
    left = event(Kind.LEAVER, "left", minute=5, external_id="E1042")

    found = folded(joined, left) if at_once else folded(left, person=folded(joined).person)

    assert left_out(found)["left"] == "ignored not_home"
    assert found.person.status is None


def test_leaver_of_the_home_source_counts_whoever_was_said_to_look_after_the_person() -> None:
    """An open door is worse than a loop: the home source lets go of somebody, and says no more than that."""
    joined = event(Kind.JOINER, "joined", **BO, **FOREIGN)
    left = event(Kind.LEAVER, "left", minute=5).model_copy(update={"source": "okta"})

    found = folded(left, person=folded(joined).person)

    assert left_out(found) == {}
    assert found.person.has_left


def test_who_comes_home_is_ours_from_then_on() -> None:
    """The newest word on it counts, for those that say nothing of it too."""
    joined = event(Kind.JOINER, "joined", **BO, **FOREIGN)
    came = event(Kind.MOVER, "came", minute=5, **OURS)
    left = event(Kind.LEAVER, "left", minute=9)

    found = folded(left, came, joined)

    assert left_out(found) == {"joined": "ignored not_home"}
    assert found.person.status
    assert found.person.status.value == "left"


def test_handover_of_a_later_day_is_none_yet() -> None:
    """Until its date the person is looked after as before."""
    goes = event(Kind.MOVER, "goes", minute=1, effective_at=AT.replace(year=2099), **OURS)
    left = event(Kind.LEAVER, "left", minute=5)

    assert left_out(folded(event(Kind.JOINER, "joined", **BO, **FOREIGN), goes, left)) == {
        "joined": "ignored not_home",
        "left": "ignored not_home",
    }
