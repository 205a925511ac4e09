"""What tests of ``/v1/subscribers`` ask for and look at."""

import base64
from datetime import datetime
from typing import Any

import httpx
from redis import Redis

from lifecycle.config import Config
from lifecycle.roster import roster

URL = "https://soar.example/hook"
OWN = "whsec_" + base64.b64encode(b"a secret of the receiver's own").decode()
HEADER = "a-value-that-only-the-receiver-knows"
SIEM = {"url": "https://siem.example/hook", "secrets": ["env:SIEM_WHSEC"], "headers": {"X-Team": "sec"}}
PROBLEM = "urn:gatepost:problem:"


async def make(ask: httpx.AsyncClient, name: str = "soar", **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Make a subscriber and return the answer."""
    answer = await ask.post("/v1/subscribers", json={"name": name, "url": URL, **fields})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def show(ask: httpx.AsyncClient, name: str = "soar") -> dict[str, Any]:
    """Return what is shown of a subscriber."""
    answer = await ask.get(f"/v1/subscribers/{name}")
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def reason(answer: httpx.Response) -> tuple[int, str]:
    """Return status and fixed word of a refusal."""
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].removeprefix(PROBLEM)


def signing(redis: Redis, found: Config, now: datetime, name: str = "soar") -> list[str]:
    """Return the secrets that sign at a moment."""
    return [each.value for each in roster(redis, found, now).subscribers[name].secrets]
