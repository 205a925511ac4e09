"""Which of a person's events are settled without being worked on: dropped by a human, poison, or not ours. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lifecycle.config import Config
from lifecycle.event import OPERATOR, OURSELVES, Event, State
from lifecycle.person import Person
from lifecycle.settlement import DROPPED, Kept

POISON_DEATHS_MAX = 3


@dataclass(frozen=True)
class LeftOut:
    """How an event is settled that is not folded into the person."""

    state: State
    reason: str
    detail: str | None = None


def screen(config: Config, person: Person, mailbox: Sequence[Kept]) -> Mapping[str, LeftOut]:
    """Return, by ref, the events that are settled without being worked on."""
    found = {}
    for kept in mailbox:
        left_out = _ruled(kept) or poisoned(kept) or _mistaken(person, kept) or _foreign(config, person, kept.event)
        if left_out is not None:
            found[kept.event.ref] = left_out
    return found


def _ruled(kept: Kept) -> LeftOut | None:
    if kept.ruling is None or kept.ruling.verdict != DROPPED:
        return None
    return LeftOut(State.IGNORED, DROPPED, f"dropped by {kept.ruling.by}")


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


def _foreign(config: Config, person: Person, event: Event) -> LeftOut | None:
    """Leave out whom another system than the home source looks after: what goes back there would come back here."""
    if event.source in {OPERATOR, OURSELVES}:
        return None
    home = config.policy.home_source
    told = event.profile.told()
    source_of_truth = told["source_of_truth"] if "source_of_truth" in told else person.value("source_of_truth")
    if home is None or source_of_truth in {None, home}:
        return None
    return LeftOut(State.IGNORED, "not_home", "the person's source_of_truth is not policy.home_source")
