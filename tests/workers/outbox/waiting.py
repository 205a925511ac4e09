"""Subscribers that take as long as a test likes: what carries letters to them waits until it is let go."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from lifecycle.subscriber import Subscriber
from workers.subscribers.base import Letter, Reply


@dataclass
class Waiting:
    """Opens carriers; those to a URL in ``slow`` answer when ``go`` is set, the others at once."""

    slow: set[str] = field(default_factory=set)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    taken: list[tuple[str, str]] = field(default_factory=list)
    """URL and webhook-id of each letter, in the order in which they were sent."""
    now: Counter[str] = field(default_factory=Counter)
    """How many letters wait for an answer, by URL."""
    closed: list[str] = field(default_factory=list)

    def __call__(self, subscriber: Subscriber) -> "Way":
        """Open a carrier."""
        return Way(self, subscriber.url)


@dataclass
class Way:
    """A carrier to one subscriber."""

    all: Waiting
    url: str

    async def post(self, letter: Letter) -> Reply:
        """Take a letter; answer in good time."""
        self.all.taken.append((self.url, letter.headers["webhook-id"]))
        self.all.now[self.url] += 1
        if self.url in self.all.slow:
            await self.all.go.wait()
        self.all.now[self.url] -= 1
        return Reply(204, {}, b"", 0.0)

    async def close(self) -> None:
        """Say that it was closed."""
        self.all.closed.append(self.url)
