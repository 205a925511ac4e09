"""Polling: each token is offered until it is acknowledged, and never again; who finds nothing waits a while."""

import asyncio
import time

import httpx
import pytest
from redis import Redis
from starlette.applications import Starlette

from lifecycle import keys, outbox
from lifecycle.records import Records
from lifecycle.ssf import sets
from service.ssf import polling
from service.ssf.transmitter import Transmitter
from tests.conftest import MakeConfig, Serve
from tests.redis_server import RedisServer
from tests.service.ssf.conftest import Section, Tell, receiver
from tests.service.ssf.receiver import PUSH, Receiver, ids, names
from tests.strict_receiver import RISC
from tests.transmitter import signal

ONE = [RISC + "account-disabled"]


class Through(httpx.AsyncHTTPTransport):
    """Reaches a receiver of this machine by whichever name it has."""

    def __init__(self, url: str) -> None:
        """Keep where it is."""
        super().__init__(limits=httpx.Limits(max_connections=100))
        self._url = httpx.URL(url)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request there."""
        request.url = request.url.copy_with(scheme="http", host=self._url.host, port=self._url.port)
        return await super().handle_async_request(request)


async def told(tell: Tell, number: int, first: int = 0) -> None:
    """Tell of so many leavers."""
    await tell(*(signal(event=f"hris:evt-{each}", person=f"E{each}") for each in range(first, first + number)))


async def test_unacknowledged_token_is_offered_again_and_is_the_same_one(siem: Receiver, tell: Tell) -> None:
    """However often; in the order in which they were made, and with what came since behind them."""
    stream = await siem.create(events_requested=ONE)
    await told(tell, 2)

    first = await siem.poll(stream)
    await told(tell, 1, first=2)
    second = await siem.poll(stream)

    assert len(first) == 2
    assert second[:2] == first
    assert len(siem.strict.taken) == len(second) == 3


async def test_late_and_repeated_acknowledgements_count_once(siem: Receiver, tell: Tell, redis: Redis) -> None:
    """What has ended stays so, whatever is said of it later; what nobody knows is ignored."""
    stream = await siem.create(events_requested=ONE)
    await told(tell, 3)
    came = await siem.poll(stream)
    later = ids(came)

    assert await siem.poll(stream, ack=later[:1] * 3) == came[1:]
    assert await siem.poll(stream, ack=later[:1], setErrs={later[0]: {"err": "invalid_key"}}) == came[1:]
    unknown = ["", "x", "~", "sig_x~account-disabled~y", later[1] + "x", later[1].rpartition("~")[0]]
    assert await siem.poll(stream, ack=unknown, setErrs={jti: {"err": "x"} for jti in unknown}) == came[1:]
    assert await siem.poll(stream, ack=[*later, *unknown]) == []
    await told(tell, 1, first=9)
    assert len(await siem.poll(stream, ack=later)) == 1
    assert redis.hget(keys.subscriber(stream["stream_id"]), "waiting") == b"1"
    assert redis.zcard(keys.FAILURES) == 0


async def test_error_ends_a_token_which_then_waits_for_a_person(siem: Receiver, tell: Tell, redis: Redis) -> None:
    """It is offered no more, stands under failures with the receiver's code, and goes out again when it is retried."""
    stream = await siem.create(events_requested=ONE)
    await told(tell, 3)
    first, second, third = came = await siem.poll(stream)
    said = {
        ids(came)[0]: {"err": "invalid_state", "description": "not what I know"},
        ids(came)[1]: {"err": "5 <script>", "description": {"x": 1}},
    }

    assert await siem.poll(stream, setErrs=said, headers={"content-language": "en"}) == [third]
    failures = Records(redis).failures().items
    assert sorted(failure["reason"] for failure in failures) == ["invalid_state", "not_said"]
    assert {failure["subscriber"] for failure in failures} == {stream["stream_id"]}
    found = outbox.failed(redis, stream["stream_id"], 10)
    outbox.enlist_again(redis, [outbox.Way(item, stream["stream_id"], "E0", polled=True) for item in found])
    assert sorted(ids(await siem.poll(stream))) == sorted(ids([first, second, third]))
    assert redis.zcard(keys.FAILURES) == 0


async def test_acknowledged_wins_where_both_are_said(siem: Receiver, tell: Tell, redis: Redis) -> None:
    """It has it."""
    stream = await siem.create(events_requested=ONE)
    await told(tell, 1)
    [jti] = ids(await siem.poll(stream))

    assert await siem.poll(stream, ack=[jti], setErrs={jti: {"err": "invalid_key"}}) == []
    assert redis.zcard(keys.FAILURES) == 0


