"""What a format of signals is, and what carries its letters.

A format is a module with these functions; it holds no state. A letter is made anew for each attempt.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

from lifecycle.config import Config
from lifecycle.signal import Told
from lifecycle.subscriber import Subscriber


class Letter(NamedTuple):
    """What is sent in one attempt, without the subscriber's own headers."""

    headers: Mapping[str, str]
    body: bytes


class Reply(NamedTuple):
    """What a subscriber answered: header names in lower case, and the first bytes of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


class Verdict(StrEnum):
    """What an answer means for the delivery."""

    TAKEN = "taken"
    AGAIN = "again"
    """To be tried again by the schedule."""
    NEVER = "never"
    """It will not be taken however often it is sent."""


class Format(Protocol):
    """A way to tell."""

    def letter(self, config: Config, signal: Told, item: str, subscriber: Subscriber, now: datetime) -> Letter:
        """Return what is sent for an item of a signal at this moment."""

    def verdict(self, reply: Reply) -> tuple[Verdict, str]:
        """Return what an answer means, and the reason where it was not taken."""


class Carrier(Protocol):
    """What brings letters to one subscriber, by connections that are its alone."""

    async def post(self, letter: Letter) -> Reply:
        """Send one letter to the subscriber's URL and return its answer.

        Raises Refused for an address or port that is not allowed, Postponed where there is no answer; nobody waits
        longer than ``ANSWER_SECONDS`` in all.
        """

    async def close(self) -> None:
        """Close the connections."""
