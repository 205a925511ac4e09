"""``[safety]``: how many changes that take access away may happen in a while, before a human is asked."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field, model_validator

from lifecycle.fields import Duration, Section

WINDOW_MIN, WINDOW_MAX = timedelta(seconds=1), timedelta(days=7)

LEAVERS, DELETIONS, GROUP_REMOVALS = "leavers", "deletions", "group_removals"
LIMITS = (LEAVERS, DELETIONS, GROUP_REMOVALS)
REASONS = {limit: f"too_many_{limit}" for limit in LIMITS}
"""Why an event is held, by the limit that it met."""
LIMIT_OF = {reason: limit for limit, reason in REASONS.items()}
OVERRULED = frozenset(LIMIT_OF)
"""The reasons that a release overrules: of any other hold nobody knows yet whom it is about."""


class Limit(Section):
    """A sliding window: past ``max`` persons, or past this share of those known, changes are held."""

    max: Annotated[int, Field(ge=1)] | None = None
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of the people with access, on one target of the accounts, that are known; one always may."""
    window: Duration = timedelta(minutes=10)

    @model_validator(mode="after")
    def _check(self) -> "Limit":
        if self.max is None and self.share is None:
            msg = "max or share, or both"
            raise ValueError(msg)
        if not WINDOW_MIN <= self.window <= WINDOW_MAX:
            msg = "window: allowed: from 1s to 7d"
            raise ValueError(msg)
        return self


class Safety(Section):
    """The limits of each kind of change; absent is no limit."""

    leavers: Limit | None = None
    deletions: Limit | None = None
    group_removals: Limit | None = None
    """Of people who stay, roles too; who leaves is counted as a leaver."""
    sweep_min_share: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Kept for sweeps: a listing smaller than this share of the last one is refused."""

    def limit(self, name: str) -> Limit | None:
        """Return one of the LIMITS; None for no limit."""
        found: Limit | None = getattr(self, name)
        return found