async def test_no_more_come_than_are_asked_for_and_it_is_said_that_there_are_more(siem: Receiver, tell: Tell) -> None:
    """``maxEvents``; 0 only acknowledges, and nobody gets more than a hundred at once."""
    stream = await siem.create(events_requested=ONE)
    await told(tell, 102)

    for most, number in ((1, 1), (0, 0)):
        came, is_more = await siem.poll_for(stream, maxEvents=most)
        assert (len(came), is_more) == (number, True)
    came, is_more = await siem.poll_for(stream, maxEvents=5_000)
    assert (len(came), is_more) == (100, True)
    rest, is_more = await siem.poll_for(stream, ack=ids(came))
    assert (len(rest), is_more) == (2, False)
    # What only acknowledges waits for nothing, whatever it says of that.
    assert await siem.poll_for(stream, ack=ids(rest), maxEvents=0, returnImmediately=False) == ([], False)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"maxEvents": -1}',
        b'{"maxEvents": "5"}',
        b'{"maxEvents": 1.5}',
        b'{"maxEvents": true}',
        b'{"returnImmediately": "true"}',
        b'{"ack": "x"}',
        b'{"ack": [5]}',
        b'{"ack": ["' + b"x" * 201 + b'"]}',
        b'{"ack": [' + b",".join([b'"x"'] * 1_001) + b"]}",
        b'{"setErrs": ["x"]}',
        b'{"setErrs": {"x": "invalid_key"}}',
        b'{"setErrs": {"x": {"err": 5}}}',
    ],
)
async def test_malformed_poll_acknowledges_nothing(siem: Receiver, body: bytes) -> None:
    """400 with what is wrong."""
    stream = await siem.create()

    answer = await siem.ask("POST", stream["delivery"]["endpoint_url"], content=body)

    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


async def test_members_that_rfc_8936_does_not_have_are_ignored(siem: Receiver, tell: Tell) -> None:
    """Some receivers name the stream in the body as well."""
    stream = await siem.create(events_requested=ONE)
    await told(tell, 1)

    assert len(await siem.poll(stream, stream_id=stream["stream_id"], max_events=0)) == 1


async def test_stream_that_is_pushed_is_not_polled(siem: Receiver) -> None:
    """Nor has it a place where it could be."""
    stream = await siem.create(delivery={"method": PUSH, "endpoint_url": "https://siem.example/events"})

    assert (await siem.ask("POST", f"/ssf/poll/{stream['stream_id']}", json={})).status_code == 404


async def test_signal_that_is_gone_or_broken_stands_in_nobodys_way(siem: Receiver, tell: Tell, redis: Redis) -> None:
    """It ends, as failed where somebody should look; what is behind it comes."""
    stream = await siem.create(events_requested=ONE)
    made = await tell(*(signal(event=f"hris:evt-{each}", person=f"E{each}") for each in range(3)))
    redis.delete(keys.signal(made[0].id))
    redis.hdel(keys.signal(made[1].id), "made_at")

    assert len(await siem.poll(stream)) == 1
    reasons = [
        redis.hmget(f"gatepost:delivery:{each.id}~account-disabled:{stream['stream_id']}", "state", "reason")
        for each in made
    ]
    assert reasons == [[b"dropped", b"signal_gone"], [b"failed", b"unreadable"], [b"waiting", b""]]


async def test_item_that_is_no_event_here_stands_in_nobodys_way(siem: Receiver, tell: Tell, redis: Redis) -> None:
    """As a version knows it that was here before; it ends as failed, and says why."""
    stream = await siem.create(events_requested=ONE)
    [made] = await tell(signal())
    strange = f"{made.id}~of-another-version"
    redis.lpush(keys.polled(stream["stream_id"]), strange)

    assert names(await siem.poll(stream)) == ["account-disabled"]
    assert redis.hmget(keys.delivery(strange, stream["stream_id"]), "state", "reason") == [
        b"failed",
        b"no_security_event",
    ]


async def test_acknowledgements_of_what_nobody_knows_cost_no_look_through_all_that_waits(
    siem: Receiver, redis: Redis
) -> None:
    """A thousand of them beside a hundred thousand that wait are answered in a moment, as are all others."""
    stream = await siem.create(events_requested=ONE)
    waiting = keys.polled(stream["stream_id"])
    for start in range(0, 100_000, 10_000):
        redis.rpush(waiting, *(f"sig_{start + each:026}~account-disabled" for each in range(10_000)))
    unknown = [sets.jti(f"sig_x{each:025}~account-disabled", siem.strict.audience) for each in range(1_000)]
    redis.config_set("slowlog-log-slower-than", 100_000)
    redis.slowlog_reset()

    assert await siem.poll(stream, ack=unknown, maxEvents=0) == []

    assert [entry["command"][:4] for entry in redis.slowlog_get()] == []
    assert redis.llen(waiting) == 100_000


