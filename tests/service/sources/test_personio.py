"""What Personio does that other sources do not: it may prove nothing, and it says so."""

from dataclasses import replace

import pytest

from lifecycle.errors import Unreadable
from service.sources import personio
from service.sources.base import Assurance, Notice
from service.sources.personio import Options
from tests.notices import AT, setup_of

TOKEN = setup_of("personio")
UNSIGNED = setup_of("personio_unsigned")


def test_no_secret_is_an_open_door_only_where_that_was_asked_for() -> None:
    """Who forgets the secrets is told so at the start; who has some does not leave them unused."""
    with pytest.raises(ValueError, match="one secret"):
        personio.check(replace(TOKEN, secrets=()))
    with pytest.raises(ValueError, match="unsigned"):
        personio.check(replace(TOKEN, options=Options(unsigned=True)))
    personio.check(UNSIGNED)


def test_assurance_is_that_of_the_setup() -> None:
    """A token is a shared secret; without one nothing is proven, whatever a stranger puts into the header."""
    assert personio.assurance(TOKEN) is Assurance.SHARED_SECRET
    assert personio.assurance(UNSIGNED) is Assurance.NONE
    assert personio.verify(Notice("POST", "", {"authorization": "guess"}, b""), UNSIGNED, AT) == ""


@pytest.mark.parametrize(
    ("event_name", "payload"),
    [
        ("employment.terminated", '{"id": "9912"}'),
        ("employment.terminated", "{}"),
        ("person.deleted", '{"person_id": ""}'),
        ("person.deleted", '"4711"'),
    ],
)
def test_payload_that_names_no_person_is_unreadable(event_name: str, payload: str) -> None:
    """The id of an employment is no person's; what cannot be read is set aside whole."""
    body = f'{{"event_name": "{event_name}", "occurred_at": "2026-03-02T09:00:00Z", "payload": {payload}}}'.encode()

    with pytest.raises(Unreadable):
        personio.read(Notice("POST", "", {}, body), TOKEN, AT)
