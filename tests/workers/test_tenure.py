"""Words on the status, told of now and of later: what each takes back, and one end however they arrive."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.config import Config
from lifecycle.event import OPERATOR, Event, Kind, State
from lifecycle.person import Person
from lifecycle.policy import Policy
from lifecycle.settlement import DROPPED, Kept, Ruling
from tests.workers.stories import AT, event, patiently
from workers.fold import Folded, fold
from workers.tenure import WORDS_MAX

NOBODY = Person(key="E1042")
END = 10_000
"""A minute after every story."""


def at(minute: float) -> datetime:
    """Return a moment of a story."""
    return AT + timedelta(minutes=minute)


def word(kind: Kind, event_id: str, told: int, effective: float | None = None, source: str = "hris") -> Event:
    """Make an event that is told at one minute, of that minute or of another."""
    moment = None if effective is None else at(effective)
    return event(kind, event_id, minute=told, effective_at=moment).model_copy(update={"source": source})


def joins(event_id: str, told: int, effective: float | None = None, source: str = "hris") -> Event:
    """Make a joiner."""
    return word(Kind.JOINER, event_id, told, effective, source)


def leaves(event_id: str, told: int, effective: float | None = None, source: str = "hris") -> Event:
    """Make a leaver."""
    return word(Kind.LEAVER, event_id, told, effective, source)


class Course:
    """A person whose events are worked on as time goes by; what is settled leaves the mailbox."""

    def __init__(self, config: Config | None = None) -> None:
        """Begin with nobody."""
        self.config = config or Config()
        self.person = NOBODY
        self.waiting: list[Event] = []
        self.superseded: dict[str, str] = {}

    def look(self, minute: float, *fresh: Event) -> str:
        """Work on the mailbox at a minute, with events that just arrived; return the status."""
        self.waiting += [each for each in fresh if each not in self.waiting]
        mailbox = [Kept(each, State.KEPT, {}) for each in self.waiting]
        found: Folded = fold(self.config, self.person, mailbox, at(minute))
        self.person = found.person
        self.waiting = [each for each in self.waiting if each.ref in found.scheduled]
        self.superseded |= {ref.partition(":")[2]: by.partition(":")[2] for ref, by in found.superseded.items()}
        return str(self.person.status.value) if self.person.status else "unknown"

    def live(self, story: Sequence[Event], minutes: Sequence[float]) -> str:
        """Hear each event when it is told, and return the statuses at these minutes, in short."""
        told = sorted(story, key=lambda each: each.occurred_at)
        seen = []
        for minute in minutes:
            fresh = [each for each in told if each.occurred_at <= at(minute)]
            told = [each for each in told if each not in fresh]
            for each in fresh:
                self.look((each.occurred_at - AT) / timedelta(minutes=1), each)
            seen.append(self.look(minute))
        return " ".join(seen)


STORIES: Mapping[str, tuple[Sequence[Event], dict[int, str], dict[str, str]]] = {
    "leaves on a day": (
        [joins("j", 0), leaves("l", 1, 50)],
        {49: "active", 50: "left"},
        {},
    ),
    "is not leaving after all": (
        [joins("j", 0), leaves("l", 1, 50), joins("stays", 9)],
        {49: "active", 60: "active"},
        {"l": "stays"},
    ),
    "leaves and comes back": (
        [joins("j", 0), leaves("l", 1, 50), joins("back", 2, 80)],
        {49: "active", 50: "left", 79: "left", 80: "active"},
        {},
    ),
    "leaves and comes back in one moment": (
        [joins("j", 0), leaves("l", 1, 50), joins("back", 2, 50)],
        {49: "active", 50: "left", 60: "left"},
        {"back": "l"},
    ),
    "has a new contract before the old one ends": (
        [joins("j", 0), leaves("l", 5, 50), joins("renewed", 6, 30)],
        {29: "active", 30: "active", 60: "active"},
        {"l": "renewed"},
    ),
    "is moved to a later day": (
        [joins("j", 0), leaves("l", 1, 50), leaves("later", 2, 70)],
        {50: "active", 69: "active", 70: "left"},
        {"l": "later"},
    ),
    "is moved to an earlier day": (
        [joins("j", 0), leaves("l", 1, 50), leaves("sooner", 2, 30)],
        {29: "active", 30: "left", 60: "left"},
        {"l": "sooner"},
    ),
    "leaves at once instead of on a day": (
        [joins("j", 0), leaves("l", 1, 50), leaves("now", 2)],
        {2: "left", 60: "left"},
        {"l": "now"},
    ),
    "is hired again after leaving at once instead": (
        [joins("j", 0), leaves("l", 1, 50), leaves("now", 2), joins("back", 3)],
        {2: "left", 3: "active", 60: "active"},
        {"l": "now"},
    ),
    "has a contract with an end": (
        [joins("j", 0, 20), leaves("l", 1, 80)],
        {19: "unknown", 20: "active", 79: "active", 80: "left"},
        {},
    ),
    "has a contract whose end is told first": (
        [leaves("l", 0, 80), joins("j", 1, 20)],
        {19: "unknown", 20: "active", 80: "left"},
        {},
    ),
    "has a contract told in one moment": (
        [leaves("l", 0, 80), joins("j", 0, 20)],
        {19: "unknown", 20: "active", 80: "left"},
        {},
    ),
    "has a contract whose begin is moved": (
        [joins("j", 0, 20), leaves("l", 1, 80), joins("later", 2, 40)],
        {20: "unknown", 39: "unknown", 40: "active", 80: "left"},
        {"j": "later"},
    ),
    "has two seasons": (
        [joins("j", 0, 10), leaves("l", 1, 20), joins("j2", 2, 30), leaves("l2", 3, 40)],
        {10: "active", 20: "left", 29: "left", 30: "active", 40: "left"},
        {},
    ),
    "does not come": (
        [joins("j", 0, 20), leaves("no-show", 5)],
        {5: "left", 20: "left", 30: "left"},
        {"j": "no-show"},
    ),
    "does not come, by a date before the first day": (
        [joins("j", 0, 20), leaves("no-show", 5, 15)],
        {10: "unknown", 15: "left", 30: "left"},
        {"j": "no-show"},
    ),
    "comes sooner": (
        [joins("j", 0, 20), joins("sooner", 1, 10)],
        {9: "unknown", 10: "active", 20: "active"},
        {"j": "sooner"},
    ),
    "comes at once": (
        [joins("j", 0, 20), joins("now", 1)],
        {1: "active", 20: "active"},
        {"j": "now"},
    ),
    "leaves by the word of one source and is switched on by another": (
        [joins("j", 0), leaves("l", 1, 50), joins("on", 9, source="okta")],
        {49: "active", 50: "left", 60: "left"},
        {},
    ),
    "leaves by one source's date, and by another's word before": (
        [joins("j", 0), leaves("l", 1, 50), leaves("off", 9, source="okta"), joins("on", 12, source="okta")],
        {9: "left", 12: "active", 49: "active", 50: "left"},
        {},
    ),
    "is switched off by another source before the first day": (
        [joins("j", 0, 20), leaves("off", 5, source="okta")],
        {5: "left", 30: "left"},
        {"j": "off"},
    ),
    "is brought back by an operator before the day": (
        [joins("j", 0), leaves("l", 1, 50), joins("op", 9, source=OPERATOR)],
        {60: "active"},
        {"l": "op"},
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_course(name: str) -> None:
    """Somebody of whom each word is heard when it is told."""
    story, expected, superseded = STORIES[name]
    course = Course()

    found = course.live(story, list(expected))

    assert found == " ".join(expected.values())
    assert course.superseded == superseded


def test_what_is_taken_back_is_settled_at_once() -> None:
    """Nobody waits for a day that will not come; what it told of the person is known all the same."""
    course = Course()
    course.look(
        1, joins("j", 0), leaves("l", 1, 50).model_copy(update={"profile": event(Kind.LEAVER, title="A").profile})
    )
    course.look(9, joins("stays", 9))

    assert course.waiting == []
    assert course.person.value("title") == "A"
    assert [each.event for each in course.person.taken_back] == ["hris:l"]


def test_leaver_that_was_let_pass_for_a_grace_is_over_when_somebody_is_back() -> None:
    """The day is past and the grace still runs: who is hired again then is not locked out at its end."""
    course = Course(Config(policy=Policy.model_validate({"suspend_grace": "30m"})))

    found = course.live([joins("j", 0), leaves("l", 1, 50), joins("back", 60)], [55, 60])

    assert found == "active active"
    assert (course.waiting, course.superseded) == ([], {"l": "back"})
    assert course.look(80) == "active"


def test_grace_ends_in_a_leave() -> None:
    """Whoever does not come back is locked out when it is over."""
    course = Course(Config(policy=Policy.model_validate({"suspend_grace": "30m"})))

    assert course.live([joins("j", 0), leaves("l", 1, 50)], [79, 80]) == "active left"


def test_joiner_who_is_let_in_ahead_is_locked_out_by_a_later_word() -> None:
    """Let in ten minutes ahead of the first day, and then told not to come: the older joiner's day changes nothing."""
    course = Course(Config(policy=Policy.model_validate({"look_ahead": "10m"})))

    found = course.live([joins("j", 0, 30), leaves("no-show", 25)], [20, 25, 31])

    assert found == "active left left"


