"""The status of a stream, and its verification."""

import threading
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.ssf.status import ENABLED, PAUSED, oversee, set_status
from tests.service.ssf.conftest import Tell
from tests.service.ssf.receiver import PUSH, Receiver, ids, names
from tests.strict_receiver import RISC
from tests.transmitter import signal

ONE = [RISC + "account-disabled"]


async def test_paused_holds_and_disabled_drops(siem: Receiver, tell: Tell, redis: Redis) -> None:
    """SSF section 8.1.2.1; what was there before goes as well when the stream is disabled."""
    stream = await siem.create(events_requested=ONE)
    told = stream["stream_id"]
    await siem.set_status(told, "paused")
    await tell(signal())
    assert await siem.poll(stream) == []
    assert redis.llen(keys.polled(told)) == 1

    await siem.set_status(told, "disabled", reason="no longer")
    await tell(signal(event="hris:evt-2"))
    assert (await siem.status(told))["reason"] == "no longer"
    assert (redis.llen(keys.polled(told)), redis.hget(keys.subscriber(told), "waiting")) == (0, b"0")

    await siem.set_status(told, "enabled")
    await tell(signal(event="hris:evt-3"))
    assert [each.claims["jti"] for each in await siem.poll(stream)] != []
    assert await siem.status(told) == {"stream_id": told, "status": "enabled"}


async def test_receiver_is_not_told_what_it_did_itself_and_is_of_what_we_do(
    siem: Receiver, tell: Tell, redis: Redis
) -> None:
    """SSF section 8.1.5; while the stream is paused, that it is so is all that comes."""
    stream = await siem.create(events_requested=ONE)
    told = stream["stream_id"]
    await siem.set_status(told, "paused")
    await siem.set_status(told, "enabled")
    await tell(signal())

    oversee(redis, told, "operator", paused=True, reason="Maintenance")
    await tell()
    [paused] = await siem.poll(stream)
    assert (names([paused]), paused.event) == (["stream-updated"], {"status": "paused", "reason": "Maintenance"})
    assert await siem.poll(stream, ack=ids([paused])) == []

    oversee(redis, told, "operator", paused=False)
    await tell()
    came = await siem.poll(stream)
    assert names(came) == ["account-disabled", "stream-updated"]
    assert came[1].event == {"status": "enabled"}


async def test_receiver_ends_no_pause_but_its_own(siem: Receiver, redis: Redis) -> None:
    """403 while the operator's lasts; a stream that failed for too long it may enable."""
    told = (await siem.create())["stream_id"]
    body = {"stream_id": told, "status": "enabled"}

    oversee(redis, told, "operator", paused=True)
    assert (await siem.ask("POST", "status_endpoint", json=body)).status_code == 403
    assert (await siem.status(told))["status"] == "paused"
    redis.hdel(keys.subscriber(told), "paused_at")
    redis.hset(
        keys.subscriber(told), mapping={"disabled_at": 1, "reason": "failing", "failing_since": 1, "failures": 9}
    )
    assert await siem.status(told) == {"stream_id": told, "status": "disabled", "reason": "failing"}
    await siem.set_status(told, "enabled")
    assert redis.hgetall(keys.subscriber(told)) == {}


@pytest.mark.parametrize("step", ["disabled", "paused", "enabled"])
async def test_receiver_comes_out_of_the_operators_pause_by_no_way(
    siem: Receiver, redis: Redis, tell: Tell, step: str
) -> None:
    """Disable its stream it may; when that is over it is paused as before, until the operator says otherwise."""
    stream = await siem.create(events_requested=ONE)
    told = stream["stream_id"]
    oversee(redis, told, "operator", paused=True, reason="compromised")

    answer = await siem.ask("POST", "status_endpoint", json={"stream_id": told, "status": step})
    assert answer.status_code == (200 if step == "disabled" else 403)
    for word in ("enabled", "paused"):
        answer = await siem.ask("POST", "status_endpoint", json={"stream_id": told, "status": word})
        assert answer.status_code == 403
    assert redis.hget(keys.subscriber(told), "paused_by") == b"operator"

    oversee(redis, told, "operator", paused=False)
    assert (await siem.status(told))["status"] == ("disabled" if step == "disabled" else "enabled")
    await siem.set_status(told, "enabled")
    await tell(signal())
    assert "account-disabled" in names(await siem.poll(stream))


