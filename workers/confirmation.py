"""How long, and how often, it is looked whether a target shows a leaver as inactive. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from lifecycle.settlement import Kept

# At first every few seconds, and later after a quarter of the time that it took so far.
LOOK_SECONDS_MIN, LOOK_SECONDS_MAX, LOOK_SHARE = 2.0, 30.0, 0.25


class Look(NamedTuple):
    """When it is looked next, and until when there is hope."""

    at: datetime
    confirm_by: datetime


def next_look(live: Sequence[Kept], target: str, within: timedelta, now: datetime) -> Look | None:
    """Return the next look at a suspension that a target took and does not show; None when its time is over.

    The time is counted from the first attempt that could not be confirmed; a repeat of the leaver prolongs nothing.
    """
    confirm_by = min(_told(live, target), default=now + within)
    if now >= confirm_by:
        return None
    took = (now - (confirm_by - within)).total_seconds()
    wait = min(max(took * LOOK_SHARE, LOOK_SECONDS_MIN), LOOK_SECONDS_MAX)
    return Look(min(now + timedelta(seconds=wait), confirm_by), confirm_by)


def _told(live: Sequence[Kept], target: str) -> list[datetime]:
    deliveries = [kept.deliveries[target] for kept in live if target in kept.deliveries]
    return [datetime.fromisoformat(each.confirm_by) for each in deliveries if each.confirm_by]