def test_leave_before_a_return_that_was_let_in_ahead_is_not_over() -> None:
    """The return may still be taken back, and then the leave stands."""
    course = Course(Config(policy=Policy.model_validate({"look_ahead": "10m"})))
    story = [joins("j", 0), leaves("l", 1, 50), joins("back", 2, 55), leaves("off", 47, 52, source="okta")]

    found = course.live(story, [46, 51])

    assert found == "active left"


def test_words_that_are_worked_on_when_all_is_past_are_superseded_all_the_same() -> None:
    """The workers were away for so long that both days are over: the first one was moved, and never counted."""
    course = Course()

    course.look(END, joins("j", 0, 20), joins("j2", 1, 30), leaves("l", 2, 50), leaves("l2", 3, 60))

    assert course.superseded == {"j": "j2", "j2": "l2", "l": "l2"}


def test_word_that_was_taken_back_had_taken_back_others() -> None:
    """An old plan of another source arrives late: the leave that was taken back since had ended it."""
    story = [leaves("l", 2, 70), joins("stays", 5), joins("plan", 1, 80, "okta"), leaves("off", 1, 70, "okta")]
    late, heap = Course(), Course()
    late.look(6, *story[:2])

    assert (late.look(END, *story[2:]), heap.look(END, *story)) == ("left", "left")


