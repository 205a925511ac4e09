"""Every captured notice and handshake of every source through the receiver: the ack is the source's own."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import httpx
import pytest

from service.app import create_app
from service.sources import SOURCES
from service.sources.base import Assurance, Notice
from tests.conftest import MakeConfig, open_client
from tests.issuers import AllSources, all_sources
from tests.notices import Captured, described, load, names
from tests.redis_server import RedisServer

FINAL_FOR_VENDORS = range(400, 500)


@pytest.fixture
def every_source(monkeypatch: pytest.MonkeyPatch) -> Iterator[AllSources]:
    """Configure every source of the fixtures, each with both of its secrets."""
    with all_sources() as found:
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        yield found


@pytest.fixture
async def client(every_source: AllSources, config: MakeConfig) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of a receiver that hears all of them, and has their keys."""
    app = create_app(config(sources=every_source.sections))
    async with open_client(app) as opened:
        yield opened


async def test_every_notice_is_acked_as_its_vendor_wants(client: httpx.AsyncClient) -> None:
    """Signed by the vendor's way a moment ago: the status, and no body where it reads none."""
    answers = {name: await send(client, *fresh(load(name))) for name in names() if not is_greeting(name)}

    acks = {name: {"status": answer.status_code, "body": bool(answer.content)} for name, answer in answers.items()}
    assert acks == {name: described(load(name).folder)["ack"] for name in acks}


async def test_every_handshake_is_answered_by_the_receiver(client: httpx.AsyncClient) -> None:
    """By the very status, type, body and headers of its fixture."""
    for name in filter(is_greeting, names()):
        captured = load(name)
        expected = captured.expected["greeting"]

        # A token that comes with a handshake has its time.
        folder, notice = fresh(captured) if "jwks" in described(captured.folder) else (captured.folder, captured.notice)
        answer = await send(client, folder, notice)

        assert answer.status_code == expected["status"], name
        body = answer.json() if isinstance(expected["body"], dict) else answer.text
        assert body == expected["body"], name
        headers = {header.lower(): value for header, value in expected.get("headers", {}).items()}
        assert headers.items() <= dict(answer.headers).items(), name


async def test_forged_notice_is_a_4xx_and_our_own_trouble_is_not(
    client: httpx.AsyncClient, redis_server: RedisServer
) -> None:
    """A wrong proof is the sender's; while Redis is away each source hears 503, for a 4xx is final to some vendors."""
    of_each = {load(name).folder: load(name) for name in names() if not is_greeting(name) and carries(load(name))}
    forged = {
        folder: (await send(client, folder, Notice("POST", "", {}, b"{}"))).status_code
        for folder, captured in of_each.items()
        if SOURCES[captured.adapter].assurance(captured.setup) is not Assurance.NONE
    }
    redis_server.kill()
    trouble = {folder: (await send(client, *fresh(captured))).status_code for folder, captured in of_each.items()}

    assert {folder: status for folder, status in forged.items() if status not in FINAL_FOR_VENDORS} == {}
    assert set(trouble.values()) == {503}


def is_greeting(name: str) -> bool:
    """Tell whether a fixture is a handshake."""
    return "greeting" in load(name).expected


def carries(captured: Captured) -> bool:
    """Tell whether a fixture has events to keep."""
    return bool(captured.expected["events"])


def fresh(captured: Captured) -> tuple[str, Notice]:
    """Return a notice as the vendor would send it now, and to which source."""
    return captured.folder, SOURCES[captured.adapter].sign(captured.notice, captured.setup, datetime.now(UTC))


async def send(client: httpx.AsyncClient, source: str, notice: Notice) -> httpx.Response:
    """Send a notice as it is."""
    headers = {name: value for name, value in notice.headers.items() if name not in {"host", "content-length"}}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    query = f"?{notice.query}" if notice.query else ""
    return await client.request(notice.method, f"/hooks/{source}{query}", content=notice.body, headers=raw)
