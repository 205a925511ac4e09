"""Encounters whose every request is held to the referee when the test is over."""

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from tests.checklist.encounter import Encounter, Meet
from tests.workers.fake_scim import Quirk, Said
from tests.workers.stories import referee


@pytest.fixture
def meet(redis: Redis) -> Iterator[Meet]:
    """Make an encounter: ``meet(Quirk.NO_CONTENT, profile={...})``; what is sent in it has to pass the referee."""
    said: list[Said] = []

    def make(*quirks: Quirk, **more: Any) -> Encounter:  # noqa: ANN401 - an encounter's fields
        found = Encounter(redis, frozenset(quirks), **more)
        found.said = Record(said)
        return found

    yield make
    referee(said)


class Record(list[Said]):
    """What was said in one attempt, which is kept for the referee too."""

    def __init__(self, every: list[Said]) -> None:
        """Keep where all is kept."""
        super().__init__()
        self._every = every

    def append(self, said: Said) -> None:
        """Keep it twice."""
        super().append(said)
        self._every.append(said)
