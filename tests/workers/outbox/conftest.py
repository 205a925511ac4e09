"""A post office for the tests: the lane of signals in this process, step by step, with real Redis and receivers."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from lifecycle import keys, outbox
from lifecycle.config import Config
from lifecycle.queue import connect
from lifecycle.records import Records
from lifecycle.signal import Signal, make_signal
from tests.conftest import MakeConfig
from tests.workers.receiver import Receiver
from workers.outbox.fan_out import FanOut
from workers.outbox.known import Known
from workers.outbox.lane import open_redis
from workers.outbox.post import ON_THEIR_WAY_MAX, Post
from workers.subscribers import FORMATS
from workers.subscribers.carrier import Carrier

OLD_SECRET = "whsec_b2xkLXNlY3JldC1vZi1hLXN1YnNjcmliZXItISE="
DATA = {"person": {"external_id": "E1042", "user_name": "bo ø 界"}, "latency_ms": 412}


def signal(
    name: str = "1",
    *,
    person: str = "E1042",
    type_: str = "person.suspended",
    **data: Any,  # noqa: ANN401 - JSON
) -> Signal:
    """Make a signal of an event of this name."""
    at = datetime.now(UTC)
    return make_signal(type_, person=person, event=f"hris:{name}", target="crm", data=DATA | data, at=at)


def ids(receiver: Receiver) -> list[str]:
    """Return the ids of what came, in order."""
    return [taken.headers["webhook-id"] for taken in receiver.taken]


@dataclass
class Office:
    """One process of the lane."""

    config: Config
    redis: Redis
    wire: AsyncRedis
    known: Known
    fan_out: FanOut
    post: Post
    records: Records

    def keep(self, *signals: Signal) -> None:
        """Keep signals as a settling step does."""
        with self.redis.pipeline() as pipe:
            for each in signals:
                outbox.keep(pipe, each)
            pipe.execute()

    async def spread(self) -> int:
        """Fan out what was kept."""
        return await self.fan_out.step(await self.fan_out.entries())

    async def send(self) -> int:
        """Send what is due, once."""
        await self.known.refresh_if_old()
        number = await self.post.step()
        await self.post.settle()
        return number

    async def tell(self, *signals: Signal) -> None:
        """Keep signals, and make one attempt at all that is due."""
        self.keep(*signals)
        await self.spread()
        await self.send()

    def make_due(self, name: str = "siem") -> None:
        """Let the time pass that a subscriber's lines wait for, and its circuit."""
        found: Any = self.redis.zrange(keys.lines(name), 0, -1)
        for line in found:
            self.redis.zadd(keys.lines(name), {line: 1})
        self.redis.hdel(keys.subscriber(name), "open_until", "rest_until", "next_at")

    async def again(self, name: str = "siem") -> int:
        """Make the next attempt that is due one day."""
        self.make_due(name)
        return await self.send()

    def delivery(self, told: Signal, name: str = "siem") -> dict[str, Any]:
        """Return where a delivery stands, with its attempts."""
        found = self.records.signal(told.id)["deliveries"]
        return next(dict(each) for each in found if each["subscriber"] == name)

    def due_at(self, told: Signal, name: str = "siem") -> datetime:
        """Return when the next attempt at a person's first signal is due."""
        score: Any = self.redis.zscore(keys.lines(name), told.person or told.id)
        return datetime.fromtimestamp(score / 1000, UTC)

    def failures(self) -> list[str]:
        """Return what waits for a person."""
        return [failure["id"] for failure in self.records.failures().items]

    def counted(self, result: str, name: str = "siem") -> int:
        """Return how often this came of an attempt, by the metrics."""
        found: Any = self.redis.hget(keys.METRICS, json.dumps(["gatepost_signals", name, result]))
        return int(found or 0)


Open = Callable[..., Awaitable[Office]]


@pytest.fixture
async def office(redis: Redis, config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Open]:
    """Open offices: for one subscriber by its URL, for more by their sections."""
    monkeypatch.setenv("SIEM_WHSEC_OLD", OLD_SECRET)
    async with AsyncExitStack() as stack:

        async def open_(url: str | None = None, **subscribers: Any) -> Office:  # noqa: ANN401 - configuration
            default = {"secrets": ["env:SIEM_WHSEC"], "allow_private": True}
            sections = {name: default | section for name, section in subscribers.items()}
            if url is not None:
                sections = {"siem": default | {"url": url}}
            found = config(subscribers=sections)
            wire, patient = open_redis(found), connect(found.redis.url, patient=True)
            stack.push_async_callback(wire.aclose)
            stack.callback(patient.close)
            known = Known(found, wire, patient)
            await known.refresh()
            carriers = partial(Carrier, ports=frozenset({443}), connections_max=ON_THEIR_WAY_MAX)
            post = Post(wire, known, FORMATS, carriers)
            stack.push_async_callback(stop, post)
            return Office(found, redis, wire, known, FanOut(wire, known, post.wake), post, Records(redis, found))

        yield open_


async def stop(post: Post) -> None:
    """End a post whose loop may never have run."""
    stopping = asyncio.Event()
    stopping.set()
    await post.run(stopping)
