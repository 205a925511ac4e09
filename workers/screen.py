"""Which of a person's events are settled without being worked on: dropped, poison, not ours, or an echo. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lifecycle.config import Config
from lifecycle.event import OPERATOR, OURSELVES, Event, Kind, State
from lifecycle.person import Fact, Person, joined
from lifecycle.safety import DELETIONS, REASONS
from lifecycle.settlement import DROPPED, Kept
from workers.dates import is_dated
from workers.echo import ECHO, is_echo
from workers.order import Order
from workers.tenure import words_of

POISON_DEATHS_MAX = 3
SOURCE_OF_TRUTH = "source_of_truth"


@dataclass(frozen=True)
class LeftOut:
    """How an event is settled that is not folded into the person."""

    state: State
    reason: str
    detail: str | None = None


def screen(config: Config, person: Person, mailbox: Sequence[Kept]) -> Mapping[str, LeftOut]:
    """Return, by ref, the events that are settled without being worked on."""
    truth = source_of_truth(config, person, mailbox)
    found = {}
    for kept in mailbox:
        left_out = (
            ruled(kept)
            or poisoned(kept)
            or _mistaken(person, kept)
            or _foreign(config, truth, kept.event)
            or _echoed(config, person, kept)
        )
        if left_out is not None:
            found[kept.event.ref] = left_out
    return found


def source_of_truth(config: Config, person: Person, mailbox: Sequence[Kept]) -> Fact | None:
    """Return who looks after a person, by what was told last; what is ignored for it counts too.

    Else the next event of somebody who is not ours, which does not say so again, would be taken for one of ours.
    """
    order = Order.of(config)
    facts = [known] if (known := person.facts.get(SOURCE_OF_TRUTH)) else []
    for kept in mailbox:
        event = kept.event
        if SOURCE_OF_TRUTH in event.profile.model_fields_set and not (ruled(kept) or poisoned(kept) or is_dated(event)):
            facts.append(Fact(value=event.profile.source_of_truth, at=event.occurred_at, event=event.ref))
    return max(facts, key=lambda fact: order.rank(SOURCE_OF_TRUTH, fact), default=None)


def ruled(kept: Kept) -> LeftOut | None:
    """Leave out what a human dropped."""
    if kept.ruling is None or kept.ruling.verdict != DROPPED:
        return None
    return LeftOut(State.IGNORED, DROPPED, f"dropped by {kept.ruling.by}")


def without_ruled(person: Person, mailbox: Sequence[Kept]) -> Person:
    """End the holds of which a human ruled, and take back the status that a dropped event set.

    What took effect somewhere is not taken back, and what was held is remembered as dropped.
    """
    undone = {kept.event.ref for kept in mailbox if ruled(kept) is not None and not _took_effect(kept)}
    rulings = {kept.event.ref: kept.ruling for kept in mailbox if kept.ruling is not None}
    words = tuple(word for word in words_of(person) if word.event not in undone)
    status = None if person.status and person.status.event in undone else person.status
    ended = [
        hold for hold in person.holds if hold.event in rulings and rulings[hold.event].ends(hold.target, hold.limit)
    ]
    known = {
        "status": status,
        "words": words,
        "holds": tuple(hold for hold in person.holds if hold not in ended),
        "dropped": joined(person.dropped, [hold for hold in ended if rulings[hold.event].verdict == DROPPED]),
    }
    return person.model_copy(update=known)


def _took_effect(kept: Kept) -> bool:
    """Tell whether an event did something somewhere: of a deletion that is held the account is locked out already."""
    outcomes = [(each.outcome is State.APPLIED, each.reason == REASONS[DELETIONS]) for each in kept.deliveries.values()]
    return any(applied or is_locked_out for applied, is_locked_out in outcomes)


def poisoned(kept: Kept) -> LeftOut | None:
    """Leave out what kills whoever works on it."""
    if kept.deaths < POISON_DEATHS_MAX:
        return None
    return LeftOut(State.FAILED, "poison", f"{kept.deaths} workers in a row died while they worked on it")


def _mistaken(person: Person, kept: Kept) -> LeftOut | None:
    """Leave out what a directory says of a name that is another's by now: it has another id than the person."""
    found = kept.event.profile.external_id
    theirs = person.ids_of(kept.event.source)
    if kept.reading is None or found is None or not theirs or found in theirs:
        return None
    return LeftOut(State.HELD, "another_id", "the directory has this name under another external_id")


def _foreign(config: Config, truth: Fact | None, event: Event) -> LeftOut | None:
    """Leave out whom another system than the home source looks after: what goes back there would come back here."""
    if event.source in {OPERATOR, OURSELVES}:
        return None
    home = config.policy.home_source
    told = event.profile.told()
    if event.kind is Kind.LEAVER and event.source == home and SOURCE_OF_TRUTH not in told:
        # Who looks after somebody may be wrongly known; that the home source lets them go is no loop.
        return None
    said = told.get(SOURCE_OF_TRUTH, truth.value if truth else None)
    if home is None or said in {None, home}:
        return None
    return LeftOut(State.IGNORED, "not_home", "the person's source_of_truth is not policy.home_source")


def _echoed(config: Config, person: Person, kept: Kept) -> LeftOut | None:
    if not is_echo(config, person, kept):
        return None
    return LeftOut(State.IGNORED, ECHO, f"{config.sources[kept.event.source].target} tells of what we wrote there")
