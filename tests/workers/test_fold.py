"""Fold: many events, one person, whatever the order of arrival."""

import time
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.config import Config
from lifecycle.event import Event, Kind, State
from lifecycle.person import Fact, Person, Status
from lifecycle.settlement import Delivery, Kept
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


# ---- dates


def days(count: int) -> datetime:
    """Return a moment so many days after the story's begin."""
    return AT + timedelta(days=count)


MINUTES = 24 * 60
"""Of a day."""


def test_future_mover_counts_from_its_date_on_over_what_was_told_meanwhile() -> None:
    """A promotion of June, told in March, is none before; and then it is not undone by a correction of April."""
    promoted = event(Kind.MOVER, "promoted", title="Lead", effective_at=days(90))
    corrected = event(Kind.MOVER, "corrected", minute=30 * MINUTES, title="Senior Agent", department="Support")

    before, after = fold_at(days(89), promoted, corrected), fold_at(days(90), promoted, corrected)

    assert (value(before, "title"), before.scheduled) == ("Senior Agent", {"hris:promoted": days(90)})
    assert (value(after, "title"), value(after, "department")) == ("Lead", "Support")
    assert after.person.facts["title"].at == days(90)


def test_later_word_on_a_date_replaces_the_earlier_one() -> None:
    """The promotion of June is another one after all: of two words on one date the newer counts."""
    first = event(Kind.MOVER, "z", title="Lead", effective_at=days(90))
    second = event(Kind.MOVER, "a", minute=5, title="Manager", effective_at=days(90))

    assert {value(fold_at(days(91), *found), "title") for found in ((first, second), (second, first))} == {"Manager"}
    assert fold_at(days(91), first, second).superseded == {"hris:z": "hris:a"}


def test_mover_of_a_past_date_is_as_new_as_its_telling() -> None:
    """What is told today of last week outranks what was told yesterday."""
    before = event(Kind.MOVER, "before", minute=1, title="Agent")
    told = event(Kind.MOVER, "told", minute=5, title="Lead", effective_at=days(-7))

    found = folded(told, before)

    assert (value(found, "title"), found.superseded) == ("Lead", {"hris:before": "hris:told"})
    assert found.person.facts["title"].told_at is None


def test_movers_of_two_dates_count_one_after_the_other() -> None:
    """Told in the wrong order, they take effect in the order of their dates."""
    late = event(Kind.MOVER, "late", title="Manager", effective_at=days(60))
    soon = event(Kind.MOVER, "soon", minute=5, title="Lead", effective_at=days(30))

    titles = [value(fold_at(days(day), late, soon), "title") for day in (29, 30, 60)]

    assert titles == [None, "Lead", "Manager"]


def test_correction_before_the_first_day_stands() -> None:
    """A joiner's record is as old as its telling: what was corrected since is not undone on the first day."""
    joins = event(Kind.JOINER, "joins", effective_at=days(30), **BO)
    corrected = event(Kind.MOVER, "corrected", minute=5 * MINUTES, title="Lead")

    found = fold_at(days(30), joins, corrected)

    assert (value(found, "title"), value(found, "department")) == ("Lead", "Support")
    assert found.person.status
    assert (found.person.status.at, found.person.status.told_at) == (days(30), AT)


@pytest.mark.parametrize("order", [1, -1], ids=["as told", "other way round"])
def test_zone_that_is_told_in_the_same_mailbox_moves_a_date(order: int) -> None:
    """Somebody moves to Tokyo and leaves by the end of a day: it ends as it ends there."""
    moved = event(Kind.MOVER, "moved", timezone="Asia/Tokyo")
    leaves = event(Kind.LEAVER, "leaves", minute=1, effective_at="2026-03-10")

    found = folded(*[moved, leaves][::order])

    assert found.scheduled == {"hris:leaves": datetime(2026, 3, 10, 15, tzinfo=UTC)}
    assert found.dated == found.scheduled


def test_zone_that_is_told_with_a_date_decides_whether_it_is_due() -> None:
    """In Tokyo, where the person was, the day is over; in New York, where the person is now, it is not."""
    tokyo = NOBODY.model_copy(update={"facts": {"timezone": Fact(value="Asia/Tokyo", at=AT, event="hris:e9")}})
    leaves = event(Kind.LEAVER, "a", minute=1, effective_at="2026-03-10")
    moved = event(Kind.MOVER, "b", minute=2, timezone="America/New_York")

    found = fold_at(datetime(2026, 3, 10, 20, tzinfo=UTC), leaves, moved, person=tokyo)

    assert found.scheduled == {"hris:a": datetime(2026, 3, 11, 4, tzinfo=UTC)}
    assert found.person.status is None


