"""``POST /v1/subscribers/{name}/test`` and ``/replay``: what is sent because somebody asked."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle import outbox
from lifecycle.config import Config
from lifecycle.outbox_scripts import REPLAYED_MAX
from lifecycle.roster import roster
from lifecycle.signal import iso
from tests.seed import NOW, fail, signal, tell
from tests.service.api.subscribing import make, reason, show


async def test_test_is_for_one_alone(ask: httpx.AsyncClient, redis: Redis, found: Config) -> None:
    """The signal is kept for the one that is tested, whatever it subscribes to, and waits to be fanned out."""
    await make(ask, events=["person.deleted"])

    first, second = [(await ask.post("/v1/subscribers/soar/test")).json() for _ in range(2)]

    told = outbox.told(redis, first["signal"])
    assert told is not None
    assert (told.type, told.only, told.data["subscriber"]) == ("subscriber.test", "soar", "soar")
    assert roster(redis, found).subscribers["soar"].wants(told)
    assert first["signal"] != second["signal"]
    assert redis.xlen("gatepost:outbox") == 2
    listed = (await ask.get("/v1/signals", params={"type": "subscriber.test"})).json()["items"]
    assert {item["id"] for item in listed} == {first["signal"], second["signal"]}


def keep(redis: Redis, *signals: Any, age: timedelta = timedelta()) -> list[str]:  # noqa: ANN401 - Signal
    """Keep signals as of a while ago, fanned out to nobody, and return their ids."""
    for place, made in enumerate(signals):
        tell(redis, made)
        made_at = (NOW - age).timestamp() + place
        redis.zadd("gatepost:signals", {made.id: made_at})
        redis.hset(f"gatepost:signal:{made.id}", "made_at", repr(made_at))
    return [made.id for made in signals]


async def replay(ask: httpx.AsyncClient, **query: str) -> dict[str, Any]:
    """Replay and return the answer."""
    answer = await ask.post("/v1/subscribers/soar/replay", params=query)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_replay_since_a_moment_takes_what_is_wanted_in_order(ask: httpx.AsyncClient, redis: Redis) -> None:
    """The filter of today counts; what was before, or for one alone, does not come; one person's keep order."""
    await make(ask, events=["person.suspended"], targets=["crm"], when="signal.data.source == 'hris'")
    keep(redis, signal("old"), age=timedelta(days=2))
    wanted = keep(redis, signal("1", "E1"), signal("2", "E2"), signal("3", "E1"), age=timedelta(hours=1))
    other = signal("4", "E1")
    keep(redis, other._replace(id="sig_a", type="person.deleted"), other._replace(id="sig_b", target="desk"))
    keep(redis, other._replace(id="sig_c", only="siem"), other._replace(id="sig_d", only="soar"))
    keep(redis, other._replace(id="sig_e", besides="soar"), other._replace(id="sig_f", body='{"type":"x","data":{}}'))

    first = await replay(ask, since=iso(NOW - timedelta(days=1)))
    again = await replay(ask, since="2000-01-01T00:00:00+02:00")

    assert first == {"subscriber": "soar", "enlisted": 3, "full": False, "next": None}
    assert again["enlisted"] == 1
    line = redis.lrange("gatepost:line:soar:E1", 0, -1)
    assert line == [wanted[0].encode(), wanted[2].encode()]
    assert (await show(ask))["waiting"] == 4


async def test_replay_walks_many_pages(ask: httpx.AsyncClient, redis: Redis) -> None:
    """Signals of one moment, more than a page has, are each enlisted once; what is no longer kept is passed over."""
    await make(ask)
    made = [signal(str(number), f"E{number}") for number in range(1_200)]
    with redis.pipeline(transaction=False) as pipe:
        for each in made:
            outbox.keep(pipe, each)
        pipe.execute()
    redis.zadd("gatepost:signals", {each.id: 1_000.0 if place < 1_100 else 1_001.0 for place, each in enumerate(made)})
    redis.delete(f"gatepost:signal:{made[7].id}")

    replayed = await replay(ask, since="1970-01-01T00:00:00Z")

    assert replayed["enlisted"] == 1_199
    assert redis.zcard("gatepost:replays:soar") == 1_199