def test_word_that_a_human_dropped_is_taken_back() -> None:
    """The status before it is the status again."""
    course = Course()
    left = leaves("l", 1)
    course.look(1, joins("j", 0), left)
    dropped = Kept(left, State.KEPT, {}, Ruling(DROPPED, "ana"))

    found = fold(Config(), course.person, [dropped], at(2))

    assert course.person.status
    assert course.person.status.value == "left"
    assert found.person.status
    assert (found.person.status.value, found.person.status.event) == ("active", "hris:j")


def test_person_kept_before_words_were_keeps_the_status() -> None:
    """What an earlier release kept of a person has a status alone."""
    course = Course()
    course.look(1, leaves("l", 1))
    course.person = course.person.model_copy(update={"words": ()})

    assert course.look(2, joins("old", 0)) == "left"


def test_words_do_not_grow_without_end() -> None:
    """Switched on and off for years: the latest words are kept, and the one that counts is among them."""
    course = Course()
    for minute in range(0, 4 * WORDS_MAX, 2):
        course.look(minute, joins(f"on{minute}", minute), leaves(f"off{minute}", minute + 1, minute + 2000))
        course.look(minute + 1)

    assert len(course.person.words) == WORDS_MAX
    assert len(course.person.taken_back) == WORDS_MAX
    assert course.person.status in course.person.words


drawn = st.tuples(
    st.sampled_from([Kind.JOINER, Kind.JOINER, Kind.LEAVER, Kind.LEAVER, Kind.MOVER]),
    st.integers(0, 5),
    st.none() | st.integers(0, 8),
    st.sampled_from(["hris", "hris", "okta", OPERATOR]),
    st.fixed_dictionaries({}, optional={"title": st.sampled_from("AB"), "custom": st.none() | st.just({"badge": 1})}),
)


@st.composite
def stories(draw: st.DrawFn) -> list[Event]:
    """Draw a handful of events, some of other moments: whole minutes tell, and halves take effect.

    In the very moment of a leave it is not decided what a newer joiner has to say, but that the leaver wins.
    """
    found: list[Any] = draw(st.lists(drawn, min_size=1, max_size=6))
    return [
        word(kind, f"e{number}", told, None if later is None else later + 0.5, source).model_copy(
            update={"profile": event(kind, **profile).profile}
        )
        for number, (kind, told, later, source, profile) in enumerate(found)
    ]


def end(course: Course) -> dict[str, Any]:
    """Return what is known when all is past; which words that count no more are remembered, is nobody's matter."""
    course.look(END)
    assert course.waiting == []
    return course.person.model_dump(exclude={"words", "taken_back"})


@patiently
@given(stories(), st.data())
def test_any_arrival_and_any_clock_end_in_the_same_person(story: list[Event], data: st.DataObject) -> None:
    """Each event arrives when it likes, early, late or in a heap, and is worked on whenever somebody looks."""
    heap, course = Course(), Course()
    heap.look(0, *story)
    comes = data.draw(st.lists(st.integers(0, 12), min_size=len(story), max_size=len(story)))
    arrivals = list(zip(comes, data.draw(st.permutations(story)), strict=True))
    for minute in sorted(data.draw(st.sets(st.integers(0, 12)))):
        course.look(minute, *(each for come, each in arrivals if come <= minute))
    course.look(END, *story)

    assert end(course) == end(heap)


@patiently
@given(stories())
def test_leaver_that_nobody_took_back_is_locked_out(story: list[Event]) -> None:
    """Whoever is here in the end is so by a word that holds from later on than each leaver that still stands."""
    course = Course()
    course.look(END, *story)

    status = course.person.status
    if status is None or status.value == "left":
        return
    assert all(each.at < status.at for each in course.person.words if each.value == "left")
