"""One stage for all stories; each test has persons of its own, so that none disturbs another in any order."""

from collections.abc import Iterator

import pytest

from tests.flow.stage import Somebody, Stage


@pytest.fixture(scope="session")
def one_stage() -> Iterator[Stage]:
    """Give the stage to fixtures that live longer than a test."""
    stage = Stage()
    try:
        yield stage.start()
    finally:
        stage.close()


@pytest.fixture
def stage(one_stage: Stage) -> Iterator[Stage]:
    """Give a stage on which all is well, and heal it afterwards."""
    yield one_stage
    one_stage.heal()


@pytest.fixture
def bo() -> Somebody:
    """Give somebody whom no other test knows."""
    return Somebody()
