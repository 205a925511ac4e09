"""The source's time: what can be, counts; what lies far ahead is a wrong clock, and our own counts."""

from datetime import timedelta

import pytest

from service.sources.documents import AHEAD_MAX, source_time
from service.sources.proofs import decimal_time
from tests.notices import AT


@pytest.mark.parametrize(
    ("ahead", "counts"),
    [
        (timedelta(days=-3), timedelta(days=-3)),
        (AHEAD_MAX, AHEAD_MAX),
        (AHEAD_MAX + timedelta(seconds=1), timedelta()),
        (timedelta(hours=5, minutes=45), timedelta()),
    ],
    ids=["of the past", "clocks apart", "too far", "local time sent as UTC"],
)
def test_wrong_clock_outranks_nobody(ahead: timedelta, counts: timedelta) -> None:
    """A joiner of tomorrow would leave the leaver of today without effect."""
    assert source_time(AT + ahead, AT) == AT + counts


@pytest.mark.parametrize("stamp", ["", "soon", "0", "01772442005", "-1772442005", "1772442005.0", "\u0661", "9" * 15])
def test_stamp_that_is_no_plain_number_is_no_time(stamp: str) -> None:
    """One with a nought in front may have taken it from what was signed before it."""
    assert decimal_time(stamp) is None


def test_stamp_is_seconds_or_milliseconds() -> None:
    """As whoever reads it says."""
    assert decimal_time("1772442005") == decimal_time("1772442005000", milliseconds=True) == AT
