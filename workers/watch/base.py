"""What a task of the watch is made of: it is done in turns, each of few steps, and says after each how it stands."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from lifecycle.watching import Watch
from workers.watch.lease import Lease

# After a failure the next turn comes after so long, doubled each time.
RETRY_SECONDS, RETRY_SECONDS_MAX, DOUBLINGS_MAX = 5.0, 300.0, 6
# Turns of many sources, and of many fleets at one vendor, shall not come together.
JITTER_SHARE = 0.1


@dataclass(frozen=True)
class Turn:
    """What a task is given for one turn."""

    lease: Lease
    keep: Callable[[Watch], None]
    """Writes how the task stands while the lease is held. Raises LeaseLost."""
    clock: Callable[[], float]
    """The time, in seconds since the epoch."""


class Task(Protocol):
    """One thing that is done again and again for one source."""

    @property
    def name(self) -> str:
        """Its name in ``gatepost check``."""

    @property
    def every(self) -> timedelta:
        """How often it is done while all is well."""

    def is_called(self) -> bool:
        """Tell whether the source said something that it is to be done for now."""

    def is_blind(self, watch: Watch, now: float) -> bool:
        """Tell whether something may happen unseen while it cannot be done."""

    def run(self, watch: Watch, turn: Turn) -> Watch:
        """Do as much as one turn may, and return how it stands. Raises GatepostError for what could not be done."""


def next_at(now: float, every: timedelta) -> float:
    """Return when a task that went well is done again."""
    return now + every.total_seconds() * random.uniform(1 - JITTER_SHARE, 1)  # noqa: S311 - jitter, not a secret


def retry_at(now: float, tries: int) -> float:
    """Return when a task that failed so often is tried again."""
    longest = min(RETRY_SECONDS * 2 ** min(tries, DOUBLINGS_MAX), RETRY_SECONDS_MAX)
    return now + float(longest) * random.uniform(0.5, 1)  # noqa: S311 - jitter, not a secret
