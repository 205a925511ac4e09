"""Fixtures for the operators' API: a receiver with one subscriber in its file."""

from collections.abc import AsyncIterator

import httpx
import pytest
from redis import Redis

from lifecycle.config import Config
from service.app import create_app
from tests.conftest import MakeConfig, open_client
from tests.seed import SALT
from tests.service.api.subscribing import SIEM


@pytest.fixture
def found(config: MakeConfig, redis: Redis) -> Config:
    """Give a configuration with one subscriber in the file, and a target."""
    redis.set("gatepost:vault-salt", SALT)
    crm = {"adapter": "scim", "base_url": "http://127.0.0.1:9/scim/v2", "token": "env:CRM_SCIM_TOKEN"}
    return config(subscribers={"siem": SIEM}, targets={"crm": crm})


@pytest.fixture
async def ask(found: Config, admin: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client that has the token."""
    async with open_client(create_app(found)) as client:
        client.headers.update(admin)
        yield client
