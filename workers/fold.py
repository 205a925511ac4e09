"""Fold: a person's unsettled events, by the source's time, into what is known of the person. Pure.

Every fact keeps its time and its event, so the order of arrival does not matter, a second fold of the same events
changes nothing, and any permutation of a story ends in the same person.

What a mover says of a later date holds from that date on, and outranks what was told meanwhile of the days before. What
a joiner or leaver says of a person is as old as its telling: a correction made before the first day stands.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from lifecycle.config import Config
from lifecycle.event import OPERATOR, OURSELVES, Event, Kind
from lifecycle.person import CUSTOM, CUSTOM_PREFIX, Fact, Person, Status
from lifecycle.settlement import Kept
from workers import tenure
from workers.dates import TIMEZONE, When, holds_at, is_dated, when
from workers.deletions import NOT_WANTED, Later
from workers.order import EXTERNAL_ID, Order
from workers.screen import SOURCE_OF_TRUTH, LeftOut, screen, source_of_truth, without_ruled

STATUS = {Kind.JOINER: Status.ACTIVE, Kind.LEAVER: Status.LEFT}


@dataclass(frozen=True)
class Folded:
    """The person after the events that are due, and who of them still counts."""

    person: Person
    counting: tuple[Event, ...]
    superseded: dict[str, str]
    """By ref of an event that can change nothing: the ref of one that outranks it."""
    scheduled: Mapping[str, datetime]
    """By ref of an event whose effect lies in the future: when it is due."""
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)
    """Events that are not folded."""
    dated: Mapping[str, datetime] = field(default_factory=dict)
    """By ref of an event with a date: the moment that this is found to be."""

    @property
    def over(self) -> frozenset[str]:
        """The events that stand no longer; what a human dropped is not among them, for it is not to be made again."""
        unwanted = {ref for ref, each in self.left_out.items() if each.reason == NOT_WANTED}
        return frozenset(self.superseded.keys() | unwanted)


@dataclass(frozen=True)
class _View:
    """The person with what the events that are due say of it but for the status, and when each event counts."""

    person: Person
    due: tuple[Event, ...]
    ahead: tuple[Event, ...]
    whens: Mapping[str, When]


def fold(config: Config, person: Person, mailbox: Sequence[Kept], now: datetime) -> Folded:
    """Fold the events that are due by ``now`` into the person."""
    left_out = screen(config, person, mailbox)
    person = without_ruled(person, mailbox)
    if (truth := source_of_truth(config, person, mailbox)) is not None:
        person = person.model_copy(update={"facts": {**person.facts, SOURCE_OF_TRUTH: truth}})
    order = Order.of(config)
    counting = [kept for kept in mailbox if kept.event.ref not in left_out]
    # A deletion of ours says nothing of the person, so it is no part of what is folded.
    view = _read(config, order, person, [kept for kept in counting if kept.event.about is None], now)
    person, overruled = _with_status(config, order, view)
    void = {
        event.ref: by
        for event in view.ahead
        if (by := overruled.get(event.ref) or _late(order, person, event, view, now))
    }
    for event in view.ahead:
        if event.ref in void:
            # Its date is void; what it told of the person is known all the same.
            person = _told(config, order, person, event)
    if person.value(TIMEZONE) != view.person.value(TIMEZONE):
        return fold(config, person, mailbox, now)
    superseded = {
        event.ref: by for event in view.due if (by := overruled.get(event.ref) or _outranked_by(person, event))
    }
    dues = {ref: each.due_at for ref, each in view.whens.items()}
    later = Later.of(config, person, [kept.event for kept in counting if kept.event.about], view.due, now)
    return Folded(
        person,
        (*(event for event in view.due if event.ref not in superseded), *later.due),
        {**superseded, **void, **later.superseded},
        {event.ref: dues[event.ref] for event in view.ahead if event.ref not in void} | {**later.scheduled},
        {**left_out, **later.left_out},
        {event.ref: dues[event.ref] for event in (*view.due, *view.ahead) if is_dated(event)},
    )


def _read(config: Config, order: Order, person: Person, mailbox: Sequence[Kept], now: datetime) -> _View:
    """Read what is due, the earliest first: each may tell of another time zone, in which the rest is read then."""
    # What was begun is not put back into the schedule, wherever the person moves.
    begun = {kept.event.ref for kept in mailbox if kept.deliveries} | {word.event for word in tenure.words_of(person)}
    whens: dict[str, When] = {}
    due: list[Event] = []
    ahead = [kept.event for kept in mailbox]
    zone: object = ...
    while person.value(TIMEZONE) != zone:
        zone = person.value(TIMEZONE)
        whens |= {event.ref: when(config, person, event) for event in ahead}
        for event in sorted(ahead, key=lambda event: (whens[event.ref].due_at, event.ref)):
            if person.value(TIMEZONE) == zone and (event.ref in begun or whens[event.ref].due_at <= now):
                person = _told(config, order, person, event)
                due.append(event)
        ahead = [event for event in ahead if event.ref not in {each.ref for each in due}]
    return _View(person, tuple(due), tuple(ahead), whens)


def _with_status(config: Config, order: Order, view: _View) -> tuple[Person, Mapping[str, str]]:
    """Return the person with the status that counts, and by ref of a word taken back the ref of the newer one."""
    person, hired = view.person, dict(view.person.hired)
    words: dict[str, Fact] = {}
    for event in (*view.due, *view.ahead):
        if (told := _status(event)) is not None:
            at = event.status_at or view.whens[event.ref].holds_at
            words[event.ref] = _fact(event, told.value, at)
        if event.kind is Kind.JOINER:
            first = holds_at(config, event)
            hired[event.source] = min(first, hired.get(event.source, first))
    # What took effect keeps the moment at which it did.
    words |= {word.event: word for word in tenure.words_of(person)}
    overruled = tenure.overruled(words.values(), person.taken_back, hired)
    out = overruled.keys() | {event.ref for event in view.ahead}
    counting = [word for word in words.values() if word.event not in out]
    taken_back = {word.event: word for word in person.taken_back} | {ref: words[ref] for ref in overruled}
    known = {
        "status": tenure.standing(order, counting),
        "words": tenure.remembered(counting),
        "taken_back": tenure.remembered(taken_back.values()),
        "hired": hired,
    }
    return person.model_copy(update=known), overruled


def _late(order: Order, person: Person, event: Event, view: _View, now: datetime) -> str | None:
    """Return the event by which somebody is back already while a leaver's grace runs; None where nobody is."""
    status = person.status
    if event.kind is not Kind.LEAVER or status is None or status.at > now or status.value == Status.LEFT.value:
        return None
    word = _fact(event, Status.LEFT.value, view.whens[event.ref].holds_at)
    return status.event if order.status_rank(word) < order.status_rank(status) else None


