"""What the lane remembers: a few signals, read by several at once."""

import asyncio

from redis import Redis

from lifecycle import outbox
from lifecycle.queue import connect
from tests.conftest import MakeConfig
from tests.workers.outbox.conftest import signal
from workers.outbox.known import Known
from workers.outbox.lane import open_redis

TIMES = 20


async def test_signal_that_is_kept_is_found_though_others_push_it_out_of_memory(
    redis: Redis, config: MakeConfig
) -> None:
    """Who fans out reads many signals while who sends reads a few: one that seems gone would be given up for good."""
    found, ones = config(), [signal(str(number)) for number in range(6)]
    with redis.pipeline() as pipe:
        for each in ones:
            outbox.keep(pipe, each)
        pipe.execute()
    first, second, *others = (each.id for each in ones)

    async with open_redis(found) as wire:
        for _ in range(TIMES):
            known = Known(found, wire, connect(found.redis.url, patient=True), signals_max=1)
            await known.signals([first])
            many, few = await asyncio.gather(known.signals(others), known.signals([first, second]))

            assert set(few) == {first, second}
            assert set(many) == set(others)
