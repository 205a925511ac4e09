"""``python -m bench.strict --port N --limit N``: the target of ``bench.scim`` that answers 429 past its limit.

A sliding window, the strictest way to count: every request, refused ones too, counts for a minute from its arrival.
``GET /count`` tells when each came, in seconds since the epoch, and how many were refused.
"""

import argparse
import time
from collections import deque

import uvloop

from bench.scim import COUNT, Accounts, Answer, serve

WINDOW_SECONDS = 60.0


class Strict(Accounts):
    """Accounts behind a limit."""

    def __init__(self, limit: int, window_seconds: float = WINDOW_SECONDS) -> None:
        """Start with nobody, and with nothing counted."""
        super().__init__()
        self._limit, self._window_seconds = limit, window_seconds
        self._window: deque[float] = deque()
        self._arrivals: list[float] = []
        self._refused = 0

    def answer(self, method: str, target: str, body: bytes) -> Answer:
        """Answer one request, or refuse it."""
        if target == COUNT:
            return 200, {"arrivals": self._arrivals, "refused": self._refused}
        now = time.monotonic()
        while self._window and now - self._window[0] >= self._window_seconds:
            self._window.popleft()
        self._window.append(now)
        self._arrivals.append(time.time())
        if len(self._window) > self._limit:
            self._refused += 1
            return 429, {"status": "429"}
        return super().answer(method, target, body)


def main() -> None:
    """Serve on the port that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m bench.strict", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--limit", type=int, required=True)
    parser.add_argument("--window", type=float, default=WINDOW_SECONDS)
    options = parser.parse_args()
    uvloop.run(serve(options.port, Strict(options.limit, options.window)))


if __name__ == "__main__":
    main()
