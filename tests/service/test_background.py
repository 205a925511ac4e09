"""How what runs beside the notices ends."""

import asyncio

from service.background import end


async def test_task_that_swallows_a_cancellation_ends_all_the_same() -> None:
    """As one does that hears from Redis in the very moment in which it is cancelled."""
    swallowed: list[BaseException] = []

    async def run_on() -> None:
        while len(swallowed) < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError as error:
                swallowed.append(error)
        await asyncio.Event().wait()

    async def ended() -> None:
        """Have ended before."""

    tasks = [asyncio.create_task(run_on()), asyncio.create_task(ended())]
    await asyncio.sleep(0)

    async with asyncio.timeout(10):
        await end(tasks)

    assert [task.cancelled() for task in tasks] == [True, False]
    assert len(swallowed) == 3
