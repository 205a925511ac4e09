"""Moments that people write, and how long something was, in words for them."""

from datetime import datetime, timedelta

from lifecycle.errors import Malformed

UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


def span(length: timedelta) -> str:
    """Return a length in the largest unit of which there is a whole one, as in ``3 minutes``."""
    seconds = max(0, int(length.total_seconds()))
    unit, size = next(((unit, size) for unit, size in UNITS if seconds >= size), UNITS[-1])
    number = seconds // size
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def ago(length: timedelta) -> str:
    """Return how long ago something was, as in ``3 minutes ago``."""
    return f"{span(length)} ago"


def moment_of(text: str) -> datetime:
    """Read a moment with its zone (RFC 3339). Raises Malformed."""
    words = "a moment has a date, a time and a zone, as in 2026-03-02T09:00:00Z; in a URL a + is written %2B"
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise Malformed(words, reason="moment_malformed") from error
    if found.tzinfo is None:
        raise Malformed(words, reason="moment_malformed")
    return found
