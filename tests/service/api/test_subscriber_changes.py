"""``PATCH /v1/subscribers/{name}``: fields, pauses, and who may change what."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle.config import Config
from lifecycle.roster import roster
from lifecycle.signal import iso
from service.app import create_app
from tests.conftest import SUBSCRIBER_SECRET, MakeConfig, open_client
from tests.seed import NOW, fail, signal, tell
from tests.service.api.subscribing import OWN, URL, make, reason, show


async def test_fields_are_merged(ask: httpx.AsyncClient, redis: Redis, found: Config) -> None:
    """What is given changes, null is the default, headers are merged one by one, the rest stays (RFC 7396)."""
    made = await make(ask, events=["person.*"], targets=["crm"], headers={"X-A": "1", "X-B": "2"})
    patch = {"events": None, "url": f"{URL}/2", "headers": {"X-A": None, "X-C": "3"}}

    answer = await ask.patch(
        "/v1/subscribers/soar",
        content=json.dumps(patch),
        headers={"content-type": "application/merge-patch+json"},
    )

    changed = answer.json()
    assert answer.status_code == 200
    assert (changed["events"], changed["targets"], changed["url"]) == (None, ["crm"], f"{URL}/2")
    assert changed["headers"] == {"X-B": "2", "X-C": "3"}
    assert changed["secrets"] == made["secrets"]
    assert changed["updated_at"] > changed["created_at"] == made["created_at"]
    assert "secret" not in changed
    known = roster(redis, found).subscribers["soar"]
    assert (known.url, known.header_values(), known.secrets[0].value) == (
        f"{URL}/2",
        {"X-B": "2", "X-C": "3"},
        made["secret"],
    )
    assert (await ask.patch("/v1/subscribers/soar", json={"headers": None})).json()["headers"] == {}


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ({"name": "x"}, "name: found a text; allowed: none but these keys: url, events"),
        ({"format": "ssf_push"}, "format: found a text; allowed: none but"),
        ({"secret": OWN}, "secret: found a text; allowed: none but"),
        ({"secrets": []}, "secrets: found a list; allowed: none but"),
        ({"url": None}, "url: found nothing; required"),
        ({"url": "https://x.example:1"}, "url: found port 1; allowed: 443"),
        ({"paused": "yes"}, "paused: found 'yes'; allowed: a valid boolean"),
        ({"disabled": True}, "disabled: found True; allowed: false"),
    ],
)
async def test_change_that_cannot_be_is_refused(
    ask: httpx.AsyncClient, redis: Redis, patch: dict[str, Any], words: str
) -> None:
    """Whole: beside what is wrong nothing else is changed either."""
    await make(ask)
    before = await show(ask)

    answer = await ask.patch("/v1/subscribers/soar", json=patch | {"requests_per_minute": 7})

    assert reason(answer) == (400, "subscriber_malformed")
    assert words in answer.json()["detail"]
    assert await show(ask) == before


async def test_changes_do_not_lose_each_other(found: Config, admin: dict[str, str], ask: httpx.AsyncClient) -> None:
    """Two receivers each take changes of other fields at the same time; all of them are there in the end."""
    await make(ask)
    async with open_client(create_app(found)) as other:
        other.headers.update(admin)

        patches: list[dict[str, Any]] = [{"headers": {f"X-{number}": str(number)}} for number in range(12)]
        patches += [{"requests_per_minute": 77}, {"events": ["person.deleted"]}]
        answers = await asyncio.gather(
            *([ask, other][place % 2].patch("/v1/subscribers/soar", json=patch) for place, patch in enumerate(patches))
        )

    assert {answer.status_code for answer in answers} == {200}
    shown = await show(ask)
    assert shown["headers"] == {f"X-{number}": str(number) for number in range(12)}
    assert (shown["requests_per_minute"], shown["events"]) == (77, ["person.deleted"])


async def test_pause_holds_what_comes_and_a_resume_lets_it_go(ask: httpx.AsyncClient, redis: Redis) -> None:
    """Who paused it is shown; what waits stays in line."""
    await make(ask)
    tell(redis, signal(), "soar")

    paused = (await ask.patch("/v1/subscribers/soar", json={"paused": True})).json()
    since = redis.hget("gatepost:subscriber:soar", "paused_at")
    again = (await ask.patch("/v1/subscribers/soar", json={"paused": True})).json()
    resumed = (await ask.patch("/v1/subscribers/soar", json={"paused": False})).json()

    assert (paused["state"], paused["reason"], paused["waiting"]) == ("paused", "by api", 1)
    assert again["state"] == "paused"
    assert since is not None
    assert (resumed["state"], resumed["reason"], resumed["waiting"]) == ("active", None, 1)
    assert redis.hkeys("gatepost:subscriber:soar") == [b"waiting"]


async def test_one_whose_target_is_gone_can_be_paused(
    ask: httpx.AsyncClient, config: MakeConfig, admin: dict[str, str]
) -> None:
    """What was right when it was made hinders nobody from holding it; a change of its fields names what is wrong."""
    await make(ask, targets=["crm"])

    async with open_client(create_app(config())) as other:
        other.headers.update(admin)
        paused = await other.patch("/v1/subscribers/soar", json={"paused": True})
        changed = await other.patch("/v1/subscribers/soar", json={"requests_per_minute": 5})

    assert (paused.status_code, paused.json()["state"]) == (200, "paused")
    assert "targets: found 'crm'; allowed: nothing" in changed.json()["detail"]


async def test_disabled_one_is_enabled_with_a_clean_slate(ask: httpx.AsyncClient, redis: Redis) -> None:
    """Its failures and its circuit are forgotten, what waits is not."""
    await make(ask)
    past = str(int(NOW.timestamp() * 1000))
    state: Any = dict.fromkeys(("disabled_at", "failing_since", "last_failure_at", "open_until", "rest_until"), past)
    redis.hset("gatepost:subscriber:soar", mapping=state | {"reason": "gone", "failures": 9, "opened": 2, "waiting": 3})
    before = await show(ask)

    enabled = (await ask.patch("/v1/subscribers/soar", json={"disabled": False})).json()

    assert (before["state"], before["reason"], before["failing_since"]) == ("disabled", "gone", iso(NOW))
    assert (enabled["state"], enabled["reason"], enabled["failing_since"]) == ("active", None, None)
    assert enabled["waiting"] == 3
    assert redis.hkeys("gatepost:subscriber:soar") == [b"waiting"]


async def test_how_one_stands_is_told(ask: httpx.AsyncClient, redis: Redis) -> None:
    """What weighs most is the state: an open circuit before a failure, a pause before either."""
    await make(ask)
    later = str(int((datetime.now(UTC) + timedelta(minutes=1)).timestamp() * 1000))
    states = []
    steps: list[Any] = [
        {"failing_since": "1000"},
        {"open_until": later, "failures": "2"},
        {"failures": "5"},
        {"paused_at": "1"},
    ]

    for fields in steps:
        redis.hset("gatepost:subscriber:soar", mapping=fields)
        states.append((await show(ask))["state"])

    assert states == ["failing", "failing", "circuit_open", "paused"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "", {"url": URL}),
        ("PATCH", "", {"paused": True, "events": None}),
        ("DELETE", "", None),
        ("POST", "/rotate", {}),
    ],
)
async def test_file_is_changed_in_the_file(
    ask: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None
) -> None:
    """What the file says cannot be changed by the API: 409, and nothing happens."""
    answer = await ask.request(method, f"/v1/subscribers/siem{path}", json=body)

    assert reason(answer) == (409, "managed_by_file")
    assert (await show(ask, "siem"))["state"] == "active"


async def test_file_managed_one_is_paused_tested_and_replayed(ask: httpx.AsyncClient, redis: Redis) -> None:
    """How it stands is the operator's, whoever said what it is; its secret is in no answer."""
    tell(redis, signal(), "siem")
    fail(redis, signal().id, "siem")

    answers = [
        await ask.patch("/v1/subscribers/siem", json={"paused": True}),
        await ask.patch("/v1/subscribers/siem", json={"paused": False, "disabled": False}),
        await ask.post("/v1/subscribers/siem/test"),
        await ask.post("/v1/subscribers/siem/replay?failed=true"),
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 202, 202]
    assert answers[3].json()["enlisted"] == 1
    assert (answers[0].json()["managed_by"], answers[0].json()["headers"]) == ("file", {"X-Team": "sec"})
    assert SUBSCRIBER_SECRET not in "".join(answer.text for answer in answers)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/rotate"),
        ("POST", "/test"),
        ("POST", "/replay?failed=true"),
        ("POST", "/replay?id=sig_1"),
        ("POST", "/replay?since=2026-03-02T09:00:00Z"),
    ],
)
@pytest.mark.parametrize("name", ["nobody", "Nobody", "%20", "%F0%9F%98%80", "%FF", "x" * 5_000])
async def test_unknown_name_is_told(ask: httpx.AsyncClient, redis: Redis, method: str, path: str, name: str) -> None:
    """404 on every route, whatever the name, and nothing is kept."""
    answer = await ask.request(method, f"/v1/subscribers/{name}{path}", json={} if method == "PATCH" else None)

    assert reason(answer) == (404, "subscriber_unknown")
    assert redis.keys("gatepost:subscriber*") == redis.keys("gatepost:signal*") == []
