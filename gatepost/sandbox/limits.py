"""The rate limit of one OAuth client: a fixed window of a minute, told on every answer.

``inin-ratelimit-count``, ``-allowed`` and ``-reset`` (seconds): the logged example in the readme of the vendor's SDK.
"""

import math
from dataclasses import dataclass

WINDOW_SECONDS = 60.0


@dataclass
class Window:
    """Counts requests; a window opens with the first request after the last one closed."""

    allowed: int
    count: int = 0
    closes_at: float = -math.inf

    def take(self, now: float) -> bool:
        """Count one request; False when there is none left in this minute."""
        if now >= self.closes_at:
            self.count, self.closes_at = 0, now + WINDOW_SECONDS
        if self.count >= self.allowed:
            return False
        self.count += 1
        return True

    def reset_seconds(self, now: float) -> int:
        """Return the whole seconds until the window closes."""
        return max(math.ceil(self.closes_at - now), 0) if math.isfinite(self.closes_at) else 0

    def headers(self, now: float) -> dict[str, str]:
        """Return what every answer says."""
        return {
            "inin-ratelimit-count": str(self.count),
            "inin-ratelimit-allowed": str(self.allowed),
            "inin-ratelimit-reset": str(self.reset_seconds(now)),
        }
