"""What the receiver notes of its sources: when each was heard and by which secret, and what it handed over."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from redis import Redis

from lifecycle.errors import Unavailable
from lifecycle.hearing import Heard, Use, fingerprint, forget_handshake, forget_upkeep, handshake, heard, upkeep
from service.app import create_app
from service.ears import Ears
from service.intake import Intake
from tests.conftest import MakeConfig, open_client
from tests.notices import AT, OLD_SECRETS, SECRETS, canonical, okta, okta_entry, signed
from tests.redis_server import RedisServer

NEW, OLD = (fingerprint("hris", found["standard_webhooks"]) for found in (SECRETS, OLD_SECRETS))


@pytest.fixture
async def ears(redis_server: RedisServer) -> AsyncIterator[Ears]:
    """Give notes of nothing yet."""
    intake = Intake(redis_server.url)
    yield Ears(intake)
    await intake.close()


async def test_use_of_each_secret_is_told_apart(config: MakeConfig, redis: Redis) -> None:
    """By a mark that tells nothing of the secret; what is refused is no use, and proves no source to be alive."""
    body = canonical()
    async with open_client(create_app(config())) as client:
        await client.post("/hooks/hris", content=body, headers=signed(body))
        await client.post("/hooks/okta", content=okta(okta_entry()), headers={"authorization": "wrong"})

    found = heard(redis, "hris")
    assert found.at is not None
    assert set(found.uses) == {NEW}
    assert heard(redis, "okta") == Heard(None, {})
    assert not any(
        secret.encode() in str(redis.hgetall("gatepost:heard:hris")).encode() for secret in SECRETS.values() if secret
    )


async def test_first_and_latest_use_count(ears: Ears, redis: Redis) -> None:
    """Over several writes, and for a key of an issuer by its id."""
    for minutes, proof in (
        (0, SECRETS["standard_webhooks"]),
        (1, OLD_SECRETS["standard_webhooks"]),
        (2, "kid:k1"),
        (3, ""),
        (4, OLD_SECRETS["standard_webhooks"]),
    ):
        ears.hear("hris", proof, AT + timedelta(minutes=minutes))
        await ears.write()

    at = [AT + timedelta(minutes=minutes) for minutes in range(5)]
    uses = {NEW: Use(at[0], at[0]), OLD: Use(at[1], at[4]), "kid:k1": Use(at[2], at[2])}
    assert heard(redis, "hris") == Heard(at[4], uses)


async def test_what_could_not_be_written_is_written_later(ears: Ears, redis_server: RedisServer) -> None:
    """While Redis is away the notes wait in memory, and a newer one is not overwritten by an older."""
    ears.hear("hris", "", AT)
    redis_server.kill()
    with pytest.raises(Unavailable):
        await ears.write()
    ears.hear("hris", "", AT + timedelta(minutes=1))

    redis_server.start()
    await ears.write()

    with Redis.from_url(redis_server.url) as redis:
        assert heard(redis, "hris").at == AT + timedelta(minutes=1)


async def test_token_of_a_handshake_is_kept_once(ears: Ears, redis: Redis) -> None:
    """Who comes second changes nothing, until an operator forgets the first; the same one again is no second."""
    kept = [await ears.keep("gusto", token) for token in ("first", "second", "first")]
    found = handshake(redis, "gusto")

    assert kept == [True, False, True]
    assert found is not None
    assert found.token == "first"
    assert forget_handshake(redis, "gusto")
    assert await ears.keep("gusto", "third")


async def test_what_a_source_says_of_itself_is_handed_on_in_order(ears: Ears, redis: Redis) -> None:
    """Once, and of too much the newest."""
    await ears.pass_on("graph", ("missed", *(f"reauthorizationRequired:{number}" for number in range(120))))

    words = upkeep(redis, "graph")
    await ears.pass_on("graph", ("missed",))
    forget_upkeep(redis, "graph", words)

    assert (len(words), words[-1]) == (100, "reauthorizationRequired:119")
    assert upkeep(redis, "graph") == ["missed"]
