"""Fold: a person's unsettled events, by the source's time, into what is known of the person. Pure.

Every fact keeps its time and its event, so the order of arrival does not matter, a second fold of the same events
changes nothing, and any permutation of a story ends in the same person.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from lifecycle.config import Config
from lifecycle.event import OPERATOR, OURSELVES, Event, Kind
from lifecycle.person import CUSTOM, CUSTOM_PREFIX, Fact, Person, Status
from lifecycle.settlement import Kept
from workers.dates import due_at, overtaken
from workers.deletions import NOT_WANTED, Later
from workers.order import Order
from workers.screen import LeftOut, screen

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

    @property
    def over(self) -> frozenset[str]:
        """The events that stand no longer; what a human dropped is not among them, for it is not to be made again."""
        unwanted = {ref for ref, each in self.left_out.items() if each.reason == NOT_WANTED}
        return frozenset(self.superseded.keys() | unwanted)


def fold(config: Config, person: Person, mailbox: Sequence[Kept], now: datetime) -> Folded:
    """Fold the events that are due by ``now`` into the person."""
    left_out = dict(screen(config, person, mailbox))
    kept_in = [kept.event for kept in mailbox if kept.event.ref not in left_out]
    # A deletion of ours says nothing of the person, so it is no part of what is folded.
    events = [event for event in kept_in if event.about is None]
    moments = {event.ref: due_at(config, person, event) for event in events}
    due = [event for event in events if moments[event.ref] <= now]
    ahead = [event for event in events if moments[event.ref] > now]
    order = Order.of(config)
    for event in due:
        person = _with(person, event, order)
    superseded = {event.ref: outranking for event in due if (outranking := _outranked_by(person, event))}
    superseded |= overtaken(person, ahead, moments)
    later = Later.of(config, person, [event for event in kept_in if event.about], due, now)
    superseded |= later.superseded
    moments |= later.scheduled
    return Folded(
        person,
        (*(event for event in due if event.ref not in superseded), *later.due),
        superseded,
        {ref: moment for ref, moment in moments.items() if moment > now and ref not in superseded},
        {**left_out, **later.left_out},
    )


def _with(person: Person, event: Event, order: Order) -> Person:
    facts = dict(person.facts)
    for name, value in _facts(event, person):
        fact = Fact(value=value, at=event.occurred_at, event=event.ref)
        # A null for all custom fields also outranks an older one that arrives after it.
        known = (facts.get(name), facts.get(CUSTOM) if name.startswith(CUSTOM_PREFIX) else None)
        facts[name] = max((fact, *filter(None, known)), key=partial(order.rank, name))
    status, told = person.status, _status(event)
    if told is not None:
        fact = Fact(value=told.value, at=event.status_at or event.occurred_at, event=event.ref)
        if status is None or order.status_rank(status) < order.status_rank(fact):
            status = fact
    return person.model_copy(update={"facts": facts, "status": status, "ids": _ids(person, event)})


def _status(event: Event) -> Status | None:
    """Return what an event says of whether the person works here; a directory says it of everybody."""
    return STATUS.get(event.kind, Status.ACTIVE if event.status_at else None)


def _ids(person: Person, event: Event) -> tuple[str, ...]:
    external_id = event.profile.external_id
    if external_id is None or event.source in {OPERATOR, OURSELVES}:
        return person.ids
    return tuple(sorted({*person.ids, f"{event.source}:{external_id}"}))


def _facts(event: Event, person: Person) -> Iterable[tuple[str, object]]:
    for name, value in event.profile.told().items():
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
