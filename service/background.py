"""What runs beside the notices, and how it ends."""

import asyncio
from collections.abc import Collection

CANCEL_SECONDS = 0.1


async def end(tasks: Collection["asyncio.Task[None]"]) -> None:
    """Cancel tasks until each has ended.

    Once may not be enough: ``wait_for`` of Python 3.11, in which redis-py waits, swallows a cancellation that comes in
    the same moment as the answer (python/cpython#86296), and a task that runs for ever would then run on.
    """
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=CANCEL_SECONDS)
