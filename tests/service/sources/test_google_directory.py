"""Google's channels beyond the contract of all sources: all but the user is in headers."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from lifecycle.errors import Unreadable
from service.sources import google_directory
from service.sources.base import Notice, Reading
from tests.notices import AT, load

DELETED = load("google_directory/user_deleted")
CHANNEL = DELETED.notice.headers["x-goog-channel-id"]


def read(body: bytes | None = None, **headers: str | None) -> Reading:
    """Return what a notice says in which these headers are changed, or missing."""
    told = {**DELETED.notice.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
    found = {name: value for name, value in told.items() if value is not None}
    notice = Notice("POST", "", found, DELETED.notice.body if body is None else body)
    return google_directory.read(notice, DELETED.setup, AT)


@pytest.mark.parametrize("channel", [None, "", "x" * 65, "a b", "a\nb", "é"])
def test_channel_has_a_name(channel: str | None) -> None:
    """Google gives one back of 64 characters at most, and a word of ours is made of it."""
    with pytest.raises(Unreadable):
        read(x_goog_channel_id=channel)


@pytest.mark.parametrize("number", [None, "", "one", "-1", "9" * 21, "²"])
def test_message_has_a_number(number: str | None) -> None:
    """Without it a repeat could not be told from another change."""
    with pytest.raises(Unreadable):
        read(x_goog_message_number=number)


@pytest.mark.parametrize("state", [None, ""])
def test_notice_without_a_state_is_set_aside(state: str | None) -> None:
    """It is authentic, and nobody knows what it says."""
    with pytest.raises(Unreadable):
        read(x_goog_resource_state=state)


@pytest.mark.parametrize("state", ["Delete", "exists", "trash", "deleted", "not_exists"])
def test_state_of_another_api_is_left_out(state: str) -> None:
    """Drive and Calendar send to such channels as well."""
    assert read(x_goog_resource_state=state).ignored == (state,)


@pytest.mark.parametrize("body", [b"", b" \r\n", b"{}", b'{"id": null}', b'{"id": "", "primaryEmail": ""}'])
def test_change_of_nobody_is_left_out(body: bytes) -> None:
    """Somebody changed, and the notice does not say who."""
    reading = read(body)

    assert (reading.events, reading.ignored) == ((), ("delete of nobody",))


@pytest.mark.parametrize("body", [b"[]", b"null", b"{", b'{"id": {}}', json.dumps({"id": "x" * 257}).encode()])
def test_body_that_is_no_user_is_set_aside(body: bytes) -> None:
    """It is authentic, so it is not thrown away."""
    with pytest.raises(Unreadable):
        read(body)


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        ("Mon, 02 Mar 2026 10:00:05 GMT", "2026-03-02T10:00:05Z"),
        ("Mon, 02 Mar 2026 10:00:06 GMT", None),
        ("Mon, 02 Mar 2026 08:00:00 GMT", "2026-03-02T08:00:00Z"),
        ("Mon, 02 Mar 2026 10:00:00 +0100", "2026-03-02T09:00:00Z"),
        ("Mon, 02 Mar 2026 09:59:59", "2026-03-02T09:59:59Z"),
        ("1772442000000", None),
        ("Mon, 31 Dec 9999 23:59:59 -2359", None),
        ("", None),
        (None, None),
    ],
)
def test_end_of_a_channel_is_told_within_its_last_hour(ends: str | None, told: str | None) -> None:
    """Not with every notice: what is handed on is read now and then, and a hundred words are kept."""
    assert read(x_goog_channel_expiration=ends).upkeep == ((f"channel:{CHANNEL} expires {told}",) if told else ())


def test_same_number_on_another_channel_is_another_event() -> None:
    """While two channels overlap, both tell of the same change, and it is looked at twice."""
    (one,), (other,) = read().events, read(x_goog_channel_id="another").events

    assert one.id != other.id
    assert one.person == other.person


def test_token_is_as_long_as_google_lets_it_be() -> None:
    """256 characters at most."""
    google_directory.check(replace(DELETED.setup, secrets=("x" * 256,)))
    with pytest.raises(ValueError, match="256"):
        google_directory.check(replace(DELETED.setup, secrets=("x" * 257,)))


def test_time_is_ours_as_google_tells_none() -> None:
    """And the kind is only what is claimed: the directory says what is so."""
    later = google_directory.read(DELETED.notice, DELETED.setup, AT + timedelta(hours=1))

    assert [event.occurred_at for event in later.events] == [AT + timedelta(hours=1)]
