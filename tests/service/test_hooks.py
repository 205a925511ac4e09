"""The receiving endpoint, over a real Redis: what is kept, what is refused, and what is left behind."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis import Redis
from starlette.types import Message
from structlog.testing import capture_logs

from lifecycle.queue import LANES
from service.app import create_app
from tests.conftest import MakeConfig, Serve, open_client
from tests.notices import OLD_SECRETS, SECRETS, canonical, load, okta, okta_entry, signed
from tests.redis_server import RedisServer

OKTA = {"authorization": SECRETS["okta"], "content-type": "application/json"}
BROKEN = b'{"type": "person.left", "data": {"person": "Bo Ray, who left"}}'


def queued(redis: Redis) -> int:
    """Count the jobs that wait for a worker."""
    return sum(len(redis.lrange(f"rq:queue:{lane}", 0, -1)) for lane in LANES)


def left_behind(redis: Redis) -> set[bytes | str]:
    """Name every key there is."""
    return set(redis.keys("*"))


async def test_repeated_notice_is_kept_once(client: httpx.AsyncClient, redis: Redis) -> None:
    """A vendor's retry is answered as the first was, counted as a duplicate, and changes nothing."""
    body = canonical()
    headers = signed(body)

    first = await client.post("/hooks/hris", content=body, headers=headers)
    kept = left_behind(redis)
    second = await client.post("/hooks/hris", content=body, headers=headers)

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == {"accepted": 1, "duplicates": 0, "ignored": 0}
    assert second.json() == {"accepted": 0, "duplicates": 1, "ignored": 0}
    assert left_behind(redis) == kept
    assert queued(redis) == 1


async def test_identical_notices_at_once_are_accepted_once(client: httpx.AsyncClient, redis: Redis) -> None:
    """Of forty copies that arrive in the same moment, one is accepted and one job waits."""
    body = canonical()
    headers = signed(body)

    answers = await asyncio.gather(*(client.post("/hooks/hris", content=body, headers=headers) for _ in range(40)))

    assert {answer.status_code for answer in answers} == {202}
    assert sum(answer.json()["accepted"] for answer in answers) == 1
    assert sum(answer.json()["duplicates"] for answer in answers) == 39
    assert queued(redis) == 1


async def test_same_event_twice_in_one_notice_is_kept_once(client: httpx.AsyncClient, redis: Redis) -> None:
    """Okta may put an event into a hook twice; the second is the first."""
    body = okta(okta_entry(), okta_entry())

    answer = await client.post("/hooks/okta", content=body, headers=OKTA)

    assert answer.status_code == 204
    assert redis.llen("gatepost:mailbox:00u9old") == 1
    assert queued(redis) == 1


async def test_several_events_wait_in_their_lanes(client: httpx.AsyncClient, redis: Redis) -> None:
    """A leaver goes to the leavers' lane, a thin event to the look-ups', the others to the people's."""
    notice = load("okta/several_events").notice

    answer = await client.post("/hooks/okta", content=notice.body, headers=dict(notice.headers))

    assert (answer.status_code, answer.content) == (204, b"")
    assert redis.llen("rq:queue:leavers") == 1
    assert redis.llen("rq:queue:people") == 1
    assert redis.llen("rq:queue:lookups") == 1
    assert (redis.llen("gatepost:mailbox:00u1new"), redis.llen("gatepost:unread:00u1new")) == (1, 1)


async def test_old_secret_is_believed_while_it_is_live(client: httpx.AsyncClient) -> None:
    """During a rotation the sender may still use the old secret."""
    body = canonical()

    answer = await client.post(
        "/hooks/hris", content=body, headers=signed(body, secret=OLD_SECRETS["standard_webhooks"])
    )

    assert answer.status_code == 202


