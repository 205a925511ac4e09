"""Pace: many steps are few large ones, and one that found nothing keeps nobody waiting."""

import asyncio

import pytest

from workers.outbox.pace import Pace

LONG = 60.0


async def test_first_step_is_at_once_and_the_second_a_moment_later() -> None:
    """What comes meanwhile is taken together."""
    pace = Pace(LONG)
    await asyncio.wait_for(pace.wait(), 1)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pace.wait(), 0.05)


async def test_step_that_found_nothing_keeps_the_next_from_nothing() -> None:
    """A signal that comes right after somebody else's delivery ended goes as soon as one that comes alone."""
    pace = Pace(LONG)
    await pace.wait()

    pace.shorten()

    await asyncio.wait_for(pace.wait(), 1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pace.wait(), 0.05)
