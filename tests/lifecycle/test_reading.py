"""A reading makes of a thin event what it turned out to be; what the source said of it counts no more."""

from datetime import timedelta

from lifecycle.event import Event, Kind, Profile
from lifecycle.reading import AT_ITS_WORD, Reading
from tests.seed import NOW, event

THIN = event(kind=Kind.CHANGED).model_copy(update={"effective_at": NOW, "effective_on": "2026-03-02"})


def test_event_that_was_read_is_the_directorys_word() -> None:
    """Kind, facts and time are the reading's, and no date is left that could put it off; whose it is stays."""
    at, profile = NOW + timedelta(minutes=5), Profile(title="Lead")
    reading = Reading(kind=Kind.MOVER, profile=profile, at=at, as_of=NOW)

    found = Reading.model_validate_json(reading.to_json()).of(THIN)

    assert (found.kind, found.profile, found.occurred_at, found.status_at) == (Kind.MOVER, profile, at, NOW)
    assert (found.effective_at, found.effective_on) == (None, None)
    assert (found.ref, found.person, found.received_at) == (THIN.ref, THIN.person, THIN.received_at)
    assert found.profile.told() == {"title": "Lead"}


def test_event_at_its_word_is_a_mover_as_it_was_told() -> None:
    """Only its kind is another."""
    found = Reading.model_validate_json(AT_ITS_WORD.to_json()).of(THIN)

    assert found == Event.model_validate(THIN.model_dump() | {"kind": Kind.MOVER})
