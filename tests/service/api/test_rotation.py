"""``POST /v1/subscribers/{name}/rotate``: the new secret signs first, the old ones until their end."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle.config import Config
from lifecycle.roster import roster
from service.app import create_app
from tests.conftest import MakeConfig, open_client
from tests.seed import SALT
from tests.service.api.subscribing import HEADER, OWN, URL, make, reason, show, signing
from tests.transmitter import pem


async def test_old_secret_signs_until_its_end(ask: httpx.AsyncClient, redis: Redis, found: Config) -> None:
    """The new one comes first; after the overlap the old one is dropped, without anything said."""
    old = (await make(ask))["secret"]

    answer = await ask.post("/v1/subscribers/soar/rotate", json={"overlap": "2h"})

    new, now = answer.json()["secret"], datetime.now(UTC)
    ends = now + timedelta(hours=2)
    assert answer.status_code == 200
    assert new not in {old, None}
    assert signing(redis, found, now) == signing(redis, found, ends - timedelta(minutes=1)) == [new, old]
    assert signing(redis, found, ends) == [new]
    (first, second) = (await show(ask))["secrets"]
    assert first["expires_at"] is None
    assert ends - timedelta(minutes=1) < datetime.fromisoformat(second["expires_at"]) <= ends


@pytest.mark.parametrize(("body", "hours"), [(None, 24), ({}, 24), ({"overlap": "7d"}, 168), ({"overlap": "0s"}, 0)])
async def test_overlap_is_a_day_unless_told(
    ask: httpx.AsyncClient, redis: Redis, found: Config, body: dict[str, Any] | None, hours: int
) -> None:
    """An empty body is one without wishes; no overlap drops the old secret at once."""
    await make(ask)

    rotated = (await ask.post("/v1/subscribers/soar/rotate", json=body)).json()

    now = datetime.now(UTC)
    lives = len(signing(redis, found, now + timedelta(hours=hours, minutes=-1)))
    assert (lives, len(signing(redis, found, now + timedelta(hours=hours)))) == (2 if hours else 1, 1)
    assert len(rotated["secrets"]) == (2 if hours else 1)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"overlap": "8d"}, "overlap: found more than 7d; allowed: 0s to 7d"),
        ({"overlap": "-1s"}, "overlap: found '-1s'; allowed: a number with s, m, h or d"),
        ({"overlap": 5}, "overlap: found 5; allowed: a number with"),
        ({"overlap": "999999d"}, "overlap: found more than 7d"),
        ({"secret": "x"}, "secret: found what was given"),
        ({"url": URL}, "url: found a text; allowed: none but these keys: overlap, signature, secret"),
    ],
)
async def test_rotation_that_cannot_be_is_refused(ask: httpx.AsyncClient, body: dict[str, Any], words: str) -> None:
    """And the secret stays."""
    made = await make(ask)

    answer = await ask.post("/v1/subscribers/soar/rotate", json=body)

    assert reason(answer) == (400, "subscriber_malformed")
    assert words in answer.json()["detail"]
    assert (await show(ask))["secrets"] == made["secrets"]


async def test_receiver_moves_to_another_kind_and_to_its_own(
    ask: httpx.AsyncClient, redis: Redis, found: Config
) -> None:
    """A rotation may go from v1 to v1a, keeps to that then, and takes a secret of the receiver's own, but not twice."""
    await make(ask)

    kinds = [
        (await ask.post("/v1/subscribers/soar/rotate", json=body)).json()["secrets"][0]["kind"]
        for body in ({"signature": "v1a"}, {}, {"secret": OWN})
    ]
    twice = await ask.post("/v1/subscribers/soar/rotate", json={"secret": OWN})

    assert kinds == ["v1a", "v1a", "v1"]
    assert signing(redis, found, datetime.now(UTC))[0] == OWN
    assert "found one that is in use" in twice.json()["detail"]


async def test_ten_secrets_sign_at_most(ask: httpx.AsyncClient) -> None:
    """No live secret is dropped silently to make room; without an overlap there is room at once."""
    await make(ask)
    statuses = [(await ask.post("/v1/subscribers/soar/rotate")).status_code for _ in range(9)]

    refused = await ask.post("/v1/subscribers/soar/rotate")
    rotated = await ask.post("/v1/subscribers/soar/rotate", json={"overlap": "0s"})

    assert statuses == [200] * 9
    assert reason(refused) == (409, "secrets_many")
    assert len(rotated.json()["secrets"]) == 1


async def test_every_rotation_counts(ask: httpx.AsyncClient, redis: Redis, found: Config) -> None:
    """Of two at the same moment each one's secret signs: whoever was told one can use it."""
    await make(ask)

    answers = await asyncio.gather(*(ask.post("/v1/subscribers/soar/rotate") for _ in range(5)))

    assert {answer.json()["secret"] for answer in answers} <= set(signing(redis, found, datetime.now(UTC)))


async def test_push_stream_has_a_token_that_is_never_shown(
    config: MakeConfig, redis: Redis, admin: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Security Event Tokens are signed by the transmitter's key; the receiver's bearer is changed like a field."""
    redis.set("gatepost:vault-salt", SALT)
    monkeypatch.setenv("SSF_KEY", pem())
    found = config(ssf={"issuer": "https://gatepost.example", "signing_keys": ["env:SSF_KEY"]})
    asked = {"name": "idp", "format": "ssf_push", "url": URL, "audience": "https://idp.example", "subject": "iss_sub"}

    async with open_client(create_app(found)) as client:
        client.headers.update(admin)
        made = await client.post("/v1/subscribers", json=asked | {"token": HEADER})
        changed = await client.patch("/v1/subscribers/idp", json={"token": f"{HEADER}-2", "profile": "legacy"})
        tokens = [each.token.value for each in roster(redis, found).subscribers.values() if each.token]
        none = await client.patch("/v1/subscribers/idp", json={"token": None})
        refused = [
            await client.patch("/v1/subscribers/idp", json={"token": "line\nbreak"}),
            await client.patch("/v1/subscribers/idp", json={"token": ["x"]}),
            await client.patch("/v1/subscribers/idp", json={"token": "x", "authorization": "y"}),
            await client.patch("/v1/subscribers/idp", json={"provisioning": "full"}),
            await client.post("/v1/subscribers/idp/rotate"),
        ]
        whole = await client.patch("/v1/subscribers/idp", json={"authorization": f"Basic {HEADER}"})

    assert (made.status_code, made.json()["secret"], made.json()["public_key"]) == (201, None, None)
    assert [each["kind"] for each in made.json()["secrets"]] == ["bearer"]
    assert (changed.json()["profile"], changed.json()["subject"], tokens) == ("legacy", "iss_sub", [f"{HEADER}-2"])
    assert none.json()["secrets"] == []
    assert [reason(answer) for answer in refused] == [(400, "subscriber_malformed")] * 5
    assert "token: found what was given" in refused[0].json()["detail"]
    assert "not both" in refused[2].json()["detail"]
    assert "provisioning: found 'full'; allowed: notice, none" in refused[3].json()["detail"]
    assert [each["kind"] for each in whole.json()["secrets"]] == ["bearer"]
    assert HEADER not in made.text + changed.text + none.text + whole.text + refused[0].text