async def test_secret_of_any_letters_is_believed(config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret with letters beyond ASCII arrives as UTF-8 and is the same secret."""
    monkeypatch.setenv("UMLAUT", "Schlüssel-für-Okta")
    app = create_app(config(sources={"okta": {"adapter": "okta", "secrets": ["env:UMLAUT"]}}))

    async with open_client(app) as client:
        answer = await client.post(
            "/hooks/okta", content=okta(okta_entry()), headers={b"authorization": "Schlüssel-für-Okta".encode()}
        )

    assert answer.status_code == 204


async def test_unknown_kinds_are_counted(client: httpx.AsyncClient) -> None:
    """Beside known ones in the same notice too, so that somebody can see what a source says and we do not carry."""
    notice = okta(okta_entry(), okta_entry("u-2", "user.mfa.factor.reset_all"))

    await client.post("/hooks/okta", content=notice, headers={"authorization": SECRETS["okta"]})

    assert 'gatepost_kinds_ignored_total{source="okta"} 1.0' in (await client.get("/metrics")).text


async def test_path_with_a_slash_too_many_is_not_redirected(client: httpx.AsyncClient) -> None:
    """A redirect would lead to whatever host the sender named."""
    answer = await client.post("/hooks/okta/", content=b"{}")

    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_unknown_kinds_are_thanked_for_and_ignored(client: httpx.AsyncClient, redis: Redis) -> None:
    """An event that we do not carry is a success that keeps nothing."""
    body = canonical("person.promoted")

    answer = await client.post("/hooks/hris", content=body, headers=signed(body))

    assert answer.json() == {"accepted": 0, "duplicates": 0, "ignored": 1}
    assert left_behind(redis) == set()


async def test_body_announced_too_large_is_refused_unread(config: MakeConfig, redis: Redis) -> None:
    """A content-length over the limit is enough for a 413: not one byte is read."""
    app = create_app(config(service={"max_body_bytes": 1_024}))
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body was read")

    async def send(message: Message) -> None:
        sent.append(message)

    async with open_client(app):
        await app(scope("/hooks/okta", (b"content-length", b"1025")), receive, send)

    assert sent[0]["status"] == 413
    assert json.loads(sent[1]["body"])["type"] == "urn:gatepost:problem:body_too_large"
    assert left_behind(redis) == set()


async def test_body_without_a_length_is_read_up_to_the_limit(config: MakeConfig, redis: Redis) -> None:
    """A stream that never ends is cut at the limit; one that ends on it is taken."""
    app = create_app(config(service={"max_body_bytes": 1_024}))
    chunks = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal chunks
        while True:
            chunks += 1
            yield b" " * 100

    async def exact(body: bytes) -> AsyncIterator[bytes]:
        yield body[:7]
        yield body[7:].ljust(1_024 - 7)

    async with open_client(app) as client:
        refused = await client.post("/hooks/okta", content=endless(), headers=OKTA)
        taken = await client.post("/hooks/okta", content=exact(okta(okta_entry())), headers=OKTA)

    assert (refused.status_code, taken.status_code) == (413, 204)
    assert chunks == 11
    assert queued(redis) == 1


async def test_process_refuses_a_chunked_stream_and_a_false_length(serve: Serve, redis: Redis) -> None:
    """Over the network too: 413 for a long stream, and our own words for a body that does not fit its length."""
    served = serve(service={"max_body_bytes": 1_024})

    async def stream() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b" " * 1_000

    async with httpx.AsyncClient(base_url=served.url) as client:
        chunked = await client.post("/hooks/okta", content=stream(), headers=OKTA)
        announced = await client.post("/hooks/okta", content=b" " * 2_000, headers=OKTA)
        taken = await client.post("/hooks/okta", content=okta(okta_entry()), headers=OKTA)

    assert [chunked.status_code, announced.status_code, taken.status_code] == [413, 413, 204]
    assert queued(redis) == 1


async def test_sender_that_goes_away_leaves_nothing(config: MakeConfig, redis: Redis) -> None:
    """A connection that ends in the middle of a body is nobody's notice."""
    app = create_app(config())
    sent: list[Message] = []
    received: list[Message] = [
        {"type": "http.request", "body": b'{"data"', "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return received.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    async with open_client(app):
        await app(scope("/hooks/okta", (b"authorization", SECRETS["okta"].encode())), receive, send)

    assert sent[0]["status"] in range(400, 500)
    assert left_behind(redis) == set()


def scope(path: str, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    """Return what an ASGI server would say of a POST."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": list(headers),
        "server": ("gatepost.test", 80),
        "client": ("127.0.0.1", 1),
    }


async def test_unknown_source_is_not_found(client: httpx.AsyncClient, redis: Redis) -> None:
    """A name that nobody configured is 404 as a problem document, and leaves nothing."""
    answer = await client.post("/hooks/workday", content=canonical(), headers=signed(canonical()))

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:gatepost:problem:source_unknown"
    assert left_behind(redis) == set()


@pytest.mark.parametrize("source", ["okta", "hris"])
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE"])
async def test_method_that_no_source_uses_is_405(client: httpx.AsyncClient, source: str, method: str) -> None:
    """A wrong method is told so."""
    answer = await client.request(method, f"/hooks/{source}", headers=OKTA)

    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"


async def test_okta_challenge_comes_back(client: httpx.AsyncClient, redis: Redis) -> None:
    """The handshake needs no secret, answers with what was sent, and keeps nothing; without a challenge it is 400."""
    notice = load("okta/challenge").notice

    answer = await client.get("/hooks/okta", headers=dict(notice.headers))
    without = await client.get("/hooks/okta")
    elsewhere = await client.get("/hooks/hris", headers=dict(notice.headers))

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {"verification": notice.headers["x-okta-verification-challenge"]}
    assert (without.status_code, elsewhere.status_code) == (400, 405)
    assert left_behind(redis) == set()


@pytest.mark.parametrize("headers", [{}, {"authorization": ""}, {"authorization": "wrong"}])
async def test_unauthentic_notice_leaves_nothing(
    client: httpx.AsyncClient, redis: Redis, headers: dict[str, str]
) -> None:
    """A 401 for both sources, without a word of what was expected, and not one key in Redis."""
    answers = [
        await client.post("/hooks/okta", content=okta(okta_entry()), headers=headers),
        await client.post("/hooks/hris", content=canonical(), headers=headers),
    ]

    assert {answer.status_code for answer in answers} == {401}
    assert not any(secret in answer.text for answer in answers for secret in SECRETS.values())
    assert left_behind(redis) == set()


async def test_unreadable_notice_is_set_aside_whole_and_read_after_the_fix(
    client: httpx.AsyncClient, redis: Redis, admin: dict[str, str]
) -> None:
    """An authentic notice that we cannot read is a 2xx, stands under failures, and is read again on demand."""
    body = BROKEN
    answer = await client.post("/hooks/hris", content=body, headers=signed(body))
    listed = (await client.get("/v1/failures", headers=admin)).json()["items"]
    failure = listed[0]
    still = await client.post(f"/v1/failures/{failure['id']}/retry", headers=admin)

    assert (answer.status_code, answer.json()) == (202, {"accepted": 0, "duplicates": 0, "ignored": 0})
    assert len(listed) == 1
    assert (failure["type"], failure["source"], failure["reason"]) == ("notice", "hris", "unreadable")
    assert failure["body_bytes"] == len(body)
    assert "Bo Ray" not in json.dumps(failure)
    assert (still.status_code, still.json()["type"]) == (400, "urn:gatepost:problem:unreadable")
    assert queued(redis) == 0


async def test_set_aside_notice_is_taken_once_its_reader_can(
    client: httpx.AsyncClient, redis: Redis, admin: dict[str, str]
) -> None:
    """After the fix a retry keeps the events of the notice and forgets the failure; a second retry finds nothing."""
    # The fix is a reader that understands; here, a notice that it understands takes the broken one's place.
    await client.post("/hooks/hris", content=BROKEN, headers=signed(BROKEN))
    failure = (await client.get("/v1/failures", headers=admin)).json()["items"][0]["id"]
    key = f"gatepost:{failure}"
    doc = json.loads(redis.hget(key, "doc") or b"{}")
    whole = await client.post("/hooks/okta", content=b"{}", headers=OKTA)
    doc["body"] = base64.b64encode(canonical()).decode()
    redis.hset(key, "doc", json.dumps(doc))

    retried = await client.post(f"/v1/failures/{failure}/retry", headers=admin)
    again = await client.post(f"/v1/failures/{failure}/retry", headers=admin)

    assert whole.status_code == 204
    assert (retried.status_code, retried.json()["accepted"]) == (202, 1)
    assert again.status_code == 404
    assert redis.zscore("gatepost:failures", failure) is None
    assert queued(redis) == 1


async def test_vendors_retry_of_an_unreadable_notice_is_one_failure(client: httpx.AsyncClient, redis: Redis) -> None:
    """The same unreadable notice, signed anew at each attempt, is set aside once."""
    for attempt in range(3):
        await client.post(
            "/hooks/hris", content=BROKEN, headers=signed(BROKEN, message_id="msg_1") | {"x-attempt": f"{attempt}"}
        )

    assert redis.zcard("gatepost:failures") == 1


async def test_what_is_set_aside_and_logged_holds_no_secret(client: httpx.AsyncClient, redis: Redis) -> None:
    """Neither the record of a notice set aside nor any log line has the credential; the log has no body either."""
    headers = OKTA | {"cookie": "session=stolen", "proxy-authorization": "Basic stolen", "x-request-id": "r-1"}

    with capture_logs() as lines:
        await client.post("/hooks/okta", content=b'{"who": "Bo Ray"}', headers=headers)
        await client.post("/hooks/okta", content=b'{"who": "Bo Ray"}', headers={"authorization": "wrong-secret"})

    kept = [redis.hget(key, "doc") for key in redis.scan_iter("gatepost:notice:*")]
    doc = json.loads(kept[0] or b"")
    assert len(kept) == 1
    assert doc["headers"]["x-request-id"] == "r-1"
    assert not {"authorization", "cookie", "proxy-authorization"} & set(doc["headers"])
    assert not any(word in json.dumps(doc) for word in (SECRETS["okta"], "stolen"))
    assert {line["event"] for line in lines} >= {"notice.set_aside", "request.refused"}
    assert not any(word in repr(lines) for word in (SECRETS["okta"], "wrong-secret", "stolen", "Bo Ray"))


async def test_killed_redis_is_503_and_a_restarted_one_is_used(
    client: httpx.AsyncClient, redis_server: RedisServer, admin: dict[str, str]
) -> None:
    """While Redis is away everything is 503 with Retry-After; after it is back, scripts forgotten, all is as before."""
    body = canonical()
    before = await client.post("/hooks/hris", content=body, headers=signed(body))

    redis_server.kill()
    away = [
        await client.post("/hooks/hris", content=canonical(id="evt-2"), headers=signed(canonical(id="evt-2"))),
        await client.post("/hooks/hris", content=BROKEN, headers=signed(BROKEN)),
        await client.get("/health/ready"),
        await client.get("/metrics"),
        await client.get("/v1/events", headers=admin),
    ]
    live = await client.get("/health/live")
    redis_server.start()
    repeat = await client.post("/hooks/hris", content=body, headers=signed(body))
    after = await client.post("/hooks/hris", content=canonical(id="evt-2"), headers=signed(canonical(id="evt-2")))
    ready = await client.get("/health/ready")

    assert before.json()["accepted"] == 1
    assert [answer.status_code for answer in away] == [503] * len(away)
    assert all(int(answer.headers["retry-after"]) > 0 for answer in away)
    assert {answer.headers["content-type"] for answer in away} == {"application/problem+json"}
    assert live.status_code == 200
    # What was accepted before the power cut is still known: it was written to disk before its 2xx.
    assert repeat.json() == {"accepted": 0, "duplicates": 1, "ignored": 0}
    assert after.json()["accepted"] == 1
    assert ready.status_code == 200


async def test_forgotten_script_costs_no_notice(client: httpx.AsyncClient, redis: Redis) -> None:
    """Redis may lose its script cache at any time; the notices that meet that are kept all the same, once."""
    redis.script_flush()
    bodies = [canonical(id=f"evt-{number}") for number in range(20)]

    answers = await asyncio.gather(*(client.post("/hooks/hris", content=body, headers=signed(body)) for body in bodies))

    assert [answer.json()["accepted"] for answer in answers] == [1] * 20
    assert redis.zcard("gatepost:events") == 20


async def test_full_redis_is_503_and_keeps_nothing_of_the_notice(client: httpx.AsyncClient, redis: Redis) -> None:
    """A Redis that is out of memory refuses the whole notice, with an answer that says: try again."""
    body = okta(*(okta_entry(f"uuid-{number}", user=f"00u{number}") for number in range(5)))
    with ExitStack() as stack:
        stack.callback(redis.config_set, "maxmemory", "0")
        redis.config_set("maxmemory", "1")
        full = await client.post("/hooks/okta", content=body, headers=OKTA)

    freed = await client.post("/hooks/okta", content=body, headers=OKTA)

    assert full.status_code == 503
    assert freed.status_code == 204
    assert redis.zcard("gatepost:events") == 5


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    source=st.sampled_from(["okta", "hris"]),
    method=st.sampled_from(["GET", "POST", "OPTIONS"]),
    body=st.binary(max_size=200),
    headers=st.dictionaries(
        st.sampled_from(
            [
                "authorization",
                "content-length",
                "webhook-id",
                "webhook-timestamp",
                "webhook-signature",
                "x-okta-verification-challenge",
                "content-type",
                "transfer-encoding",
            ]
        ),
        st.binary(max_size=60),
        max_size=5,
    ),
)
@example(source="okta", method="POST", body=b"", headers={"content-length": b"\xb2"})
@example(source="okta", method="POST", body=b"", headers={"content-length": b"9" * 5_000})
@example(
    source="hris",
    method="POST",
    body=b"",
    headers={"webhook-timestamp": b"\xb2", "webhook-id": b"1", "webhook-signature": b"v1,"},
)
def test_any_bytes_are_never_our_fault_and_nothing_is_queued(
    config: MakeConfig, redis: Redis, source: str, method: str, body: bytes, headers: dict[str, bytes]
) -> None:
    """Whatever a stranger sends to a hook, the answer is a 4xx or a handshake's, and Redis stays empty."""
    status = asyncio.run(_answer(config, source, method, body, headers))

    assert status in {200, 400, 401, 405, 413}
    assert (status == 200) <= (method == "GET" and source == "okta")
    assert left_behind(redis) == set()


async def _answer(config: MakeConfig, source: str, method: str, body: bytes, headers: dict[str, bytes]) -> int:
    app = create_app(config())
    sent: list[Message] = []
    received: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return received.pop(0) if received else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    raw = [(name.encode(), value) for name, value in headers.items()]
    async with open_client(app):
        await app(scope(f"/hooks/{source}", *raw) | {"method": method}, receive, send)
    return int(sent[0]["status"])


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.one_of(
        st.binary(max_size=200), st.text(max_size=100).map(lambda text: json.dumps({"data": {"events": text}}).encode())
    )
)
def test_any_authentic_bytes_are_a_success_set_aside(config: MakeConfig, redis: Redis, body: bytes) -> None:
    """Whatever a believed sender sends is never our 500: it is taken, set aside whole, and queues nothing."""
    redis.flushall()

    status = asyncio.run(_answer(config, "okta", "POST", body, {"authorization": SECRETS["okta"].encode()}))

    assert status == 204
    assert redis.zcard("gatepost:failures") == 1
    assert queued(redis) == 0


# ---- sources that sign nothing, batches, handshakes


async def test_word_of_a_source_that_signs_nothing_is_only_a_reason_to_look(
    config: MakeConfig, redis: Redis, tmp_path: Path
) -> None:
    """With a directory, whatever it claims waits for a look there; without one its word is all there is."""
    source = {"adapter": "okta", "secrets": ["env:OKTA_HOOK_SECRET"]}
    directory = {"adapter": "file", "path": str(tmp_path / "people.csv")}
    sources = {"okta": {**source, "directory": "hr"}, "bare": source}
    app = create_app(config(sources=sources, directories={"hr": directory}))

    async with open_client(app) as client:
        for name in sources:
            await client.post(f"/hooks/{name}", content=okta(okta_entry(user=f"at-{name}")), headers=OKTA)

    docs = {name: json.loads(redis.hget(f"gatepost:event:{name}:uuid-1", "doc") or b"") for name in sources}
    assert (docs["okta"]["kind"], docs["okta"]["hint"]) == ("changed", "leaver")
    assert (docs["bare"]["kind"], docs["bare"].get("hint")) == ("leaver", None)
    assert (redis.llen("gatepost:unread:at-okta"), redis.llen("gatepost:mailbox:at-bare")) == (1, 1)


async def test_batch_with_an_unreadable_entry_is_kept_and_set_aside(
    client: httpx.AsyncClient, redis: Redis, admin: dict[str, str]
) -> None:
    """The others do not wait; the notice is a failure until somebody corrects the reader, and its repeats are one."""
    body = okta(okta_entry("first"), okta_entry("odd") | {"target": []}, okta_entry("last"))

    answers = [await client.post("/hooks/okta", content=body, headers=OKTA) for _ in range(2)]

    failures = (await client.get("/v1/failures", headers=admin)).json()["items"]
    retried = await client.post(f"/v1/failures/{failures[0]['id']}/retry", headers=admin)
    assert [answer.status_code for answer in answers] == [204, 204]
    assert queued(redis) == 1
    assert redis.exists("gatepost:event:okta:first", "gatepost:event:okta:last") == 2
    assert [failure["detail"] for failure in failures] == ["entry 1: user.lifecycle.deactivate: no target of type User"]
    assert retried.status_code == 400


async def test_batch_of_thousands_is_kept_whole(client: httpx.AsyncClient, redis: Redis) -> None:
    """In several steps, none of which keeps Redis busy for long."""
    body = okta(*(okta_entry(f"u-{number}", user=f"00u{number}") for number in range(1_203)))

    answer = await client.post("/hooks/okta", content=body, headers=OKTA)

    assert answer.status_code == 204
    assert redis.zcard("gatepost:events") == 1_203


async def test_set_aside_notice_has_its_secret_in_no_header_or_query(client: httpx.AsyncClient, redis: Redis) -> None:
    """Wherever a source may carry it: what is kept is what was said, not what proved it."""
    headers = OKTA | {"x-also": f"Bearer {SECRETS['okta']}", "x-request-id": "r-1"}

    await client.post(f"/hooks/okta?code={SECRETS['okta']}&x=1", content=b"{", headers=headers)

    (key,) = redis.scan_iter("gatepost:notice:*")
    kept = json.loads(redis.hget(key, "doc") or b"")
    assert SECRETS["okta"] not in json.dumps(kept)
    assert (kept["query"], kept["headers"]["x-request-id"]) == ("x=1", "r-1")


async def test_limit_of_one_source_is_its_own(config: MakeConfig) -> None:
    """A source of large batches may send more than the service takes otherwise."""
    source = {"adapter": "okta", "secrets": ["env:OKTA_HOOK_SECRET"]}
    sources = {"okta": source, "large": {**source, "max_body_bytes": 10_000}}
    app = create_app(config(sources=sources, service={"max_body_bytes": 2_048}))

    async with open_client(app) as client:
        statuses = [
            (await client.post(f"/hooks/{name}", content=b" " * 5_000 + okta(), headers=OKTA)).status_code
            for name in sources
        ]

    assert statuses == [413, 204]
