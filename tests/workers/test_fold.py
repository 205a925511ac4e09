"""Fold: many events, one person, whatever the order of arrival."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.config import Config
from lifecycle.event import Event, Kind, State
from lifecycle.person import Person, Status
from lifecycle.settlement import Kept
from tests.workers.stories import AT, BO, event, patiently
from workers.fold import Folded, fold

NOW = AT + timedelta(days=1)
NOBODY = Person(key="E1042")

profiles = st.fixed_dictionaries(
    {},
    optional={
        "title": st.none() | st.sampled_from(["Agent", "Lead"]),
        "department": st.none() | st.sampled_from(["Support", "Sales"]),
        "email": st.sampled_from(["bo@acme.example", "ray@acme.example"]),
        "custom": st.none() | st.dictionaries(st.sampled_from(["badge", "desk"]), st.integers(0, 3), max_size=2),
    },
)


@st.composite
def stories(draw: st.DrawFn) -> list[Event]:
    """Draw a handful of events; several may share a moment."""
    told = st.tuples(st.sampled_from(Kind), st.integers(0, 3), profiles)
    drawn: list[tuple[Kind, int, dict[str, Any]]] = draw(st.lists(told, min_size=1, max_size=6))
    return [event(kind, f"e{number}", minute=minute, **profile) for number, (kind, minute, profile) in enumerate(drawn)]


def fold_at(now: datetime, *events: Event, person: Person = NOBODY) -> Folded:
    """Fold events that were just kept."""
    return fold(Config(), person, [Kept(each, State.KEPT, {}) for each in events], now)


def folded(*events: Event, person: Person = NOBODY) -> Folded:
    """Fold events that are all due."""
    return fold_at(NOW, *events, person=person)


def value(found: Folded, field: str) -> Any:  # noqa: ANN401 - facts are JSON
    """Return what is known of one field."""
    return found.person.value(field)


@patiently
@given(stories(), st.randoms(use_true_random=False))
def test_any_order_and_any_repeat_end_in_the_same_person(story: list[Event], random: Any) -> None:  # noqa: ANN401 - Random
    """The order of arrival decides nothing, and what is folded twice is as if folded once."""
    shuffled = [*story, *random.choices(story, k=3)]
    random.shuffle(shuffled)

    found = folded(*shuffled)

    assert folded(*story).person == found.person


@patiently
@given(stories(), st.data())
def test_any_cut_into_attempts_ends_in_the_same_person(story: list[Event], data: st.DataObject) -> None:
    """One event at a time, all at once, or some now and the rest later: the same person."""
    order = data.draw(st.permutations(story))
    cut = data.draw(st.integers(0, len(story)))

    first = folded(*order[:cut])

    assert folded(*story).person == folded(*order[cut:], person=first.person).person


@patiently
@given(stories())
def test_event_is_superseded_only_by_one_that_outranks_it(story: list[Event]) -> None:
    """Whoever is left without effect has a successor that is no older; the newest always counts."""
    by_ref = {each.ref: each for each in story}

    found = folded(*story)

    for ref, outranking in found.superseded.items():
        assert by_ref[outranking].occurred_at >= by_ref[ref].occurred_at
    counting = {each.ref for each in found.counting}
    assert counting | found.superseded.keys() == by_ref.keys()
    assert not counting & found.superseded.keys()
    with_status = [each for each in story if each.kind in {Kind.JOINER, Kind.LEAVER}]
    if with_status:
        # An older joiner of somebody who works here may still know what the newer did not say.
        status = str(found.person.status.value) if found.person.status else ""
        kinds = {each.kind for each in found.counting} & {Kind.JOINER, Kind.LEAVER}
        assert kinds == {Kind.JOINER if status == "active" else Kind.LEAVER}


@patiently
@given(stories())
def test_superseded_event_says_nothing_that_still_stands_of_the_status(story: list[Event]) -> None:
    """The status comes from an event that counts."""
    found = folded(*story)

    if found.person.status:
        assert found.person.status.event in {each.ref for each in found.counting}


@patiently
@given(stories(), st.lists(st.integers(-3, 3), min_size=6, max_size=6), st.randoms(use_true_random=False))
def test_what_directories_say_folds_in_any_order(story: list[Event], ages: list[int], random: Any) -> None:  # noqa: ANN401
    """Of somebody who works here it is said as of a moment of its own, that decides of the status alone."""
    read = [
        each
        if each.kind is Kind.LEAVER
        else each.model_copy(update={"status_at": each.occurred_at + timedelta(minutes=age)})
        for each, age in zip(story, ages, strict=False)
    ]
    shuffled = [*read, *random.choices(read, k=3)]
    random.shuffle(shuffled)
    cut = random.randrange(len(shuffled))

    first = folded(*shuffled[:cut])

    assert folded(*read).person == folded(*shuffled[cut:], person=first.person).person


@pytest.mark.parametrize("kind", [Kind.JOINER, Kind.MOVER])
@pytest.mark.parametrize(("read_minute", "status"), [(1, "left"), (2, "left"), (3, "active")])
def test_directory_brings_back_whom_it_knew_after_the_leave(kind: Kind, read_minute: int, status: str) -> None:
    """What it says of who works here is no newer than the directory; all else it says counts from when it was read."""
    read = event(kind, "read", minute=9, title="Lead").model_copy(
        update={"status_at": AT + timedelta(minutes=read_minute)}
    )

    found = folded(event(Kind.LEAVER, "left", minute=2, title="Agent"), read)

    assert (found.person.status and found.person.status.value, value(found, "title")) == (status, "Lead")
    assert found.superseded == ({"hris:read": "hris:left"} if status == "left" else {"hris:left": "hris:read"})


@pytest.mark.parametrize("late", [False, True])
def test_older_never_overwrites_newer(late: bool) -> None:
    """A fact of ten minutes ago does not replace one of five minutes ago, whenever it arrives."""
    newer, older = event(Kind.MOVER, "newer", minute=5, title="Lead"), event(Kind.MOVER, "older", title="Agent")

    found = folded(*([newer, older] if late else [older, newer]))

    assert value(found, "title") == "Lead"
    assert found.superseded == {"hris:older": "hris:newer"}


def test_older_event_still_fills_what_nobody_else_said() -> None:
    """A late event that tells something of its own counts, and the rest of it does not."""
    newer = event(Kind.MOVER, "newer", minute=5, title="Lead")
    older = event(Kind.MOVER, "older", title="Agent", department="Support")

    found = folded(newer, older)

    assert (value(found, "title"), value(found, "department")) == ("Lead", "Support")
    assert found.superseded == {}


@pytest.mark.parametrize("leaver_id", ["a", "z"])
@pytest.mark.parametrize("leaver_first", [False, True])
def test_leaver_wins_a_tie(leaver_id: str, leaver_first: bool) -> None:
    """Joined and left at the same second: the safe reading is that the person is gone, whatever the ids are."""
    joined, left = event(Kind.JOINER, "m", **BO), event(Kind.LEAVER, leaver_id)

    found = folded(*([left, joined] if leaver_first else [joined, left]))

    assert found.person.status is not None
    assert found.person.status.value == Status.LEFT
    assert found.superseded == {"hris:m": f"hris:{leaver_id}"}


def test_rehire_after_a_leave_is_active_again() -> None:
    """The newest word on the status stands."""
    found = folded(event(Kind.LEAVER, "left", minute=1), event(Kind.JOINER, "back", minute=2, **BO))

    assert found.person.status is not None
    assert found.person.status.value == Status.ACTIVE


@pytest.mark.parametrize("kind", [Kind.MOVER, Kind.CHANGED])
def test_mover_says_nothing_of_the_status(kind: Kind) -> None:
    """Moving does not hire, and does not bring back who left."""
    assert folded(event(kind, title="Lead")).person.status is None
    after = folded(event(Kind.LEAVER, "left"), event(kind, "moved", minute=1, title="Lead")).person
    assert after.status is not None
    assert after.status.value == Status.LEFT


def test_future_event_does_not_fold() -> None:
    """What takes effect tomorrow is set aside today, and folds when it is due."""
    tomorrow = NOW + timedelta(days=1)
    leaves = event(Kind.LEAVER, "leaves", minute=1, title="Gone", effective_at=tomorrow)
    story = [event(Kind.JOINER, "joined", **BO), leaves]

    before, after = fold_at(NOW, *story), fold_at(tomorrow, *story)

    assert before.scheduled == {leaves.ref: tomorrow}
    assert value(before, "title") == "Agent"
    assert before.person.status is not None
    assert before.person.status.value == Status.ACTIVE
    assert after.scheduled == {}
    assert after.person.status is not None
    assert after.person.status.value == Status.LEFT


def test_future_event_supersedes_nothing_before_its_time() -> None:
    """Until it is due it neither counts nor outranks."""
    tomorrow = NOW + timedelta(days=1)

    found = folded(event(Kind.JOINER, "joined"), event(Kind.LEAVER, "leaves", minute=1, effective_at=tomorrow))

    assert found.superseded == {}
    assert [each.ref for each in found.counting] == ["hris:joined"]


def test_custom_fields_merge_one_by_one() -> None:
    """A source that tells one custom field leaves the others; each has its own time."""
    first = event(Kind.JOINER, "a", custom={"badge": 1, "desk": 7})
    second = event(Kind.MOVER, "b", minute=2, custom={"badge": 2})
    between = event(Kind.MOVER, "c", minute=1, custom={"badge": 9, "floor": 3})

    found = folded(second, first, between)

    assert found.person.fields()["custom"] == {"badge": 2, "desk": 7, "floor": 3}


def test_explicit_null_clears_and_silence_keeps() -> None:
    """Null is a fact with a time; a field that is not mentioned is none."""
    joined, moved = event(Kind.JOINER, "joined", **BO), event(Kind.MOVER, "moved", minute=1, title=None)

    found = folded(joined, moved)

    assert (value(found, "title"), value(found, "department")) == (None, "Support")
    assert found.person.knows("title")


def test_older_null_does_not_clear_a_newer_value() -> None:
    """A null ages like any other fact."""
    found = folded(event(Kind.MOVER, "new", minute=5, title="Lead"), event(Kind.MOVER, "old", title=None))

    assert value(found, "title") == "Lead"


def test_null_for_all_custom_fields_clears_those_that_were_told_before() -> None:
    """``custom: null`` clears every custom field that is known."""
    told, cleared = event(Kind.JOINER, "a", custom={"badge": 1}), event(Kind.MOVER, "b", minute=1, custom=None)

    assert folded(told, cleared).person.fields()["custom"] == {"badge": None}


def test_null_for_all_custom_fields_clears_them_in_any_order_of_arrival() -> None:
    """An older custom field that arrives after the null does not come back."""
    told, cleared = event(Kind.JOINER, "a", custom={"badge": 1}), event(Kind.MOVER, "b", minute=1, custom=None)

    assert folded(told, cleared).person.fields()["custom"] == folded(cleared, told).person.fields()["custom"]


def test_thin_event_of_a_kind_without_status_always_counts() -> None:
    """A notice that says only "look again" is never superseded: looking is all it asks for."""
    found = folded(event(Kind.CHANGED, "look"), event(Kind.MOVER, "moved", minute=5, title="Lead"))

    assert found.superseded == {}


def test_equal_times_are_decided_by_the_name_of_the_event() -> None:
    """Two words of the same second: which stands must not depend on which came first."""
    a, b = event(Kind.MOVER, "a", title="Agent"), event(Kind.MOVER, "b", title="Lead")

    assert {"Lead"} == {value(folded(a, b), "title"), value(folded(b, a), "title")}


def test_text_that_spells_left_has_no_rank_of_its_own() -> None:
    """Only a status can win a tie by being a leaver's; a title that says "left" is a title."""
    a, b = event(Kind.MOVER, "a", title="left"), event(Kind.MOVER, "b", title="right")

    assert value(folded(a, b), "title") == "right"


def test_fold_leaves_its_argument_as_it_was() -> None:
    """Values in, values out."""
    before = folded(event(Kind.JOINER, "a", title="Agent")).person
    copy = before.model_copy(deep=True)

    folded(event(Kind.MOVER, "b", minute=1, title="Lead"), person=before)

    assert copy == before


def test_older_joiner_that_knows_more_still_counts() -> None:
    """What only the older joiner said stands; nothing of one whose person has left meanwhile does."""
    thin = event(Kind.JOINER, "thin", minute=5, external_id="E1042")
    full = event(Kind.JOINER, "full", minute=1, external_id="E1042", title="Agent")
    left = event(Kind.LEAVER, "left", minute=9, external_id="E1042")

    assert "hris:full" not in folded(thin, full).superseded
    assert folded(thin, left, full).superseded["hris:full"] == "hris:left"
