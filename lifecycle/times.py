"""How long something was, in words for people."""

from datetime import timedelta

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
