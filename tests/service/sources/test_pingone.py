"""PingOne through the receiver: whatever a batch holds is answered with the one status that lets the feed go on."""

import json
from pathlib import Path

import pytest
from redis import Redis

from service.app import create_app
from service.sources import pingone
from tests.conftest import MakeConfig, open_client
from tests.notices import SECRETS, load

HEADERS = {"authorization": SECRETS["pingone"], "content-type": "application/json"}


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, object]:
    """Configure the source alone."""
    (tmp_path / "secret").write_text(SECRETS["pingone"])
    return {"pingone": {"adapter": "pingone", "secrets": ["file:secret"]}}


@pytest.mark.parametrize("body", [b"{", b"", b"[]", b'[{"action": {}}]', b"\xff\xfe", b"[[[]]]", b'{"events": [1]}'])
async def test_batch_that_cannot_be_read_does_not_stop_the_feed(
    config: MakeConfig, redis: Redis, sources: dict[str, object], body: bytes
) -> None:
    """It is set aside, unless it is empty, and answered with exactly 200."""
    async with open_client(create_app(config(sources=sources))) as client:
        answer = await client.post("/hooks/pingone", content=body, headers=HEADERS)

    assert answer.status_code == 200
    assert redis.exists("gatepost:events") == 0
    assert len(list(redis.scan_iter("gatepost:notice:*"))) == (body != b"[]")


async def test_full_batch_of_long_events_fits(config: MakeConfig, redis: Redis, sources: dict[str, object]) -> None:
    """Five hundred events of several kilobytes, one of which nobody can read, are more than the service takes else."""
    (activity,) = json.loads(load("pingone/user_updated").notice.body)
    activities = [activity | {"id": f"a-{place}", "more": "x" * 6_000} for place in range(500)]
    activities[7]["resources"] = []
    body = json.dumps(activities).encode()

    async with open_client(create_app(config(sources=sources))) as client:
        answers = [await client.post("/hooks/pingone", content=body, headers=HEADERS) for _ in range(2)]

    assert 1_000_000 < len(body) < pingone.BODY_BYTES_MIN
    assert [answer.status_code for answer in answers] == [200, 200]
    assert redis.zcard("gatepost:events") == 499
    assert len(list(redis.scan_iter("gatepost:notice:*"))) == 1
