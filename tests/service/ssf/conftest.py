"""A transmitter with receivers of every kind, and what lets its signals reach their streams."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from lifecycle import outbox
from lifecycle.config import Config
from lifecycle.signal import Signal
from service.app import create_app
from tests.conftest import MakeConfig, open_client
from tests.redis_server import RedisServer
from tests.service.ssf.receiver import Receiver
from tests.transmitter import ISSUER, pem
from workers.outbox.fan_out import FanOut
from workers.outbox.known import Known

SECRETS = {name: f"{name} secret+% of enough characters" for name in ("siem", "edr", "reader", "apple")}
OLD_SECRET = "the-siems-old-secret-of-enough-characters"
AUDIENCES = {name: f"https://{name}.example/ssf" for name in SECRETS}

Tell = Callable[..., Awaitable[list[Signal]]]
Section = Callable[..., dict[str, Any]]


@pytest.fixture
def section(monkeypatch: pytest.MonkeyPatch) -> Section:
    """Make ``[ssf]``: ``section(issuer, siem={"streams_max": 1})`` changes a receiver, None takes one away."""
    monkeypatch.setenv("SSF_KEY", pem())
    monkeypatch.setenv("SSF_KEY_NEXT", pem("second"))
    monkeypatch.setenv("OLD_SECRET", OLD_SECRET)
    for name, secret in SECRETS.items():
        monkeypatch.setenv(f"SECRET_{name.upper()}", secret)

    def make(issuer: str = ISSUER, **changes: dict[str, Any] | None) -> dict[str, Any]:
        usual: dict[str, dict[str, Any]] = {
            name: {"secrets": [f"env:SECRET_{name.upper()}"], "audience": AUDIENCES[name]} for name in SECRETS
        }
        usual["siem"] |= {"streams_max": 2, "secrets": ["env:SECRET_SIEM", "env:OLD_SECRET"]}
        usual["reader"] |= {"scopes": ["ssf.read"]}
        usual["apple"] |= {"profile": "legacy", "subject": "iss_sub"}
        receivers = {name: each | (changes.get(name) or {}) for name, each in usual.items()}
        kept = {name: each for name, each in receivers.items() if name not in changes or changes[name] is not None}
        return {"issuer": issuer, "signing_keys": ["env:SSF_KEY", "env:SSF_KEY_NEXT"], "receivers": kept}

    return make


@pytest.fixture
def configured(config: MakeConfig, section: Section) -> Config:
    """Give the configuration of the usual transmitter."""
    return config(ssf=section())


@pytest.fixture
async def client(configured: Config) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of the usual transmitter."""
    async with open_client(create_app(configured)) as opened:
        yield opened


@pytest.fixture
async def siem(client: httpx.AsyncClient) -> Receiver:
    """Give a receiver that has found the transmitter and has a token."""
    return await receiver(client, "siem")


@pytest.fixture
async def edr(client: httpx.AsyncClient) -> Receiver:
    """Give another one."""
    return await receiver(client, "edr")


async def receiver(client: httpx.AsyncClient, name: str, issuer: str = ISSUER) -> Receiver:
    """Return a receiver that has found the transmitter and has a token."""
    found = Receiver(client, issuer, name, SECRETS[name], AUDIENCES[name], legacy=name == "apple")
    await found.discover()
    return found


@pytest.fixture
def tell(redis: Redis, redis_server: RedisServer, configured: Config) -> Tell:
    """Tell of signals as the workers do: keep them, and fan out all there are."""

    async def done(*signals: Signal, config: Config = configured) -> list[Signal]:
        with redis.pipeline() as pipe:
            for each in signals:
                outbox.keep(pipe, each)
            pipe.execute()
        async with AsyncRedis.from_url(redis_server.url) as waiting:
            known = Known(config, waiting, redis)
            await known.refresh()
            fan_out = FanOut(waiting, known, lambda: None)
            while entries := await fan_out.entries():
                await fan_out.step(entries)
        return list(signals)

    return done
