"""Secrets of subscribers: seen once, sealed at rest, and what becomes of them when keys change."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from redis import Redis

from gatepost import audience
from lifecycle.config import Config
from lifecycle.roster import roster
from service.app import create_app
from tests.conftest import MakeConfig, open_client
from tests.seed import signal, tell
from tests.service.api.subscribing import HEADER, OWN, SIEM, URL, make, reason, show, signing


def everything(redis: Redis) -> bytes:
    """Return all that Redis holds."""
    reads: dict[Any, Callable[[Any], Any]] = {
        b"string": redis.get,
        b"hash": redis.hgetall,
        b"list": lambda key: redis.lrange(key, 0, -1),
        b"zset": lambda key: redis.zrange(key, 0, -1),
        b"set": redis.smembers,
        b"stream": redis.xrange,
    }
    return "".join(repr((key, reads[redis.type(key)](key))) for key in redis.keys("*")).encode()


async def test_no_secret_is_kept_shown_or_logged(
    ask: httpx.AsyncClient, redis: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not in Redis, in no later answer, in no log line: neither ours nor the receiver's own, nor a header's value."""
    headers = {"Authorization": f"Bearer {HEADER}", "X-Api-Key": HEADER, "X-Team": "sec"}
    made = await make(ask, headers=headers)
    secrets = [made["secret"], OWN, HEADER]
    created = json.dumps({name: value for name, value in made.items() if name != "secret"})
    secrets.append((await ask.post("/v1/subscribers/soar/rotate")).json()["secret"])
    await make(ask, "own", secret=OWN)
    pair = await make(ask, "pair", signature="v1a")

    answers = [
        await ask.get("/v1/subscribers"),
        await ask.get("/v1/subscribers/soar"),
        await ask.patch("/v1/subscribers/soar", json={"headers": {"X-B": HEADER + "é"}}),
        await ask.patch("/v1/subscribers/soar", json={"requests_per_minute": 5}),
        await ask.post("/v1/subscribers", json={"name": "soar", "url": URL, "secret": OWN}),
        await ask.post("/v1/subscribers", json={"name": "x", "url": URL, "secret": OWN + "!"}),
        await ask.post("/v1/subscribers", json={"name": "x", "url": URL, "secrets": [OWN]}),
        await ask.post("/v1/subscribers/own/rotate", json={"secret": OWN}),
        await ask.post("/v1/subscribers/soar/test"),
        await ask.get("/v1/signals"),
    ]

    said = "".join(answer.text for answer in answers) + created
    output = "".join(capsys.readouterr())
    for secret in secrets:
        raw = base64.b64encode(secret.encode())
        for place in (said.encode(), output.encode(), everything(redis)):
            assert secret.encode() not in place
            assert secret.removeprefix("whsec_").encode() not in place
            assert raw not in place
    assert answers[1].json()["headers"] == {"Authorization": "***", "X-Api-Key": "***", "X-Team": "sec"}
    assert "whsk_" not in said + output + everything(redis).decode() + json.dumps(pair)


async def test_header_that_is_masked_is_not_changed_by_what_is_shown(
    ask: httpx.AsyncClient, redis: Redis, found: Config
) -> None:
    """Who sends back what was shown does not overwrite a value with its mask."""
    await make(ask, headers={"Authorization": HEADER})

    refused = await ask.patch("/v1/subscribers/soar", json={"headers": (await show(ask))["headers"]})

    assert refused.status_code == 400
    assert roster(redis, found).subscribers["soar"].header_values() == {"Authorization": HEADER}


