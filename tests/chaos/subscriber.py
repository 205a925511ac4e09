"""A subscriber that refuses some signals at their first attempt, and records every delivery as it came."""

import random
import threading
from typing import NamedTuple

from tests.flow.security_tool import SecurityTool

REFUSED = 0.1


class Delivered(NamedTuple):
    """One delivery: the signal's id, and its body byte for byte."""

    id: str
    body: bytes


class Tool(SecurityTool):
    """The tool; ``is_calm`` ends the refusals."""

    def __init__(self, secret: str, seed: int) -> None:
        """Draw by a seed."""
        self.is_calm = False
        self.deliveries: list[Delivered] = []
        self._refused: set[str] = set()
        self._chance = random.Random(seed)  # noqa: S311 - the same refusals at every run of a seed
        self._drawing = threading.Lock()
        super().__init__(secret)

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """Refuse, or verify and record; return the status to answer."""
        with self._drawing:
            signal = headers["webhook-id"]
            if not self.is_calm and signal not in self._refused and self._chance.random() < REFUSED:
                self._refused.add(signal)
                return 500
            status = super().take(headers, body)
            self.deliveries.append(Delivered(signal, body))
        return status