@pytest.mark.parametrize("member", ["ack", "setErrs", "maxEvents"])
async def test_null_is_as_good_as_nothing(siem: Receiver, tell: Tell, member: str) -> None:
    """Some receivers write down every member that they know."""
    stream = await siem.create(events_requested=ONE)
    await tell(signal())

    assert len(await siem.poll(stream, **{member: None})) == 1


# ---- who waits


async def test_who_finds_nothing_waits_until_something_comes(siem: Receiver, tell: Tell) -> None:
    """As RFC 8936 has it where nothing else is said."""
    stream = await siem.create(events_requested=ONE)
    waiting = asyncio.create_task(siem.poll(stream, returnImmediately=False))
    await asyncio.sleep(polling.LOOK_SECONDS)
    assert not waiting.done()

    begun = time.monotonic()
    await told(tell, 1)

    assert names(await waiting) == ["account-disabled"]
    assert time.monotonic() - begun < 2


async def test_who_waits_for_long_gets_an_empty_answer(config: MakeConfig, section: Section, redis: Redis) -> None:
    """And comes again; also while the stream is paused, when something is there that may not go out."""
    made = config(ssf=section())
    assert made.ssf is not None
    quick = Transmitter(redis, made, made.ssf, wait_seconds=0.3)
    transport = httpx.ASGITransport(Starlette(routes=quick.routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://gatepost.test") as client:
        siem = await receiver(client, "siem")
        stream = await siem.create(events_requested=ONE)
        await siem.set_status(stream["stream_id"], "paused")
        redis.rpush(keys.polled(stream["stream_id"]), "sig_x~account-disabled")

        begun = time.monotonic()
        assert await siem.poll_for(stream, returnImmediately=False) == ([], False)
        assert 0.3 <= time.monotonic() - begun < 2
        # Where nobody waits nobody looks.
        await asyncio.sleep(2 * polling.LOOK_SECONDS)
        assert quick._long_polls._watching is not None
        assert quick._long_polls._watching.done()
    await quick.close()


async def test_few_wait_for_one_stream_at_a_time(siem: Receiver, tell: Tell) -> None:
    """A third is asked to come again, what it acknowledges counts, and who left makes room."""
    stream = await siem.create(events_requested=ONE)
    url = stream["delivery"]["endpoint_url"]
    waiting = [asyncio.create_task(siem.poll(stream, returnImmediately=False)) for _ in range(2)]
    await asyncio.sleep(0.1)

    answer = await siem.ask("POST", url, json={})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
    assert await siem.poll(stream) == []
    await told(tell, 1)
    assert [len(came) for came in await asyncio.gather(*waiting)] == [1, 1]


async def test_wait_holds_no_thread_and_ends_with_its_client(
    serve: Serve, section: Section, redis: Redis, tell: Tell
) -> None:
    """Over the network: as many as may wait, do, and others are answered meanwhile; who hangs up waits no more."""
    served = serve(ssf=section(siem={"streams_max": 20}))
    async with httpx.AsyncClient(transport=Through(served.url)) as client:
        siem = await receiver(client, "siem")
        streams = [await siem.create(events_requested=ONE) for _ in range(20)]
        waits = [asyncio.create_task(siem.poll(each, returnImmediately=False)) for each in streams for _ in range(2)]
        await asyncio.sleep(0.3)
        begun = time.monotonic()
        assert len(await siem.all()) == 20
        assert time.monotonic() - begun < 1
        for each in waits[1:]:
            each.cancel()
        await asyncio.gather(*waits[1:], return_exceptions=True)
        again = asyncio.create_task(siem.poll(streams[1], returnImmediately=False))
        await tell(signal())
        assert [len(await each) for each in (waits[0], again)] == [1, 1]


async def test_who_waits_while_redis_dies_is_asked_to_come_again(siem: Receiver, redis_server: RedisServer) -> None:
    """503 soon, and nothing is lost."""
    stream = await siem.create(events_requested=ONE)
    url = stream["delivery"]["endpoint_url"]
    waiting = asyncio.create_task(siem._client.post(url, json={}, headers={"authorization": f"Bearer {siem.token}"}))
    await asyncio.sleep(0.3)

    redis_server.kill()

    assert (await waiting).status_code == 503