def _told(config: Config, order: Order, person: Person, event: Event) -> Person:
    """Return the person with what an event says of it, but for the status."""
    facts = dict(person.facts)
    at = event.occurred_at if event.kind in STATUS else holds_at(config, event)
    for name, value in _facts(event, person):
        # A null for all custom fields also outranks an older one that arrives after it.
        known = (facts.get(name), facts.get(CUSTOM) if name.startswith(CUSTOM_PREFIX) else None)
        facts[name] = max((_fact(event, value, at), *filter(None, known)), key=partial(order.rank, name))
    return person.model_copy(update={"facts": facts, "ids": _ids(person, event)})


def _fact(event: Event, value: object, at: datetime) -> Fact:
    told_at = event.occurred_at if at != event.occurred_at else None
    return Fact(value=value, at=at, event=event.ref, told_at=told_at, found=event.found)


def _status(event: Event) -> Status | None:
    """Return what an event says of whether the person works here; a directory says it of everybody."""
    return STATUS.get(event.kind, Status.ACTIVE if event.status_at else None)


def _ids(person: Person, event: Event) -> tuple[str, ...]:
    external_id = event.profile.external_id
    if external_id is None or event.source in {OPERATOR, OURSELVES}:
        return person.ids
    return tuple(sorted({*person.ids, f"{event.source}:{external_id}"}))


def _facts(event: Event, person: Person) -> Iterable[tuple[str, object]]:
    # A target tells of an account by the account's id, which is not the person's.
    not_own = {account.id for account in person.accounts.values()} if person.value(EXTERNAL_ID) else set()
    not_own.discard(person.value(EXTERNAL_ID))
    for name, value in event.profile.told().items():
        if name == EXTERNAL_ID and value in not_own:
            continue
        if name != CUSTOM:
            yield name, value
        elif value is None:
            # An explicit null clears every custom field that is known, and stays as a fact for those that are not yet.
            yield name, value
            yield from ((known, None) for known in person.facts if known.startswith(CUSTOM_PREFIX))
        else:
            yield from ((f"{CUSTOM_PREFIX}{key}", part) for key, part in value.items())


def _outranked_by(person: Person, event: Event) -> str | None:
    """Return the event that leaves this one without effect; None while it still has some."""
    status, told = person.status, _status(event)
    if told is not None and status and status.event == event.ref:
        return None
    if told is not None and status and status.value != told.value:
        return status.event
    holders = [person.facts[name].event for name, _ in _facts(event, person) if name in person.facts]
    return None if not holders or event.ref in holders else max(holders)