async def test_replay_says_that_there_is_no_room(ask: httpx.AsyncClient, redis: Redis) -> None:
    """Where to go on is told, and going on there when there is room again is the rest of it."""
    await make(ask)
    keep(redis, *(signal(str(number), f"E{number}") for number in range(5)), age=timedelta(hours=1))
    redis.hset("gatepost:subscriber:soar", "waiting", REPLAYED_MAX - 2)

    first = await replay(ask, since="1970-01-01T00:00:00Z")
    redis.hset("gatepost:subscriber:soar", "waiting", 2)
    second = await replay(ask, since=first["next"])

    assert (first["enlisted"], first["full"]) == (2, True)
    assert second == {"subscriber": "soar", "enlisted": 3, "full": False, "next": None}


async def test_one_signal_is_replayed_from_the_start(ask: httpx.AsyncClient, redis: Redis) -> None:
    """By its id, whatever the filter says; its attempts stay readable; while it waits there is nothing to replay."""
    await make(ask, events=["person.deleted"])
    tell(redis, signal(), "soar")
    fail(redis, signal().id, "soar")
    before = await show(ask)

    first, second = [await replay(ask, id=signal().id) for _ in range(2)]

    (delivery,) = (await ask.get(f"/v1/signals/{signal().id}")).json()["deliveries"]
    assert (before["waiting"], before["failed"]) == (0, 1)
    assert (first["enlisted"], second["enlisted"]) == (1, 0)
    assert (delivery["state"], delivery["attempts"], len(delivery["tried"])) == ("waiting", 0, 1)
    after = await show(ask)
    assert (after["waiting"], after["failed"]) == (1, 0)
    assert redis.zcard("gatepost:failures") == 0


async def test_all_failed_are_replayed(ask: httpx.AsyncClient, redis: Redis) -> None:
    """Each that it never took, whoever subscribes beside it; what is no longer kept is forgotten."""
    await make(ask)
    made = [signal(str(number), f"E{number}") for number in range(3)]
    for each in made:
        tell(redis, each, "soar", "siem")
        fail(redis, each.id, "soar")
        fail(redis, each.id, "siem")
    redis.delete(f"gatepost:signal:{made[0].id}")

    replayed = await replay(ask, failed="true")

    assert replayed["enlisted"] == 2
    assert ((await show(ask))["failed"], (await show(ask, "siem"))["failed"]) == (0, 3)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("since=yesterday", 400),
        ("since=2026-03-02T09:00:00", 400),
        ("since=2026-03-02", 400),
        ("since=2026-03-02T09:00:00+01:00", 400),
        ("since=9999-12-31T23:59:59-23:59", 202),
        ("since=0001-01-01T00:00:00%2B23:59", 202),
        ("failed=false", 400),
        ("failed=", 400),
        ("id=sig_nothing", 404),
        ("id=", 404),
        ("id=sig_1&failed=true", 400),
        ("all=true", 400),
    ],
)
async def test_replay_says_what(ask: httpx.AsyncClient, query: str, status: int) -> None:
    """One of three, in the form that it has; anything else is refused and named."""
    await make(ask)

    answer = await ask.post(f"/v1/subscribers/soar/replay?{query}")

    assert answer.status_code == status, answer.text


async def test_signal_for_another_alone_is_not_replayed(ask: httpx.AsyncClient, redis: Redis) -> None:
    """An id opens no other's mail."""
    await make(ask)
    await make(ask, "other")
    test = (await ask.post("/v1/subscribers/other/test")).json()["signal"]

    assert reason(await ask.post(f"/v1/subscribers/soar/replay?id={test}")) == (404, "signal_unknown")
