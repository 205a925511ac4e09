"""What is set aside: of whom, how much, and what is left out of it."""

import base64
import json
from collections.abc import AsyncIterator
from datetime import datetime
from urllib.parse import quote

import httpx
import pytest
from prometheus_client import CollectorRegistry
from redis import Redis

from lifecycle.aside import ASIDE_BYTES_MAX, ASIDE_MAX, room
from service.app import create_app
from service.aside import without_credentials
from service.ears import Ears
from service.hooks import Configured, Hooks
from service.intake import Intake
from service.sources import okta as okta_module
from service.sources.base import Notice, Reading, Setup
from tests.conftest import MakeConfig, open_client
from tests.notices import SECRETS, load, okta, okta_entry, setup_of
from tests.redis_server import RedisServer
from tests.service.test_hooks import OKTA, scope

UNSIGNED = {"personio": {"adapter": "personio", "unsigned": True}}
BROKEN = okta({"uuid": "u-0", "eventType": "user.lifecycle.deactivate"})


@pytest.mark.parametrize("body", [b"x" * 100_000, b"{}", b'{"event_name": "person.deleted"}'])
async def test_nothing_is_kept_of_a_stranger_that_cannot_be_read(config: MakeConfig, redis: Redis, body: bytes) -> None:
    """Of a source that proves nothing anybody may have sent it: it is told what is wrong, and Redis stays empty."""
    async with open_client(create_app(config(sources=UNSIGNED))) as client:
        answer = await client.post("/hooks/personio", content=body)

    assert (answer.status_code, answer.json()["type"]) == (400, "urn:gatepost:problem:unreadable")
    assert [key for key in redis.keys("*") if key != b"gatepost:heard:personio"] == []


async def test_what_a_stranger_says_well_is_kept_as_a_reason_to_look(config: MakeConfig, redis: Redis) -> None:
    """As it was before."""
    notice = load("personio_unsigned/employment_terminated").notice
    async with open_client(create_app(config(sources=UNSIGNED))) as client:
        answer = await client.post("/hooks/personio", content=notice.body)

    assert answer.status_code == 202
    assert redis.zcard("gatepost:open:lookups") == 1


@pytest.mark.parametrize("sizes", [dict.fromkeys(map(str, range(ASIDE_MAX)), 1), {"large": ASIDE_BYTES_MAX}])
async def test_source_without_room_is_told_to_send_again(
    client: httpx.AsyncClient, redis: Redis, admin: dict[str, str], sizes: dict[str, int]
) -> None:
    """With 503, so that nothing is lost; all of the notice that can be read counts, and other sources have their own.

    What is set aside already is no other when it comes again, and room that is made is used.
    """
    await client.post("/hooks/okta", content=BROKEN, headers=OKTA)
    redis.hset("gatepost:aside:okta", items=[part for pair in sizes.items() for part in pair])
    other = okta({**okta_entry("u-1"), "target": []}, okta_entry("u-2"))

    again = await client.post("/hooks/okta", content=BROKEN, headers=OKTA)
    full = await client.post("/hooks/okta", content=other, headers=OKTA)
    kept = redis.exists("gatepost:event:okta:u-2")
    redis.hdel("gatepost:aside:okta", *sizes)
    freed = await client.post("/hooks/okta", content=other, headers=OKTA)
    listed = (await client.get("/v1/failures", headers=admin)).json()["items"]

    assert again.status_code == 204
    assert (full.status_code, full.json()["type"], kept) == (503, "urn:gatepost:problem:aside_full", 1)
    assert freed.status_code == 204
    assert {item["type"] for item in listed} == {"notice"}
    assert len(listed) == 2


async def test_room_is_made_by_reading_again_or_by_a_drop(
    client: httpx.AsyncClient, redis: Redis, admin: dict[str, str]
) -> None:
    """What nobody can ever read is dropped by whoever looked at it; a second drop finds nothing."""
    await client.post("/hooks/okta", content=BROKEN, headers=OKTA)
    failure = (await client.get("/v1/failures", headers=admin)).json()["items"][0]["id"]
    before = room(redis, "okta")

    dropped = await client.post(f"/v1/holds/{failure}/drop", headers=admin)
    again = await client.post(f"/v1/holds/{failure}/drop", headers=admin)

    assert (before, room(redis, "okta")) == ((1, len(BROKEN)), (0, 0))
    assert (dropped.status_code, again.status_code) == (202, 404)
    assert redis.keys("gatepost:notice:*") == []
    assert redis.zcard("gatepost:failures") == 0


