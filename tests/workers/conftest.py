"""Fixtures for the workers: a stage on real Redis with servers in memory."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.conftest import MakeConfig
from tests.workers.fake_scim import BASE_URL, FakeScim
from tests.workers.stories import Stage

SUBSCRIBER = {"url": "https://siem.example/hooks", "secrets": ["env:SIEM_WHSEC"]}

MakeStage = Callable[..., Stage]


@pytest.fixture
def fake() -> FakeScim:
    """Give a server that keeps to the book until a test says otherwise."""
    return FakeScim()


@pytest.fixture
def make_stage(redis: Redis, config: MakeConfig) -> MakeStage:
    """Make a stage: ``make_stage(crm=fake, policy={...})``; every server is a target of its name."""

    def make(*, policy: dict[str, Any] | None = None, **fakes: FakeScim) -> Stage:
        section = {"adapter": "scim", "base_url": BASE_URL, "token": "env:CRM_SCIM_TOKEN"}
        found = config(targets=dict.fromkeys(fakes, section), policy=policy or {}, subscribers={"siem": SUBSCRIBER})
        return Stage(redis, found, {name: httpx.MockTransport(each) for name, each in fakes.items()})

    return make


@pytest.fixture
def stage(make_stage: MakeStage, fake: FakeScim) -> Stage:
    """Give a stage with one target, ``crm``."""
    return make_stage(crm=fake)
