"""When an event takes effect, over real changes of real clocks in both halves of the world."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.config import Config, Source
from lifecycle.event import Event, Kind
from lifecycle.person import Person
from lifecycle.policy import Policy
from lifecycle.queue import LATEST
from lifecycle.secrets import Secret
from tests.workers.stories import AT, event, patiently, person
from workers.dates import AT_ONCE, first_moment, holds_at, when, zone_of

SECRET = Secret("env:HRIS_WHSEC", "whsec_x")
ZONES = sorted(available_timezones())
DAY = timedelta(days=1)


def config(zone: str = "UTC", **policy: Any) -> Config:  # noqa: ANN401 - a section of the configuration
    """Make a configuration of one source in a zone."""
    sources = {"hris": Source(adapter="standard_webhooks", secrets=[SECRET], timezone=zone)}
    return Config(sources=sources, policy=Policy.model_validate(policy))


def of(kind: Kind, effective_at: datetime | str, **profile: Any) -> Event:  # noqa: ANN401 - a profile's fields
    """Make an event with a date."""
    return event(kind, effective_at=effective_at, **profile)


def due(found: Config, told: Event, known: Person | None = None) -> str:
    """Return when an event is worked on, in UTC."""
    return when(found, known or person(), told).due_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


@pytest.mark.parametrize(
    ("zone", "local", "expected"),
    [
        pytest.param("Europe/Berlin", "2026-03-28T12:00", "2026-03-28 11:00", id="Berlin in winter"),
        pytest.param("Europe/Berlin", "2026-03-29T12:00", "2026-03-29 10:00", id="Berlin in summer, a day later"),
        pytest.param("Europe/Berlin", "2026-03-29T02:30", "2026-03-29 01:00", id="a time that Berlin skips"),
        pytest.param("Europe/Berlin", "2026-10-25T02:30", "2026-10-25 00:30", id="a time that Berlin has twice"),
        pytest.param("America/New_York", "2026-03-08T02:15", "2026-03-08 07:00", id="a time that New York skips"),
        pytest.param("America/New_York", "2026-11-01T01:15", "2026-11-01 05:15", id="a time that New York has twice"),
        pytest.param("Australia/Sydney", "2026-10-04T02:59", "2026-10-03 16:00", id="a time that Sydney skips"),
        pytest.param("Australia/Sydney", "2026-04-05T02:30", "2026-04-04 15:30", id="a time that Sydney has twice"),
        pytest.param("Australia/Lord_Howe", "2026-10-04T02:10", "2026-10-03 15:30", id="half an hour skipped"),
        pytest.param("America/Santiago", "2026-09-06T00:00", "2026-09-06 04:00", id="a day that begins at one"),
        pytest.param("America/Havana", "2026-11-01T00:00", "2026-11-01 04:00", id="midnight twice"),
        pytest.param("America/Santiago", "2026-04-05T00:00", "2026-04-05 04:00", id="an hour before midnight twice"),
        pytest.param("Pacific/Apia", "2011-12-30T10:00", "2011-12-30 10:00", id="a day that never was"),
    ],
)
def test_local_time_is_the_first_moment_that_shows_it_or_a_later_one(zone: str, local: str, expected: str) -> None:
    """Where the clocks skip it, the moment of the jump; where they show it twice, the first: never the later one."""
    told = of(Kind.LEAVER, f"{local}:00")

    assert due(config(zone), told) == expected
    assert due(config(), told, person(timezone=zone)) == expected


@patiently
@given(st.sampled_from(ZONES), st.datetimes(*map(datetime.fromisoformat, ("1900-01-02", "2100-01-01"))))
def test_every_time_of_every_zone_is_a_moment(name: str, local: datetime) -> None:
    """Whatever the clocks of a zone do: they show it, or they have just jumped over it, and never showed it before."""
    zone = ZoneInfo(name)

    moment = first_moment(local, zone)

    def shown(at: datetime) -> datetime:
        return at.astimezone(zone).replace(tzinfo=None, fold=0)

    assert shown(moment) >= local
    assert shown(moment - timedelta(microseconds=1)) < local
    assert shown(moment) - local <= DAY


@pytest.mark.parametrize(
    ("suspend_at", "expected"),
    [
        ("start_of_day", "2026-03-28 23:00"),
        ("end_of_day", "2026-03-29 22:00"),
        ("17:30", "2026-03-29 15:30"),
        ("02:30", "2026-03-29 01:00"),
    ],
)
def test_leaver_of_a_day_goes_as_the_policy_says(suspend_at: str, expected: str) -> None:
    """On the day on which Berlin changes to summer time: by its own midnights, and by its clocks."""
    told = of(Kind.LEAVER, "2026-03-29")

    assert due(config("Europe/Berlin", suspend_at=suspend_at), told) == expected


def test_end_of_the_day_is_what_a_policy_says_that_says_nothing() -> None:
    """The last day is worked to its end."""
    assert due(config("America/New_York"), of(Kind.LEAVER, "2026-11-01")) == "2026-11-02 05:00"


@pytest.mark.parametrize("suspend_at", ["start_of_day", "17:30"])
def test_time_of_day_that_is_told_counts_before_the_policys(suspend_at: str) -> None:
    """``suspend_at`` is for a day alone."""
    told = of(Kind.LEAVER, "2026-03-06T12:00:00")

    assert due(config(suspend_at=suspend_at), told) == "2026-03-06 12:00"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        pytest.param(of(Kind.LEAVER, "2026-03-06"), "2026-03-07 02:00", id="leaver of a day"),
        pytest.param(of(Kind.LEAVER, "2026-03-06T12:00:00"), "2026-03-06 14:00", id="leaver of a local time"),
        pytest.param(of(Kind.LEAVER, AT), "2026-03-02 11:00", id="leaver of a moment"),
        pytest.param(of(Kind.JOINER, "2026-03-06"), "2026-03-03 00:00", id="joiner of a day"),
        pytest.param(of(Kind.JOINER, "2026-03-06T09:00:00"), "2026-03-03 09:00", id="joiner of a local time"),
        pytest.param(of(Kind.JOINER, AT), "2026-02-27 09:00", id="joiner of a moment"),
        pytest.param(of(Kind.MOVER, "2026-03-06"), "2026-03-06 00:00", id="mover of a day"),
        pytest.param(of(Kind.CHANGED, "2026-03-06"), "2026-03-06 00:00", id="look of a day"),
    ],
)
def test_look_ahead_is_for_joiners_and_grace_for_leavers(told: Event, expected: str) -> None:
    """Each has its own; a mover begins with its day."""
    assert due(config(look_ahead="3d", suspend_grace="2h"), told) == expected


@pytest.mark.parametrize("kind", list(Kind))
def test_event_without_a_date_takes_effect_at_once(kind: Kind) -> None:
    """Look-ahead and grace are for dates; and no clock is asked."""
    assert when(config(look_ahead="3d", suspend_grace="2h"), person(), event(kind)) == (AT, AT_ONCE)


@pytest.mark.parametrize(
    ("known", "own", "expected"),
    [
        pytest.param("Asia/Tokyo", {}, "Asia/Tokyo", id="the person's"),
        pytest.param("Mars/Olympus", {}, "Europe/Berlin", id="the source's, where the person's is none"),
        pytest.param("W. Europe Standard Time", {}, "Europe/Berlin", id="the source's, where it is no IANA name"),
        pytest.param("../../etc/passwd", {}, "Europe/Berlin", id="the source's, where it is a path"),
        pytest.param("Europe", {}, "Europe/Berlin", id="the source's, where it is a folder"),
        pytest.param("x" * 2_000, {}, "Europe/Berlin", id="the source's, where it is endless"),
        pytest.param(None, {}, "Europe/Berlin", id="the source's, where nobody knows it"),
        pytest.param("Asia/Tokyo", {"timezone": "Asia/Dubai"}, "Asia/Dubai", id="what the event says itself"),
        pytest.param("Asia/Tokyo", {"timezone": None}, "Europe/Berlin", id="the source's, where it is cleared"),
    ],
)
def test_zone_of_a_date(known: str | None, own: dict[str, Any], expected: str) -> None:
    """The person's own where it is one, else the source's."""
    told = event(Kind.LEAVER, minute=1, effective_at="2026-03-06", **own)

    assert zone_of(config("Europe/Berlin"), person(timezone=known), told).key == expected


def test_zone_that_was_told_later_counts_before_the_events_own() -> None:
    """The joiner said Dubai, and since then the person moved to Tokyo."""
    told = event(Kind.JOINER, minute=-5, effective_at="2026-03-06", timezone="Asia/Dubai")

    assert zone_of(config(), person(timezone="Asia/Tokyo"), told).key == "Asia/Tokyo"


def test_date_of_an_unknown_source_is_read_in_utc() -> None:
    """A source may be gone from the configuration while its events wait."""
    assert due(Config(), of(Kind.MOVER, "2026-03-06")) == "2026-03-06 00:00"


@pytest.mark.parametrize("kind", [Kind.JOINER, Kind.LEAVER, Kind.MOVER])
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("0001-01-01", AT_ONCE),
        ("0001-12-31T23:59:59", AT_ONCE),
        ("9999-01-01", LATEST),
        ("9999-12-31", LATEST),
        ("9999-12-31T23:59:59.999999", LATEST),
        (datetime.max.replace(tzinfo=UTC), LATEST),
        (AT_ONCE, AT_ONCE),
    ],
)
@pytest.mark.parametrize(
    "policy",
    [{}, {"look_ahead": "2h", "suspend_grace": "2h"}, {"look_ahead": "999999d", "suspend_grace": "999999d"}],
    ids=["plain", "near", "far"],
)
def test_edges_of_the_calendar_are_always_or_never(
    kind: Kind, zone: str, told: str | datetime, expected: datetime, policy: dict[str, Any]
) -> None:
    """What some write for "no date" and for "never" overflows nowhere."""
    found = when(config(zone, **policy), person(), of(kind, told))

    assert AT <= found.holds_at <= LATEST
    if not policy:
        assert found.due_at == expected
    assert AT_ONCE <= found.due_at <= LATEST


def test_end_of_a_day_comes_before_the_start_of_the_next() -> None:
    """Who leaves on Tuesday and joins on Wednesday is here on Wednesday."""
    found = config("Europe/Berlin")

    leaves = when(found, person(), of(Kind.LEAVER, "2026-03-31"))
    joins = when(found, person(), of(Kind.JOINER, "2026-04-01"))

    assert leaves.holds_at < joins.holds_at
    assert leaves.due_at == joins.due_at


def test_date_that_is_past_holds_from_its_telling_on() -> None:
    """Whoever tells today of last week tells it today: what was told between is older."""
    assert when(config(), person(), of(Kind.LEAVER, "2026-02-01")).holds_at == AT


def test_order_of_facts_is_by_the_sources_own_clock() -> None:
    """Two days of one source keep their order, wherever its person moves meanwhile."""
    told = event(Kind.MOVER, effective_at="2026-06-01", timezone="Asia/Tokyo")

    assert holds_at(config("America/New_York"), told) == datetime(2026, 6, 1, 4, tzinfo=UTC)
