"""Whose word counts: the later one's, at equal times the better source's, for some fields one source's alone."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.config import Config, Source
from lifecycle.event import Event, Kind, State
from lifecycle.person import Person
from lifecycle.policy import Policy
from lifecycle.secrets import Secret
from lifecycle.settlement import Kept
from tests.workers.stories import AT, event, patiently
from workers.fold import Folded, fold

SECRET = Secret("env:HRIS_WHSEC", "whsec_x")


def config(**policy: Any) -> Config:  # noqa: ANN401 - a section of the configuration
    """Make a configuration with two sources: HR, then Okta."""
    sources = {name: Source(adapter="okta", secrets=[SECRET]) for name in ("hris", "okta")}
    return Config(sources=sources, policy=Policy.model_validate(policy))


def told(source: str, event_id: str, minute: int, kind: Kind = Kind.MOVER, **profile: Any) -> Event:  # noqa: ANN401
    """Make an event of one source."""
    return event(kind, event_id, minute=minute, **profile).model_copy(update={"source": source})


def folded(found: Config, *events: Event) -> Folded:
    """Fold events that were just kept."""
    return fold(found, Person(key="E1042"), [Kept(each, State.KEPT, {}) for each in events], AT.replace(year=2027))


@pytest.mark.parametrize("order", [1, -1], ids=["as told", "other way round"])
@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        pytest.param({}, "HR's", id="the first source of the file"),
        pytest.param({"precedence": ["okta", "hris"]}, "Okta's", id="the first of the precedence"),
        pytest.param({"precedence": ["okta"]}, "Okta's", id="one that is listed"),
    ],
)
def test_better_source_counts_at_equal_times(policy: dict[str, Any], expected: str, order: int) -> None:
    """Two sources tell of one moment: the better one's word counts, and the other's event is superseded by it."""
    events = [told("hris", "a", 1, title="HR's"), told("okta", "z", 1, title="Okta's")][::order]

    found = folded(config(**policy), *events)

    assert found.person.value("title") == expected
    loser, winner = ("okta:z", "hris:a") if expected == "HR's" else ("hris:a", "okta:z")
    assert found.superseded == {loser: winner}


def test_later_word_counts_whatever_the_source() -> None:
    """Precedence decides between equal times only."""
    found = folded(config(), told("okta", "late", 2, title="Okta's"), told("hris", "early", 1, title="HR's"))

    assert found.person.value("title") == "Okta's"


@pytest.mark.parametrize("field", ["department", "custom.desk"])
def test_field_has_its_authority(field: str) -> None:
    """What its one source said of a field stays, whatever others say later; they fill it while that one is silent."""
    found = config(authority={field: "hris"})
    parent, _, child = field.partition(".")

    def says(source: str, event_id: str, minute: int, value: str) -> Event:
        profile: dict[str, Any] = {parent: {child: value} if child else value}
        return told(source, event_id, minute, **profile)

    alone = folded(found, says("okta", "first", 1, "Sales"))
    both = folded(found, says("okta", "late", 9, "Sales"), says("hris", "early", 1, "Support"))

    assert alone.person.value(field) == "Sales"
    assert both.person.value(field) == "Support"
    assert both.superseded == {"okta:late": "hris:early"}


def test_id_does_not_change_by_another_source() -> None:
    """Each source has its own id for the person; the better source's is the one that is written to targets."""
    found = folded(config(), told("hris", "a", 1, external_id="E1042"), told("okta", "b", 5, external_id="00u1"))

    assert found.person.value("external_id") == "E1042"
    assert found.person.ids == ("hris:E1042", "okta:00u1")
    assert found.person.external_ids() == {"E1042", "00u1"}


def test_leaver_wins_at_equal_times_whatever_the_source() -> None:
    """For access no precedence counts: of two that speak of one moment the leaver wins."""
    joins, leaves = told("hris", "a", 1, Kind.JOINER), told("okta", "b", 1, Kind.LEAVER)

    found = folded(config(), joins, leaves)

    assert found.person.status
    assert (found.person.status.value, found.superseded) == ("left", {"hris:a": "okta:b"})


drawn = st.tuples(
    st.sampled_from(["hris", "okta", "other"]),
    st.sampled_from([Kind.JOINER, Kind.MOVER, Kind.LEAVER]),
    st.integers(0, 2),
    st.fixed_dictionaries({}, optional={"title": st.sampled_from("AB"), "external_id": st.sampled_from(["E1", "00u"])}),
)


@patiently
@given(st.lists(drawn, min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_arrival_decides_nothing(stories: list[Any], random: Any) -> None:  # noqa: ANN401 - Random
    """With precedence and authority too, any order of arrival ends in the same person."""
    found = config(precedence=["okta", "hris"], authority={"title": "hris"})
    events = [
        told(source, f"e{number}", minute, kind, **profile)
        for number, (source, kind, minute, profile) in enumerate(stories)
    ]
    shuffled = random.sample(events, len(events))

    assert folded(found, *events).person == folded(found, *shuffled).person
