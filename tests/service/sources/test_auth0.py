"""Auth0, where it tells of two people or in two ways."""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.errors import Unreadable
from service.sources import auth0
from service.sources.base import Reading
from tests.notices import load, names

ADMINISTRATOR = "google-oauth2|kim.ota"
CALLS = [name for name in names("auth0") if b"kim.ota" in load(name).notice.body]


def read(name: str, body: bytes) -> Reading:
    """Read another body as a fixture's source would."""
    captured = load(name)
    return auth0.read(captured.notice._replace(body=body), captured.setup, captured.at)


def entries(name: str) -> Iterator[dict[str, Any]]:
    """Return the entries of a log stream in JSON lines."""
    yield from map(json.loads, load(name).notice.body.splitlines())


@pytest.mark.parametrize("name", CALLS)
def test_administrator_is_never_the_person(name: str) -> None:
    """Who called the Management API stands in each entry, at its top; it is not about them."""
    events = read(name, load(name).notice.body).events

    assert ADMINISTRATOR not in {event.person for event in events}
    assert not any("kim.ota" in event.to_json() for event in events)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/v2/users/"),
        ("DELETE", "/api/v2/users"),
        ("DELETE", "/api/v2/users/a/b/c"),
        ("DELETE", "/api/v2/users-by-email/a"),
        ("DELETE", "/api/v3/users/a"),
        ("DELETE", "/x/api/v2/users/a"),
        ("GET", "/api/v2/users/a"),
        ("PUT", "/api/v2/users/a"),
        ("PATCH", "/api/v2/users/a/identities"),
    ],
)
def test_call_that_concerns_no_single_user_is_nobodys_event(method: str, path: str) -> None:
    """Least of all one that deletes everybody."""
    (found,) = entries("auth0/user_deleted")
    found["data"]["details"]["request"] |= {"method": method, "path": path}

    assert read("auth0/user_deleted", json.dumps(found).encode()) == Reading((), ("sapi",))


@pytest.mark.parametrize("blocked", ["true", 1, None, [], {}])
def test_block_that_is_no_boolean_is_a_mere_update(blocked: object) -> None:
    """Nobody leaves by a value that Auth0 does not have."""
    (found,) = entries("auth0/user_blocked")
    found["data"]["details"]["request"]["body"] = {"blocked": blocked}

    (event,) = read("auth0/user_blocked", json.dumps(found).encode()).events

    assert event.vendor_kind == "sapi:update_user"


@pytest.mark.parametrize("word", ["sapi:block_user", "user.updated:blocked", "user.deleted", "ss:blocked"])
def test_our_own_words_and_those_of_the_other_stream_are_ignored_in_a_log(word: str) -> None:
    """A word that we made, or one of an event stream, is no code of a log."""
    (found,) = entries("auth0/user_signed_up")
    found["data"]["type"] = word

    assert read("auth0/user_signed_up", json.dumps(found).encode()) == Reading((), (word,))


@pytest.mark.parametrize("word", ["sapi", "ss", "sdu", "user.updated:blocked", "user.created:blocked:blocked"])
def test_our_own_words_and_those_of_a_log_are_ignored_in_an_event_stream(word: str) -> None:
    """And the other way round."""
    found = json.loads(load("auth0_events/user_blocked").notice.body) | {"type": word}

    assert read("auth0_events/user_blocked", json.dumps(found).encode()) == Reading((), (word,))


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_any_change_of_lines_gives_events_or_unreadable(data: st.DataObject) -> None:
    """A line that is cut, doubled or overwritten fails alone, and by no other error."""
    name = data.draw(st.sampled_from([name for name in names("auth0") if b"\n" in load(name).notice.body]))
    body = load(name).notice.body
    at = data.draw(st.integers(0, len(body)))
    junk = data.draw(st.binary(max_size=20))

    with suppress(Unreadable):
        reading = read(name, body[:at] + junk + body[data.draw(st.integers(at, len(body))) :])
        assert all(event.id and event.person for event in reading.events)
