"""What Gusto does that other sources do not: the handshake hands over the key, unsigned."""

import json
from dataclasses import replace

import pytest
from redis import Redis

from lifecycle.errors import Malformed, Unauthentic
from lifecycle.hearing import handshake
from service.app import create_app
from service.sources import gusto
from service.sources.base import Notice
from service.sources.gusto import Options
from tests.conftest import MakeConfig, open_client
from tests.notices import AT, SECRETS, load, setup_of

FIRST, OTHER = "0c4f6b1e-93d1-4f0e-8a59-6f6f2f9f1c11", "ffffffff-93d1-4f0e-8a59-6f6f2f9f1c11"
LIVE = setup_of("gusto")
PENDING = replace(LIVE, secrets=(), options=Options(pending=True))
HEADERS = {"content-type": "application/json"}


def handing_over(token: object) -> Notice:
    """Return the handshake as Gusto sends it."""
    return Notice("POST", "", HEADERS, json.dumps({"verification_token": token}).encode())


def test_secrets_may_be_missing_only_while_the_handshake_is_to_come() -> None:
    """Then nothing is believed yet, not even what an empty key signs."""
    gusto.check(PENDING)
    with pytest.raises(ValueError, match="pending = true"):
        gusto.check(replace(LIVE, secrets=()))

    notice = gusto.sign(load("gusto/employee_deleted").notice, replace(LIVE, secrets=("",)), AT)
    with pytest.raises(Unauthentic):
        gusto.verify(notice, PENDING, AT)


def test_token_is_refused_when_none_is_awaited() -> None:
    """Whoever hands over a token hands over the key, so even one that the live key signed is refused."""
    notice = gusto.sign(handing_over(FIRST), LIVE, AT)

    with pytest.raises(Unauthentic) as error:
        gusto.greet(notice, LIVE, AT)

    assert error.value.reason == "handshake_unasked"
    assert FIRST not in error.value.message


@pytest.mark.parametrize(
    "token", ["", "short", "x" * 129, "two\nlines of a token", "token with spaces in it", "ä" * 20]
)
def test_token_that_can_be_no_key_is_refused(token: str) -> None:
    """It would have to be copied by a person, and is shown on a terminal."""
    with pytest.raises(Malformed):
        gusto.greet(handing_over(token), PENDING, AT)


@pytest.mark.parametrize("token", [None, [FIRST], {"a": FIRST}])
def test_what_hands_over_no_text_is_no_handshake(token: object) -> None:
    """It is a notice then, and needs a proof."""
    assert gusto.greet(handing_over(token), PENDING, AT) is None
    assert gusto.greet(handing_over("x" * gusto.HANDSHAKE_BYTES_MAX), PENDING, AT) is None


async def test_first_token_is_kept_and_never_replaced(
    config: MakeConfig, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gusto may send its token again; another one changes nothing, nor does any once the source is live."""
    monkeypatch.setenv("GUSTO_TOKEN", SECRETS["gusto"])
    source = {"adapter": "gusto", "pending": True}
    live = {"adapter": "gusto", "secrets": ["env:GUSTO_TOKEN"]}
    app = create_app(config(sources={"payroll": source, "live": live}))
    sent = [("payroll", FIRST), ("payroll", OTHER), ("payroll", FIRST), ("live", OTHER)]

    async with open_client(app) as client:
        statuses = [
            (await client.post(f"/hooks/{name}", content=handing_over(token).body, headers=HEADERS)).status_code
            for name, token in sent
        ]

    kept = handshake(redis, "payroll")
    assert statuses == [200, 401, 200, 401]
    assert kept is not None
    assert kept.token == FIRST
    assert handshake(redis, "live") is None


async def test_notice_is_taken_with_the_token_as_its_key(
    config: MakeConfig, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token that was handed over, once it stands among the secrets, opens for what Gusto signs with it."""
    monkeypatch.setenv("GUSTO_TOKEN", SECRETS["gusto"])
    app = create_app(config(sources={"payroll": {"adapter": "gusto", "secrets": ["env:GUSTO_TOKEN"]}}))
    notice = load("gusto/employee_terminated_effective").notice

    async with open_client(app) as client:
        answers = [
            await client.post("/hooks/payroll", content=notice.body, headers=dict(notice.headers)) for _ in range(2)
        ]

    assert [answer.json()["accepted"] for answer in answers] == [1, 0]
    assert redis.zcard("gatepost:events") == 1
