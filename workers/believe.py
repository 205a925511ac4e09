"""What is believed of a directory's answer: who is gone, of whom a record is, and what is looked for again. Pure.

**Who is gone** of those whom the directory does not have: the rule is told in ``workers.look``.

**Of whom a record is.** One that does not bear the strongest name of an event was found by a weaker one, and the source
may be wrong, or lie, about whose that is. It is believed of whom we know by that name, and of whom we know nothing.

**What is looked for again.** A webhook may overtake its own directory, and a directory that lags may show a copy of
what was: of a leave that it does not show yet, and of somebody who comes and is not working there yet, any is asked
a few times more. What a copy shows holds as of ``COPIES_LAG`` ago, so that it takes back no leave that is younger.
Where it is the directory's own leave, or the source says that they come, it is asked again when every copy has to show
it.
"""

from collections.abc import Container, Iterator, Sequence
from datetime import datetime, timedelta

from lifecycle.event import OPERATOR, Event, Kind
from lifecycle.person import Person, Status
from workers.directories.base import COPIES_LAG, NAMES, Record, Subject, normal

# A directory may show a leave some seconds later than its own webhook tells of it; a forged one it never shows.
CONTRADICTED_SECONDS = (2, 8, 30)
# Copies are behind by seconds, rarely by minutes; together these are longer than ``COPIES_LAG``.
CONTRADICTED_BY_COPIES_SECONDS = (2, 8, 30, 120, 300)
# Of two words of one moment the leave counts, and a job comes at a whole second.
AFTER = timedelta(seconds=1)


def is_gone(event: Event, person: Person, *, lags: bool) -> bool:
    """Tell whether whom nobody finds by the event's id has left."""
    if event.hint is Kind.JOINER or event.profile.external_id not in person.ids_of(event.source):
        return False
    return event.hint is Kind.LEAVER or (person.has_left and not lags)


def is_guess(event: Event, asked: Subject, record: Record, person: Person) -> bool:
    """Tell whether a record may be another's than this person's, to whom the event would take it."""
    strongest = next(((name, value) for name in NAMES if (value := getattr(event.profile, name))), None)
    is_nobody = person.status is None and not person.facts
    if is_nobody or record.profile.external_id == event.person or (strongest and _bears(record, *strongest)):
        return False
    return person.names().isdisjoint(value.lower() for name, value in _given(asked) if _bears(record, name, value))


def contradicts(event: Event, record: Record, person: Person) -> bool:
    """Tell whether a record is against what the source claims, so that it may be one of before."""
    if event.hint is Kind.LEAVER:
        return record.works_here
    # Whoever works here as far as we know is locked out at once, for of two words a leave is the safer one.
    return event.hint is Kind.JOINER and not record.works_here and not works_here(person)


def waits(*, lags: bool) -> Sequence[timedelta]:
    """Return after how long what is contradicted is looked for again, each time."""
    return [timedelta(seconds=each) for each in (CONTRADICTED_BY_COPIES_SECONDS if lags else CONTRADICTED_SECONDS)]


def shown_at(event: Event, record: Record, person: Person, now: datetime, sources: Container[str]) -> datetime | None:
    """Return when a directory that lags has to show whether a younger leave was taken back; None where none may be.

    A leave that another of the directory's ``sources`` told is the directory's own. That of any other source is not
    taken back by what is looked at for another reason, and an operator's by nothing.
    """
    status = person.status
    if status is None or not person.has_left or not (record.works_here and record.as_of <= status.at <= now):
        return None
    is_theirs = status.source in sources or (event.hint is Kind.JOINER and status.source != OPERATOR)
    return status.at + COPIES_LAG + AFTER if is_theirs else None


def works_here(person: Person) -> bool:
    """Tell whether the person works here as far as we know."""
    return person.status is not None and person.status.value == Status.ACTIVE.value


def _given(asked: Subject) -> Iterator[tuple[str, str]]:
    return ((name, value) for name, value in asked._asdict().items() if value)


def _bears(record: Record, name: str, value: str) -> bool:
    theirs = getattr(record.profile, name)
    return theirs is not None and normal(name, theirs) == normal(name, value)
