"""Events and profiles: what is said, what is cleared, and who is meant."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lifecycle.event import PERSON_TEXT_CHARS_MAX, Event, Profile
from tests.seed import event


def test_unmentioned_and_cleared_are_two_things() -> None:
    """A mover that says null clears a field, one that is silent leaves it; the way through Redis keeps this."""
    profile = Profile.model_validate({"external_id": "E1", "title": None, "department": " "})
    kept = Event.model_validate_json(event().model_copy(update={"profile": profile}).to_json())

    assert kept.profile.told() == {"external_id": "E1", "title": None, "department": None}


@pytest.mark.parametrize(
    ("told", "key"),
    [
        ({"external_id": "E1", "user_name": "Bo", "email": "bo@x"}, "E1"),
        ({"user_name": "Bo.Ray", "email": "bo@x"}, "bo.ray"),
        ({"email": " Bo@X.example "}, "bo@x.example"),
        ({"external_id": "  ", "email": "bo@x"}, "bo@x"),
        ({"external_id": 1042}, "1042"),
        ({"display_name": "Bo Ray"}, None),
        ({}, None),
    ],
)
def test_strongest_identifier_names_the_person(told: dict[str, object], key: str | None) -> None:
    """The external id counts as written; a user name or address counts without letter case (RFC 7643)."""
    assert Profile.model_validate(told).key() == key


@pytest.mark.parametrize(
    "told",
    [
        {"title": "x" * (PERSON_TEXT_CHARS_MAX + 1)},
        {"external_id": "x" * 257},
        {"email": {}},
        {"title": ["x"]},
        {"groups": "Support"},
        {"groups": ["x"] * 1_001},
        {"custom": []},
        {"title": True},
    ],
)
def test_wrong_or_endless_values_are_refused(told: dict[str, object]) -> None:
    """A profile holds texts of bounded length, not whatever was sent."""
    with pytest.raises(ValidationError):
        Profile.model_validate(told)


def test_event_is_closed_and_frozen() -> None:
    """An event cannot change once it is kept, and has no field that nobody knows."""
    one = event()

    with pytest.raises(ValidationError):
        one.id = "other"
    with pytest.raises(ValidationError):
        Event.model_validate(one.model_dump() | {"note": "x"})


def test_event_needs_an_aware_moment() -> None:
    """A moment without a zone orders nothing."""
    with pytest.raises(ValidationError):
        Event.model_validate(
            event().model_dump() | {"occurred_at": datetime(2026, 3, 2, tzinfo=UTC).replace(tzinfo=None)}
        )


@given(
    st.fixed_dictionaries(
        {}, optional={"title": st.none() | st.text(max_size=30), "groups": st.lists(st.text(max_size=9), max_size=3)}
    )
)
def test_profile_survives_the_way_through_redis(told: dict[str, object]) -> None:
    """What a source said is what the worker reads, whatever the letters."""
    profile = Profile.model_validate(told)

    assert Profile.model_validate_json(profile.model_dump_json(exclude_unset=True)).told() == profile.told()


def test_ref_tells_two_sources_apart() -> None:
    """The same id of two sources is two events."""
    assert {event("7").ref, event("7", source="okta").ref} == {"hris:7", "okta:7"}
