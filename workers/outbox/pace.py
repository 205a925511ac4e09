"""How often the lane goes to Redis: at once when little is to be done, and in few large steps when much is.

Redis does one thing at a time and writes it to disk before it answers. Many small steps of ours would hold up whoever
settles an event at each of its own.
"""

import asyncio
import time

STEP_SECONDS, EMPTY_SECONDS = 0.02, 0.005


class Pace:
    """Steps of one kind, each at least a moment after the last."""

    def __init__(self, seconds: float = STEP_SECONDS) -> None:
        """Let the first one be at once."""
        self._seconds = seconds
        self._next_at = 0.0

    async def wait(self) -> None:
        """Return when the next step may be made."""
        if (wait := self._next_at - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        self._next_at = time.monotonic() + self._seconds

    def shorten(self) -> None:
        """Let the next step be soon, for the last found nothing to do: what comes now shall not wait for it."""
        self._next_at = min(self._next_at, time.monotonic() + EMPTY_SECONDS)
