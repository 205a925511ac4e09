"""A receiver's whole life, from the issuer's name to a stream that is deleted."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle import keys, outbox
from lifecycle.config import Config
from lifecycle.roster import roster
from service.app import create_app
from tests.conftest import MakeConfig, open_client
from tests.service.ssf.conftest import Section, Tell, receiver
from tests.service.ssf.receiver import POLL, PUSH, Receiver, ids, names
from tests.strict_receiver import CAEP, RISC
from tests.transmitter import ISSUER, signal
from workers.subscribers import security_events

LEAVER = [CAEP + "session-revoked", RISC + "account-disabled"]
ISSUERS = [ISSUER, f"{ISSUER}/", f"{ISSUER}/tenants/acme", f"{ISSUER}:443/tenants/acme/"]


@pytest.fixture(params=ISSUERS)
def issuer(request: pytest.FixtureRequest) -> str:
    """Give an issuer with a path and without."""
    return str(request.param)


@pytest.fixture
def configured(config: MakeConfig, section: Section, issuer: str) -> Config:
    """Give the configuration of a transmitter that is called so."""
    return config(ssf=section(issuer))


@pytest.fixture
async def client(configured: Config) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of it."""
    async with open_client(create_app(configured)) as opened:
        yield opened


async def test_receiver_that_polls_lives_by_the_specification(
    client: httpx.AsyncClient, issuer: str, tell: Tell, redis: Redis
) -> None:
    """It finds, makes, verifies, polls, acknowledges, pauses, changes and deletes; and nothing of it is left."""
    siem = await receiver(client, "siem", issuer)

    stream = await siem.create(events_requested=[*LEAVER, "urn:unknown:event"], description="The SIEM's")
    stream_id = stream["stream_id"]
    assert (stream["delivery"]["method"], stream["events_delivered"]) == (POLL, LEAVER)
    assert await siem.all() == [stream] == [await siem.read(stream_id)]
    assert await siem.status(stream_id) == {"stream_id": stream_id, "status": "enabled"}

    await siem.verify(stream_id, "a state")
    await tell()
    [verified] = await siem.poll(stream)
    assert (verified.event, verified.subject) == ({"state": "a state"}, {"format": "opaque", "id": stream_id})

    await tell(signal(), signal("updated", event="hris:evt-2"))
    told = await siem.poll(stream, ack=ids([verified]))
    assert [each.uri for each in told] == LEAVER
    assert len({each.claims["txn"] for each in told}) == 1
    assert await siem.poll(stream, ack=ids(told)) == []

    paused = await siem.set_status(stream_id, "paused", reason="night")
    assert paused == await siem.status(stream_id) == {"stream_id": stream_id, "status": "paused", "reason": "night"}
    await tell(signal(event="hris:evt-3"))
    assert await siem.poll(stream) == []
    assert await siem.set_status(stream_id, "enabled") == {"stream_id": stream_id, "status": "enabled"}
    assert [each.uri for each in await siem.poll(stream)] == LEAVER

    changed = await siem.update(stream_id=stream_id, events_requested=[RISC + "account-purged"])
    assert changed == stream | {
        "events_requested": [RISC + "account-purged"],
        "events_delivered": [RISC + "account-purged"],
    }
    await siem.delete(stream_id)
    assert await siem.all() == []
    left = [key for key in redis.scan_iter(f"*{stream_id}*") if b":delivery:" not in key]
    assert left == []
    assert len(siem.strict.taken) == 5


async def test_receiver_that_is_pushed_to_lives_by_the_specification(
    client: httpx.AsyncClient, issuer: str, tell: Tell, redis: Redis, configured: Config
) -> None:
    """What it asked for goes out as it said, with its own authorization, which nobody can read in Redis."""
    siem = await receiver(client, "siem", issuer)
    siem.strict.authorization = "Bearer what-the-siem-wants"
    delivery = {
        "method": PUSH,
        "endpoint_url": "https://siem.example/events?tenant=1",
        "authorization_header": siem.strict.authorization,
    }

    stream = await siem.create(delivery=delivery, events_requested=LEAVER)
    assert stream["delivery"] == {"method": PUSH, "endpoint_url": "https://siem.example/events?tenant=1"}
    await siem.verify(stream["stream_id"])
    await tell(signal())
    pushed(siem, stream["stream_id"], redis, configured)

    # A line is a person's: no order holds between it and the verification.
    assert sorted(names(siem.strict.taken)) == ["account-disabled", "session-revoked", "verification"]
    assert "what-the-siem-wants" not in str(redis.hvals(keys.STREAMS))
    await siem.delete(stream["stream_id"])
    assert roster(redis, configured).subscribers == {}


def pushed(siem: Receiver, stream_id: str, redis: Redis, config: Config) -> None:
    """Send what waits for a stream to its receiver, line by line."""
    subscriber = roster(redis, config).subscribers[stream_id]
    assert subscriber.url == "https://siem.example/events?tenant=1"
    lines: Any = redis.zrange(keys.lines(stream_id), 0, -1)
    for line in lines:
        items: Any = redis.lrange(keys.line(stream_id, line.decode()), 0, -1)
        for item in map(bytes.decode, items):
            told = outbox.told(redis, outbox.signal_of(item))
            assert told is not None
            letter = security_events.letter(config, told, item, subscriber, datetime.now(UTC))
            answer = siem.strict.answer(letter.headers, letter.body, datetime.now(UTC))
            assert answer.status == 202, answer.body
