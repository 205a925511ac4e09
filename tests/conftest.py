"""Fixtures for all tests: a real Redis of their own, configurations, the receiver in this process and as a process."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from redis import Redis
from starlette.applications import Starlette

from lifecycle.config import Config, parse
from service.app import create_app
from tests.notices import OLD_SECRETS, SECRETS
from tests.redis_server import RedisServer, place

ADMIN_TOKEN = "admin-token-of-the-tests"
SUBSCRIBER_SECRET = "whsec_" + "c3Vic2NyaWJlci1zZWNyZXQtb2YtdGhlLXRlc3Rz"
ENVIRONMENT = {
    "OKTA_HOOK_SECRET": SECRETS["okta"],
    "OKTA_HOOK_SECRET_OLD": OLD_SECRETS["okta"],
    "HRIS_WHSEC": SECRETS["standard_webhooks"],
    "HRIS_WHSEC_OLD": OLD_SECRETS["standard_webhooks"],
    "GATEPOST_ADMIN_TOKEN": ADMIN_TOKEN,
    "CRM_SCIM_TOKEN": "scim-token-of-the-tests",
    "SIEM_WHSEC": SUBSCRIBER_SECRET,
}
ROOT = Path(__file__).parent.parent
START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 30

RawConfig = Callable[..., dict[str, Any]]
MakeConfig = Callable[..., Config]


class Served(NamedTuple):
    """A receiver that runs as a process: where it listens, the process, and where it writes its log."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path


Serve = Callable[..., Served]


@pytest.fixture(scope="session")
def _one_redis() -> Iterator[RedisServer]:
    with place() as folder:
        server = RedisServer(Path(folder)).start()
        yield server
        server.kill()


@pytest.fixture
def redis_server(_one_redis: RedisServer) -> Iterator[RedisServer]:
    """Give an empty, running server; a test may ``kill()`` and ``start()`` it as it likes."""
    with Redis.from_url(_one_redis.start().url) as redis:
        redis.flushall()
    yield _one_redis
    _one_redis.start()


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Redis]:
    """Give a client of an empty Redis; answers are bytes, as in the programs."""
    with Redis.from_url(redis_server.url) as client:
        yield client


@pytest.fixture
def raw_config(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> RawConfig:
    """Make what ``gatepost.toml`` would hold; ``raw_config(targets={...})`` replaces sections of a small default."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    def make(**sections: Any) -> dict[str, Any]:  # noqa: ANN401 - TOML
        default = {
            "redis": {"url": redis_server.url},
            "service": {"admin_tokens": ["env:GATEPOST_ADMIN_TOKEN"]},
            "sources": {
                "okta": {"adapter": "okta", "secrets": ["env:OKTA_HOOK_SECRET"]},
                "hris": {"adapter": "standard_webhooks", "secrets": ["env:HRIS_WHSEC", "env:HRIS_WHSEC_OLD"]},
            },
        }
        return default | sections

    return make


@pytest.fixture
def config(raw_config: RawConfig, tmp_path: Path) -> MakeConfig:
    """Make a checked configuration: ``config(service={"max_body_bytes": 2048})``."""
    return lambda **sections: parse(raw_config(**sections), tmp_path)


@pytest.fixture
def app(config: MakeConfig) -> Starlette:
    """Give the receiver of the default configuration."""
    return create_app(config())


@pytest.fixture
async def client(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of ``app``. A fault that nobody foresaw is raised into the test."""
    async with open_client(app) as opened:
        yield opened


class open_client:  # noqa: N801 - used like a function
    """Open a client of a receiver in this process; ASGITransport does not run the lifespan, so it is entered here."""

    def __init__(self, app: Starlette, *, raise_faults: bool = True) -> None:
        """Keep what is opened later."""
        self._lifespan = app.router.lifespan_context(app)
        transport = httpx.ASGITransport(app, raise_app_exceptions=raise_faults)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://gatepost.test")

    async def __aenter__(self) -> httpx.AsyncClient:
        """Start the receiver."""
        await self._lifespan.__aenter__()
        return self._client

    async def __aexit__(self, *error: object) -> None:
        """Stop it."""
        await self._client.aclose()
        await self._lifespan.__aexit__(None, None, None)


@pytest.fixture
def admin() -> dict[str, str]:
    """Give the header that opens ``/v1``."""
    return {"authorization": f"Bearer {ADMIN_TOKEN}"}


@pytest.fixture
def config_file(raw_config: RawConfig, tmp_path: Path) -> Callable[..., Path]:
    """Write a configuration as ``gatepost.toml`` and return where."""

    def write(**sections: Any) -> Path:  # noqa: ANN401 - TOML
        path = tmp_path / "gatepost.toml"
        path.write_text("".join(f"{name} = {_toml(value)}\n" for name, value in raw_config(**sections).items()))
        return path

    return write


@pytest.fixture
def serve(config_file: Callable[..., Path], tmp_path: Path) -> Iterator[Serve]:
    """Run the receiver as ``python -m service`` on a free port of this machine: ``serve().url``."""
    with ExitStack() as stack:

        def run(**sections: Any) -> Served:  # noqa: ANN401 - TOML
            port = free_port()
            command = [sys.executable, "-m", "service", "--config", str(config_file(**sections)), "--port", str(port)]
            log = stack.enter_context((tmp_path / f"service-{port}.log").open("wb"))
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603 - our own
            stack.callback(_stop, process)
            served = Served(f"http://127.0.0.1:{port}", process, Path(log.name))
            _await(served)
            return served

        yield run


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _await(served: Served) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and served.process.poll() is None:
        try:
            httpx.get(f"{served.url}/health/live").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError(served.log.read_text())


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS_MAX)
    finally:
        process.kill()
        process.wait()


def _toml(value: Any) -> str:  # noqa: ANN401 - TOML
    """Write a value in one line; JSON's texts and numbers are TOML's too."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {_toml(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)
