"""When an event takes effect: days and moments without a zone, and times that the clocks skip or show twice. Pure.

A date without a zone is read in the person's own time zone, else in the source's. A day without a time is its first
moment there; for a leaver ``policy.suspend_at`` says which moment of that day. A joiner is worked on ``look_ahead``
before, a leaver ``suspend_grace`` after that.

Of a time that the clocks skip or show twice, the first moment counts at which they show this time or a later one: of
two readings a leaver never gets the one with more access.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from lifecycle.config import Config
from lifecycle.event import Event, Kind
from lifecycle.person import Fact, Person
from lifecycle.policy import END_OF_DAY, START_OF_DAY
from lifecycle.queue import LATEST
from workers.order import Order

# Of an event without a date: clocks of two machines differ, so it is none of theirs.
AT_ONCE = datetime.min.replace(tzinfo=UTC)
# The end of a day comes before the start of the next one: who leaves on a day may be back on the next.
TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)
TIMEZONE = "timezone"


class When(NamedTuple):
    """When an event counts."""

    holds_at: datetime
    """From when on what it says holds, but not before it was told: this decides the order."""
    due_at: datetime
    """When it is worked on."""


def when(config: Config, person: Person, event: Event) -> When:
    """Return when an event counts, by what is known of the person now."""
    if not is_dated(event):
        return When(event.occurred_at, AT_ONCE)
    moment = _moment(config, event, zone_of(config, person, event))
    by_end_of_day = _by_day(event) and event.kind is Kind.LEAVER and config.policy.suspend_at == END_OF_DAY
    holds_at = _shifted(moment, -TICK) if by_end_of_day else moment
    return When(max(event.occurred_at, holds_at), _shifted(moment, _wait(config, event)))


def holds_at(config: Config, event: Event) -> datetime:
    """Return from when on what it says holds by the source's own clock: whoever moves meanwhile changes no order."""
    if not is_dated(event):
        return event.occurred_at
    return max(event.occurred_at, _moment(config, event, _zone_of_source(config, event)))


def is_dated(event: Event) -> bool:
    """Tell whether an event says when it shall take effect."""
    return event.effective_at is not None or event.effective_on is not None


def zone_of(config: Config, person: Person, event: Event) -> ZoneInfo:
    """Return the zone in which a date of this event is read: by what it says itself, or what was told later."""
    known = person.facts.get(TIMEZONE)
    if TIMEZONE in event.profile.model_fields_set:
        own = Fact(value=event.profile.timezone, at=event.occurred_at, event=event.ref)
        order = Order.of(config)
        known = max(own, known or own, key=lambda fact: order.rank(TIMEZONE, fact))
    return (known and _zone(known.value)) or _zone_of_source(config, event)


def first_moment(local: datetime, zone: ZoneInfo) -> datetime:
    """Return the first moment at which the clocks of a zone show this time or a later one."""
    early, late = sorted(local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if _shown(early, zone) == local:
        return early
    # The clocks jump over it, somewhere between these two.
    while late - early > TICK:
        middle = early + (late - early) / 2
        early, late = (middle, late) if _shown(middle, zone) < local else (early, middle)
    return late


def _shown(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def _moment(config: Config, event: Event, zone: ZoneInfo) -> datetime:
    """Return the moment that is meant, within the calendar: some write the year 1 or 9999 for "never"."""
    if event.effective_at is not None:
        return min(event.effective_at, LATEST)
    local = datetime.fromisoformat(str(event.effective_on))
    if not AT_ONCE.year < local.year < LATEST.year:
        return AT_ONCE if local.year == AT_ONCE.year else LATEST
    if event.kind is Kind.LEAVER and _by_day(event):
        local = _time_of_day(config.policy.suspend_at, local)
    return first_moment(local, zone)


def _time_of_day(suspend_at: str, day: datetime) -> datetime:
    if suspend_at == START_OF_DAY:
        return day
    if suspend_at == END_OF_DAY:
        return day + DAY
    return datetime.combine(day, time.fromisoformat(suspend_at))


def _wait(config: Config, event: Event) -> timedelta:
    """Return how long after its moment an event is worked on."""
    if event.kind is Kind.LEAVER:
        return config.policy.suspend_grace
    return -config.policy.look_ahead if event.kind is Kind.JOINER else timedelta()


def _shifted(moment: datetime, by: timedelta) -> datetime:
    try:
        return min(moment + by, LATEST)
    except OverflowError:
        return AT_ONCE if by < timedelta() else LATEST


def _by_day(event: Event) -> bool:
    if event.effective_on is None or event.effective_at is not None:
        return False
    try:
        date.fromisoformat(event.effective_on)
    except ValueError:
        return False
    return True


def _zone_of_source(config: Config, event: Event) -> ZoneInfo:
    source = config.sources.get(event.source)
    return ZoneInfo(source.timezone if source else "UTC")


def _zone(name: object) -> ZoneInfo | None:
    """Return the zone of this name in the IANA database; None where it is none: a source may write anything."""
    try:
        return ZoneInfo(str(name))
    except (KeyError, OSError, ValueError):
        return None
