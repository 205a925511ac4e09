"""Waiting for what has to become true, never for a time to pass."""

import time
from collections.abc import Callable
from typing import TypeVar

SECONDS_MAX = 30.0
POLL_SECONDS = 0.02

T = TypeVar("T")


def eventually(ask: Callable[[], T], *, within: float = SECONDS_MAX, every: float = POLL_SECONDS) -> T:
    """Ask until the answer is a true one and return it; a failure shows what was found last."""
    deadline = time.monotonic() + within
    while not (found := ask()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not so in {within:.0f} s; found {found!r}")
        time.sleep(every)
    return found