async def test_pauses_at_the_same_moment_are_both_kept(siem: Receiver, redis: Redis) -> None:
    """Whoever looks and then writes does so in one step: the operator's pause is never written over."""
    told = (await siem.create())["stream_id"]

    def receiver(stop: threading.Event) -> None:
        while not stop.is_set():
            for word in (PAUSED, ENABLED):
                set_status(redis, told, word, None)

    stop = threading.Event()
    busy = threading.Thread(target=receiver, args=[stop])
    busy.start()
    try:
        for _ in range(50):
            oversee(redis, told, "operator", paused=True)
            assert redis.hget(keys.subscriber(told), "paused_by") == b"operator"
            oversee(redis, told, "operator", paused=False)
    finally:
        stop.set()
        busy.join()


async def test_malformed_status_changes_nothing(siem: Receiver) -> None:
    """400 for any other word."""
    told = (await siem.create())["stream_id"]
    for more in ({}, {"status": "stopped"}, {"status": None}, {"status": "paused", "reason": 5}):
        answer = await siem.ask("POST", "status_endpoint", json={"stream_id": told} | more)
        assert answer.status_code == 400
    assert (await siem.status(told))["status"] == "enabled"
    assert len((await siem.set_status(told, "paused", reason="x" * 9_000))["reason"]) == 500


# ---- verification


async def test_verification_is_asked_for_once_in_a_while(siem: Receiver, tell: Tell, redis: Redis) -> None:
    """429 says when; the interval is told with the stream."""
    stream = await siem.create(events_requested=ONE)
    told = stream["stream_id"]
    await siem.verify(told, "first")

    answer = await siem.ask("POST", "verification_endpoint", json={"stream_id": told})
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= stream["min_verification_interval"] == 60
    redis.delete(keys.verified(told))
    await siem.verify(told)
    await tell()
    came = await siem.poll(stream)
    assert sorted((each.event for each in came), key=len) == [{}, {"state": "first"}]


async def test_state_comes_back_as_it_was(siem: Receiver, tell: Tell, redis: Redis) -> None:
    """Whatever text it is, up to a bound."""
    stream = await siem.create(events_requested=ONE)
    told = {"stream_id": stream["stream_id"]}
    for state in ("", '\x00\N{SNOWMAN}\U0001f40d"\\', "x" * 2_000):
        redis.delete(keys.verified(stream["stream_id"]))
        await siem.verify(stream["stream_id"], state)
        await tell()
        [came] = await siem.poll(stream)
        assert came.event == {"state": state}
        await siem.poll(stream, ack=ids([came]))
    states: list[Any] = [5, ["x"], {}, "x" * 2_001]
    answers = [await siem.ask("POST", "verification_endpoint", json=told | {"state": state}) for state in states]
    assert [answer.status_code for answer in answers] == [400] * 4


async def test_verification_goes_the_way_of_the_stream(siem: Receiver, tell: Tell, redis: Redis) -> None:
    """Held while it is paused, pushed where it is pushed, and refused where it could go nowhere."""
    stream = await siem.create()
    pushed = await siem.create(delivery={"method": PUSH, "endpoint_url": "https://siem.example/events"})
    await siem.set_status(stream["stream_id"], "paused")
    for each in (stream, pushed):
        await siem.verify(each["stream_id"])
    await tell()

    assert await siem.poll(stream) == []
    await siem.set_status(stream["stream_id"], "enabled")
    assert names(await siem.poll(stream)) == ["verification"]
    assert redis.zcard(keys.lines(pushed["stream_id"])) == 1
    await siem.set_status(stream["stream_id"], "disabled")
    body = {"stream_id": stream["stream_id"]}
    assert (await siem.ask("POST", "verification_endpoint", json=body)).status_code == 400