def test_zone_that_takes_effect_itself_on_a_date_moves_what_is_due_later() -> None:
    """Each date is read where the person is by then."""
    moves = event(Kind.MOVER, "moves", timezone="Asia/Tokyo", effective_at=days(2))
    leaves = event(Kind.LEAVER, "leaves", minute=1, effective_at="2026-03-10")

    def due(now: datetime) -> datetime:
        return fold_at(now, moves, leaves).scheduled["hris:leaves"]

    assert (due(days(1)), due(days(2))) == (
        datetime(2026, 3, 11, tzinfo=UTC),
        datetime(2026, 3, 10, 15, tzinfo=UTC),
    )


def test_zone_of_a_joiner_whose_date_was_moved_is_known() -> None:
    """The first one told the zone, the second one only the new day: it is a day of that zone."""
    first = event(Kind.JOINER, "first", timezone="Asia/Tokyo", effective_at="2026-04-01")
    second = event(Kind.JOINER, "second", minute=1, effective_at="2026-05-01")

    found = folded(first, second)

    assert found.superseded == {"hris:first": "hris:second"}
    assert found.scheduled == {"hris:second": datetime(2026, 4, 30, 15, tzinfo=UTC)}


def test_what_was_begun_is_not_put_back_into_the_schedule() -> None:
    """A leaver was worked on at midnight, one target was away, and then the person's zone turns out to be another."""
    leaves = event(Kind.LEAVER, "leaves", effective_at="2026-03-10")
    at_midnight = datetime(2026, 3, 11, tzinfo=UTC)
    before = fold_at(at_midnight, leaves).person
    moved = event(Kind.MOVER, "moved", minute=1, timezone="America/New_York")

    found = fold_at(at_midnight + timedelta(minutes=1), leaves, moved, person=before)

    assert found.scheduled == {}
    assert found.person.status == before.status


def test_mover_that_was_begun_is_not_put_back_either() -> None:
    """It says nothing of the status, but its record says that a target was tried."""
    moves = Kept(
        event(Kind.MOVER, "moves", title="Lead", effective_at="2026-03-10"),
        State.POSTPONED,
        {"crm": Delivery(State.POSTPONED, attempts=1)},
    )
    person = NOBODY.model_copy(update={"facts": {"timezone": Fact(value="America/New_York", at=AT, event="hris:e9")}})

    found = fold(Config(), person, [moves], datetime(2026, 3, 10, 0, 1, tzinfo=UTC))

    assert found.scheduled == {}
    assert value(found, "title") == "Lead"


def test_many_events_are_read_in_a_moment() -> None:
    """A full mailbox of dates and moves between zones, of which each moves the dates of the rest."""
    moves = [
        event(Kind.MOVER, f"e{number}", minute=number, timezone=zone, effective_at=f"2026-03-{2 + number % 20:02}")
        for number, zone in zip(range(200), cycle(["Asia/Tokyo", "America/New_York", "none"]), strict=False)
    ]

    leaves = [event(Kind.LEAVER, f"e{number}", minute=number, effective_at=days(90)) for number in range(200)]

    began = time.perf_counter()
    moved, left = fold_at(datetime(2026, 4, 1, tzinfo=UTC), *moves), folded(*leaves)

    assert len(moved.superseded) + len(moved.counting) == 200
    assert (len(left.superseded), list(left.scheduled)) == (199, ["hris:e199"])
    assert time.perf_counter() - began < 5


def test_directory_takes_back_nothing_that_is_planned() -> None:
    """It tells how it is: who is told to leave tomorrow works here today, and who begins tomorrow does not yet."""
    tomorrow = NOW + timedelta(days=1)
    leaves = event(Kind.LEAVER, "leaves", minute=1, effective_at=tomorrow)
    begins = event(Kind.JOINER, "begins", minute=1, effective_at=tomorrow)
    here = event(Kind.MOVER, "here", minute=2).model_copy(update={"found": True, "status_at": AT})
    away = event(Kind.LEAVER, "away", minute=2).model_copy(update={"found": True})

    ends = [fold_at(moment, *told) for told in ((leaves, here), (begins, away)) for moment in (NOW, tomorrow)]

    assert [found.person.status.value for found in ends if found.person.status] == ["active", "left", "left", "active"]
    assert [set(found.scheduled) for found in ends] == [{"hris:leaves"}, set(), {"hris:begins"}, set()]