async def test_what_a_source_says_of_itself_is_handed_on_when_it_is_read_at_last(
    config: MakeConfig, redis: Redis, admin: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the fix, which here is a notice that can be read in the place of the one that could not."""
    monkeypatch.setenv("GRID", SECRETS["event_grid"])
    app = create_app(config(sources={"grid": {"adapter": "event_grid", "secrets": ["env:GRID"]}}))
    readable = load("event_grid/subscription_needs_reauthorization").notice
    headers = {"authorization": SECRETS["event_grid"]}
    async with open_client(app) as client:
        await client.post("/hooks/grid", content=b"x", headers=headers)
        failure = (await client.get("/v1/failures", headers=admin)).json()["items"][0]["id"]
        doc = json.loads(redis.hget(f"gatepost:{failure}", "doc") or b"{}")
        doc["body"] = base64.b64encode(readable.body).decode()
        redis.hset(f"gatepost:{failure}", "doc", json.dumps(doc))

        answer = await client.post(f"/v1/failures/{failure}/retry", headers=admin)

    assert answer.status_code == 202
    assert redis.llen("gatepost:upkeep:grid") == 1
    assert room(redis, "grid") == (0, 0)


class Careless:
    """A module that reads a text which is none: half of an emoji, as JSON can escape it."""

    def __getattr__(self, name: str) -> object:
        """Be Okta's in all else."""
        return getattr(okta_module, name)

    def read(self, notice: Notice, setup: Setup, now: datetime) -> Reading:
        """Return the events, the first of which cannot be written, and a word of the source's own."""
        first, *others = okta_module.read(notice, setup, now).events
        return Reading((first.model_copy(update={"vendor_kind": "\ud83d"}), *others), upkeep=("missed",))


@pytest.fixture
async def careless(redis_server: RedisServer) -> AsyncIterator[Hooks]:
    """Give a receiver of one source, whose module is careless."""
    intake = Intake(redis_server.url)
    source = Configured("okta", Careless(), setup_of("okta"))  # type: ignore[arg-type]
    yield Hooks({"okta": source}, intake, Ears(intake), CollectorRegistry())
    await intake.close()


async def test_event_that_cannot_be_written_is_set_aside(careless: Hooks, redis: Redis) -> None:
    """It blocks neither the others of its notice nor the vendor, who would send it again for ever."""
    body = okta(okta_entry("u-0"), okta_entry("u-1"))
    sent = scope("/hooks/okta", (b"authorization", SECRETS["okta"].encode())) | {"path_params": {"source": "okta"}}

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body}

    answer = await careless.receive(sent, receive)

    assert answer.status == 204
    assert (redis.exists("gatepost:event:okta:u-0"), redis.exists("gatepost:event:okta:u-1")) == (0, 1)
    assert room(redis, "okta").number == 1
    assert redis.lrange("gatepost:upkeep:okta", 0, -1) == [b"missed"]


SECRET = "ab/cd ef&gh-schlüssel"


@pytest.mark.parametrize(
    "field",
    [
        f"code={quote(SECRET)}",
        f"code={quote(SECRET, safe='')}",
        f"code={quote(SECRET).replace('%20', '+')}",
        f"code={quote(SECRET).lower()}",
        f"co%64e=%61{quote(SECRET)[1:]}",
        f"code=Bearer%20{quote(SECRET)}",
        quote(SECRET),
    ],
)
def test_secret_is_left_out_of_the_query_however_it_is_spelt(field: str) -> None:
    """The whole field goes, for one spelling is as good as another to whoever reads it."""
    for query in (f"a=1&{field}&b=%32", f"a=1&b=%32&{field}", f"{field}&a=1&b=%32"):
        notice = without_credentials(Notice("POST", query, {}, b""), ("other", SECRET))
        assert notice.query == "a=1&b=%32"


def test_secret_is_left_out_of_the_headers_in_either_encoding() -> None:
    """Letters beyond ASCII come as UTF-8 from most, and as Latin-1 from some; a secret beyond that is one as well."""
    headers = {
        "x-utf-8": SECRET.encode().decode("latin-1"),
        "x-latin-1": f"Bearer {SECRET}",
        "x-other": "秘密-key".encode().decode("latin-1"),
        "x-marks": "what??",
        "x-kept": "schlüssel",
    }

    notice = without_credentials(Notice("POST", "", headers, b""), (SECRET, "秘密-key"))

    assert notice.headers == {"x-marks": "what??", "x-kept": "schlüssel"}
    assert json.dumps(dict(notice.headers))