async def test_what_no_key_opens_is_unusable_and_the_others_go_on(
    ask: httpx.AsyncClient, redis: Redis, config: MakeConfig, admin: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is shown with why, and can be paused or deleted; what it wants is known, so nothing is lost meanwhile."""
    await make(ask, events=["person.*"], headers={"Authorization": HEADER})
    monkeypatch.setenv("NEW_TOKEN", "another-token")
    found = config(subscribers={"siem": SIEM}, service={"admin_tokens": ["env:NEW_TOKEN"]})

    async with open_client(create_app(found)) as other:
        other.headers["authorization"] = "Bearer another-token"
        listed = {item["name"]: item for item in (await other.get("/v1/subscribers")).json()["items"]}
        answers = [
            await other.patch("/v1/subscribers/soar", json={"url": URL}),
            await other.post("/v1/subscribers/soar/rotate"),
            await other.post("/v1/subscribers/soar/test"),
        ]
        paused = await other.patch("/v1/subscribers/soar", json={"paused": True})
        known = roster(redis, found)
        deleted = await other.delete("/v1/subscribers/soar")

    assert (listed["soar"]["state"], listed["siem"]["state"]) == ("unusable", "active")
    assert "service.admin_tokens" in listed["soar"]["reason"]
    assert (listed["soar"]["url"], listed["soar"]["headers"]) == (URL, {})
    assert [each["kind"] for each in listed["soar"]["secrets"]] == ["v1"]
    assert [reason(answer) for answer in answers] == [
        (409, "key_unknown"),
        (409, "key_unknown"),
        (409, "subscriber_unusable"),
    ]
    assert (paused.status_code, deleted.status_code) == (200, 204)
    assert (set(known.subscribers), set(known.unopened)) == ({"siem"}, {"soar"})
    assert known.unopened["soar"].events == ["person.*"]


async def test_what_waits_for_a_key_makes_no_lane_late(
    ask: httpx.AsyncClient, redis: Redis, config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More processes would not send it: the metrics count it as waiting, and as no work of the lane's."""
    await make(ask)
    redis.sadd("gatepost:subscriber-names", "soar")
    tell(redis, signal(), "soar")
    monkeypatch.setenv("NEW_TOKEN", "another-token")
    found = config(subscribers={"siem": SIEM}, service={"admin_tokens": ["env:NEW_TOKEN"]})

    async with open_client(create_app(found)) as other:
        without, with_key = [(await each.get("/metrics")).text for each in (other, ask)]

    assert 'gatepost_signals_waiting{subscriber="soar"} 1.0' in without
    assert 'gatepost_lane_depth{lane="signals"} 0.0' in without
    assert 'gatepost_lane_depth{lane="signals"} 1.0' in with_key


OTHERS: dict[str, Callable[[Any], Any]] = {
    "a field more": lambda kept: kept | {"color": "red"},
    "a field less": lambda kept: {name: value for name, value in kept.items() if name != "bearers"},
    "a section with more": lambda kept: kept | {"section": kept["section"] | {"color": "red"}},
    "a section without a format": lambda kept: kept | {"section": {"url": URL}},
    "a section of another format": lambda kept: kept | {"section": {"format": "carrier_pigeon", "url": URL}},
    "no section": lambda kept: kept | {"section": None},
    "no secrets": lambda kept: kept | {"secrets": None},
    "another kind of secret": lambda kept: kept | {"secrets": [kept["secrets"][0] | {"kind": "v2"}]},
    "a secret without an id": lambda kept: kept | {"secrets": [{"sealed": kept["secrets"][0]["sealed"]}]},
    "a secret that ends in no zone": lambda kept: (
        kept | {"secrets": [kept["secrets"][0] | {"expires_at": "2026-03-02T09:00:00"}]}
    ),
    "no moment": lambda kept: kept | {"created_at": "yesterday"},
    "a list": lambda kept: [kept],
    "null": lambda _: None,
    "no JSON": lambda _: ...,
}


@pytest.mark.parametrize("other", OTHERS)
async def test_record_of_another_version_is_unusable(
    ask: httpx.AsyncClient, redis: Redis, found: Config, other: str
) -> None:
    """What does not fit is shown as such, on every page and in every check; it can be deleted, and all others go on."""
    await make(ask)
    await make(ask, "well")
    kept = OTHERS[other](json.loads(redis.hget("gatepost:subscribers", "soar") or b""))
    redis.hset("gatepost:subscribers", "soar", "{" if kept is ... else json.dumps(kept))

    shown, listed = await show(ask), (await ask.get("/v1/subscribers")).json()["items"]
    lines = {line.what: line.ok for line in audience.lines(redis, found, datetime.now(UTC))}
    answers = [
        await ask.post("/v1/subscribers", json={"name": "soar", "url": URL}),
        await ask.post("/v1/subscribers/soar/test"),
        await ask.patch("/v1/subscribers/soar", json={"url": URL}),
        await ask.post("/v1/subscribers/soar/rotate"),
        await ask.post("/v1/subscribers/soar/replay?failed=true"),
        await ask.patch("/v1/subscribers/soar", json={"paused": True}),
    ]

    assert (shown["state"], shown["url"], shown["managed_by"]) == ("unusable", None, "api")
    assert {item["name"]: item["state"] for item in listed} == {
        "siem": "active",
        "soar": "unusable",
        "well": "active",
    }
    assert (lines["subscribers.soar"], lines["subscribers.well"]) == (False, True)
    assert [answer.status_code for answer in answers][:2] == [409, 409]
    assert {answer.status_code for answer in answers} <= {200, 400, 404, 409}
    assert set(roster(redis, found).subscribers) == {"siem", "well"}
    assert (await ask.delete("/v1/subscribers/soar")).status_code == 204


async def test_secret_moved_to_another_name_does_not_open(ask: httpx.AsyncClient, redis: Redis) -> None:
    """Whoever can write into Redis cannot let one subscriber sign as another."""
    await make(ask)
    redis.hset("gatepost:subscribers", "mallory", redis.hget("gatepost:subscribers", "soar") or b"")

    shown = await show(ask, "mallory")

    assert (shown["state"], shown["reason"]) == (
        "unusable",
        "what is kept was changed, or sealed for another owner",
    )


async def test_every_write_seals_with_the_first_key(
    ask: httpx.AsyncClient, redis: Redis, config: MakeConfig, admin: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a change of nothing the old key is not needed any more."""
    secret = (await make(ask, headers={"X-A": "1"}))["secret"]
    monkeypatch.setenv("SEALING_KEY", "a key for sealing")
    monkeypatch.setenv("NEW_TOKEN", "another-token")
    keys = {"encryption_keys": ["env:SEALING_KEY"]}

    async with open_client(create_app(config(signals=keys))) as client:
        client.headers.update(admin)
        changed = await client.patch("/v1/subscribers/soar", json={})

    assert changed.status_code == 200
    without_old = config(signals=keys, service={"admin_tokens": ["env:NEW_TOKEN"]})
    assert signing(redis, without_old, datetime.now(UTC)) == [secret]