async def test_operator_pauses_a_stream_as_any_subscriber_and_its_receiver_is_told(
    siem: Receiver, client: httpx.AsyncClient, admin: dict[str, str], tell: Tell
) -> None:
    """``PATCH /v1/subscribers/{stream_id}``; what comes meanwhile waits."""
    stream = await siem.create(events_requested=ONE)
    path = f"/v1/subscribers/{stream['stream_id']}"

    paused = await client.patch(path, json={"paused": True}, headers=admin)
    await tell(signal())
    told = await siem.poll(stream)
    resumed = await client.patch(path, json={"paused": False}, headers=admin)
    await tell()
    came = await siem.poll(stream, ack=ids(told))

    assert (paused.status_code, paused.json()["state"], resumed.status_code) == (200, "paused", 200)
    assert [each.event for each in told] == [{"status": "paused"}]
    assert names(came) == ["account-disabled", "stream-updated"]


@pytest.mark.parametrize(
    ("word", "asked"),
    [
        ("disabled", ({"paused": False}, 200)),
        ("disabled", ({"disabled": False}, 409)),
        ("disabled", ({"paused": True}, 409)),
        ("disabled", ({"disabled": False, "paused": True}, 409)),
        ("paused", ({"paused": False}, 409)),
        ("paused", ({"disabled": False}, 200)),
        ("enabled", ({"paused": False, "disabled": False}, 200)),
    ],
)
async def test_operator_undoes_nothing_that_the_receiver_decided(
    siem: Receiver,
    client: httpx.AsyncClient,
    admin: dict[str, str],
    tell: Tell,
    word: str,
    asked: tuple[dict[str, bool], int],
) -> None:
    """What asks for nothing that we did is no change, and nothing is told of it."""
    stream = await siem.create(events_requested=ONE)
    patch, status = asked
    before = await siem.set_status(stream["stream_id"], word, reason="ours to say")

    answer = await client.patch(f"/v1/subscribers/{stream['stream_id']}", json=patch, headers=admin)
    await tell()

    assert answer.status_code == status
    assert (await siem.status(stream["stream_id"]))["status"] == before["status"]
    assert await siem.poll(stream) == []


async def test_operators_pause_gives_back_the_receivers(siem: Receiver, redis: Redis) -> None:
    """It lies over it; whoever takes one away takes away its own."""
    told = (await siem.create())["stream_id"]
    await siem.set_status(told, "paused")

    oversee(redis, told, "operator", paused=True)
    assert (await siem.ask("POST", "status_endpoint", json={"stream_id": told, "status": "enabled"})).status_code == 403
    oversee(redis, told, "operator", paused=False)

    assert (await siem.status(told))["status"] == "paused"
    await siem.set_status(told, "enabled")
    assert (await siem.status(told))["status"] == "enabled"


async def test_operator_enables_a_stream_that_we_disabled(
    siem: Receiver, client: httpx.AsyncClient, admin: dict[str, str], redis: Redis, tell: Tell
) -> None:
    """It had failed for too long, which is forgotten then; its receiver is told."""
    stream = await siem.create(events_requested=ONE)
    told = stream["stream_id"]
    redis.hset(keys.subscriber(told), mapping={"disabled_at": 1, "reason": "failing", "failing_since": 1})

    answer = await client.patch(f"/v1/subscribers/{told}", json={"disabled": False}, headers=admin)
    assert (answer.status_code, answer.json()["state"]) == (200, "active")
    assert redis.hgetall(keys.subscriber(told)) == {}
    await tell()
    assert [each.event for each in await siem.poll(stream)] == [{"status": "enabled"}]


@pytest.mark.parametrize("waiting", [1, 101])
async def test_paused_is_announced_however_much_waits_and_however_little_is_asked_for(
    siem: Receiver, tell: Tell, redis: Redis, waiting: int
) -> None:
    """It overtakes what is held; what is held comes afterwards."""
    stream = await siem.create(events_requested=ONE)
    await tell(*(signal(event=f"hris:evt-{each}") for each in range(waiting)))
    oversee(redis, stream["stream_id"], "operator", paused=True)
    await tell()

    came = await siem.poll(stream, maxEvents=1)
    assert [each.event for each in came] == [{"status": "paused"}]
    assert await siem.poll(stream, maxEvents=1, ack=ids(came)) == []
    assert redis.llen(keys.polled(stream["stream_id"])) == waiting
