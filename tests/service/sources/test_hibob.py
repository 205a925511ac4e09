"""What HiBob does that other sources do not: a test that needs no proof."""

import pytest

from lifecycle.errors import Unauthentic, Unreadable
from service.sources import hibob
from service.sources.base import Notice
from tests.notices import AT, setup_of

SETUP = setup_of("hibob")


@pytest.mark.parametrize(
    "body",
    [
        b'{"text": "Ping test", "type": "employee.left", "data": {"employeeId": "1"}}',
        b'{"type": "employee.left", "text": "Ping test"}',
        b'["Ping test"]',
        b"Ping test" + b" " * 100,
        b"Ping",
        b"ping test",
        b"",
    ],
)
def test_what_only_looks_like_the_test_needs_a_proof(body: bytes) -> None:
    """An unsigned notice is never taken in the shape of a test."""
    notice = Notice("POST", "", {"content-type": "application/json"}, body)

    assert hibob.greet(notice, SETUP, AT) is None
    with pytest.raises(Unauthentic):
        hibob.verify(notice, SETUP, AT)


@pytest.mark.parametrize(
    "body",
    [
        b'{"type": "employee.left", "data": {"employeeId": "1"}}',
        b'{"type": "employee.left", "triggeredAt": "2026-03-02T09:00:00", "data": {}}',
        b'{"type": "employee.left", "triggeredAt": "2026-03-02T09:00:00"}',
        b'{"type": "employee.left", "triggeredAt": "0001-01-01T00:00:00+14:00", "data": {"employeeId": "1"}}',
    ],
)
def test_notice_without_time_or_person_is_unreadable(body: bytes) -> None:
    """It is authentic, so it is set aside whole until the reader can."""
    with pytest.raises(Unreadable):
        hibob.read(Notice("POST", "", {}, body), SETUP, AT)
