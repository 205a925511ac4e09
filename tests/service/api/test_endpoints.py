"""The operators' API: who may ask, what lists show, and what a retry does."""

import base64
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from lifecycle import outbox
from lifecycle.event import Kind, State
from lifecycle.pages import SCAN_MAX
from lifecycle.signal import iso
from service.app import create_app
from tests.conftest import ADMIN_TOKEN, MakeConfig, open_client
from tests.seed import NOW, event, fail, hold, put, settle, signal, tell

ROUTES = [
    ("GET", "/v1/events"),
    ("GET", "/v1/events/evt-1"),
    ("GET", "/v1/people/E1042"),
    ("POST", "/v1/people/E1042/restore"),
    ("GET", "/v1/holds"),
    ("POST", "/v1/holds/hris:evt-1/release"),
    ("POST", "/v1/holds/hris:evt-1/drop"),
    ("GET", "/v1/failures"),
    ("POST", "/v1/failures/event:hris:evt-1/retry"),
    ("GET", "/v1/signals"),
    ("GET", "/v1/signals/sig_1"),
]


@pytest.fixture
async def ask(client: httpx.AsyncClient, admin: dict[str, str]) -> httpx.AsyncClient:
    """Give a client that has the token."""
    client.headers.update(admin)
    return client


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_every_route_wants_the_token(client: httpx.AsyncClient, redis: Redis, method: str, path: str) -> None:
    """Without a bearer token 401, with a wrong one 403, on every route, and a retry does nothing then."""
    put(redis, event())
    settle(redis, "E1042", State.FAILED)
    authorizations: list[dict[str, Any]] = [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": f"Basic {ADMIN_TOKEN}"},
        {"authorization": ADMIN_TOKEN},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Bearer {ADMIN_TOKEN}x"},
        {"authorization": f"Bearer {ADMIN_TOKEN[:-1]}"},
        {"authorization": b"Bearer \xff\xfe"},
    ]

    answers = [await client.request(method, path, headers=headers) for headers in authorizations]

    assert [answer.status_code for answer in answers] == [401] * 6 + [403] * 4
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}
    assert all("www-authenticate" in answer.headers for answer in answers[:6])
    assert redis.zcard("gatepost:failures") == 1


async def test_no_token_opens_where_none_is_configured(config: MakeConfig) -> None:
    """A receiver without admin tokens lets nobody in, an empty token included."""
    async with open_client(create_app(config(service={}))) as client:
        answers = [
            await client.get("/v1/events", headers={"authorization": f"Bearer {token}"}) for token in ("x", "None")
        ]

    assert [answer.status_code for answer in answers] == [403, 403]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_either_live_token_opens(config: MakeConfig, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """During a rotation both tokens open; the scheme's letter case does not count (RFC 9110 section 11.1)."""
    monkeypatch.setenv("OLD_TOKEN", "token-of-last-year")
    tokens = ["env:GATEPOST_ADMIN_TOKEN", "env:OLD_TOKEN"]

    async with open_client(create_app(config(service={"admin_tokens": tokens}))) as client:
        answers = [
            await client.get("/v1/events", headers={"authorization": f"{scheme} {token}"})
            for token in (ADMIN_TOKEN, "token-of-last-year")
        ]

    assert [answer.status_code for answer in answers] == [200, 200]


async def test_events_come_newest_first_and_a_page_at_a_time(ask: httpx.AsyncClient, redis: Redis) -> None:
    """Following the cursor shows each event once, though new ones arrive between the pages; then it ends with null."""
    for number in range(7):
        put(redis, event(f"evt-{number}", f"E{number}", at=NOW + timedelta(seconds=number)))

    first = (await ask.get("/v1/events", params={"limit": 3})).json()
    put(redis, event("evt-new", "E99", at=NOW + timedelta(seconds=99)))
    second = (await ask.get("/v1/events", params={"limit": 3, "after": first["next"]})).json()
    put(redis, event("evt-newer", "E98", at=NOW + timedelta(seconds=98)))
    third = (await ask.get("/v1/events", params={"limit": 3, "after": second["next"]})).json()

    shown = [[item["id"] for item in page["items"]] for page in (first, second, third)]
    assert shown == [["evt-6", "evt-5", "evt-4"], ["evt-3", "evt-2", "evt-1"], ["evt-0"]]
    assert third["next"] is None


async def test_events_of_one_moment_are_not_lost_between_pages(ask: httpx.AsyncClient, redis: Redis) -> None:
    """A whole notice is received in one millisecond; pages of one show each of its events exactly once."""
    put(redis, *(event(f"evt-{name}", f"E{name}") for name in ("a", "B", "é", "李", "😀", "_")))
    found: list[str] = []
    after: dict[str, str] = {}
    for _ in range(10):
        page = (await ask.get("/v1/events", params={"limit": "1", **after})).json()
        found += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}

    assert sorted(found) == sorted(f"evt-{name}" for name in ("a", "B", "é", "李", "😀", "_"))


async def test_filters_narrow_and_combine(ask: httpx.AsyncClient, redis: Redis) -> None:
    """State, source and person each leave out the others; together they leave what fits them all."""
    put(redis, event("1", "E1"), event("2", "E2"), event("3", "E1", source="okta", kind=Kind.JOINER))
    settle(redis, "E1", State.APPLIED)
    put(redis, event("4", "E1", source="okta"))

    async def ids(**filters: str) -> set[str]:
        return {item["id"] for item in (await ask.get("/v1/events", params=filters)).json()["items"]}

    assert await ids() == {"1", "2", "3", "4"}
    assert await ids(state="applied") == {"1", "3"}
    assert await ids(state="failed") == set()
    assert await ids(source="okta") == {"3", "4"}
    assert await ids(source="okt") == set()
    assert await ids(person="E1") == {"1", "3", "4"}
    assert await ids(person="e1@ACME.example") == {"1", "3", "4"}
    assert await ids(person="E1", state="applied", source="okta") == {"3"}
    assert await ids(person="nobody") == set()


async def test_rare_event_is_found_behind_very_many_others(ask: httpx.AsyncClient, redis: Redis) -> None:
    """A filter that fits nothing in the part that one request looks through gives a cursor, not a false end."""
    put(redis, event("rare", "E1", source="okta", at=NOW - timedelta(days=1)))
    at = NOW.timestamp() * 1000
    redis.zadd("gatepost:events", {f"hris:{number}": at + number for number in range(SCAN_MAX + 10)})

    first = (await ask.get("/v1/events", params={"source": "okta"})).json()
    second = (await ask.get("/v1/events", params={"source": "okta", "after": first["next"] or ""})).json()

    assert (first["items"], bool(first["next"])) == ([], True)
    assert [item["id"] for item in second["items"]] == ["rare"]
    assert second["next"] is None


HOSTILE_CURSORS = ["x", "é", "bnVsbA==", "WzFd", "W251bGwsIDFd", "=", "\x00"]


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "501"},
        {"limit": "-1"},
        {"limit": "ten"},
        {"limit": ""},
        {"limit": "²"},
        {"limit": "9" * 6_000},
        {"limit": "0000000019" + "9" * 5_000},
        {"state": "lost"},
        {"state": "KEPT"},
        {"states": "kept"},
        {"page": "2"},
        *({"after": cursor} for cursor in HOSTILE_CURSORS),
        *(
            {"after": base64.urlsafe_b64encode(text.encode()).decode()}
            for text in (
                "[NaN, 1]",
                '["nan", "x"]',
                f"[1{'0' * 400}, 1]",
                "[" * 5_000,
                '{"a": 1, "b": 2}',
                '[1, "\\ud800"]',
            )
        ),
    ],
)
async def test_malformed_query_is_refused_in_our_words(
    ask: httpx.AsyncClient, redis: Redis, query: dict[str, str]
) -> None:
    """A parameter that is wrong or that we do not know is 400, never passed over in silence and never our fault."""
    put(redis, event())

    answer = await ask.get("/v1/events", params=query)

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    after=st.one_of(
        st.text(max_size=30),
        st.recursive(st.none() | st.floats() | st.integers() | st.text(), st.lists).map(
            lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode()
        ),
    )
)
async def test_any_cursor_is_read_or_refused(ask: httpx.AsyncClient, after: str) -> None:
    """A cursor that no list gave is at worst the caller's mistake."""
    answer = await ask.get("/v1/failures", params={"after": after})

    assert answer.status_code in {200, 400}


async def test_event_shows_its_timeline(ask: httpx.AsyncClient, redis: Redis) -> None:
    """One event has where it stands, each delivery and each step, oldest first; a list leaves the steps out."""
    put(redis, event())
    settle(redis, "E1042", State.APPLIED)

    one = (await ask.get("/v1/events/evt-1")).json()
    listed = (await ask.get("/v1/events")).json()["items"][0]

    assert (one["state"], one["source"], one["kind"], one["person"]) == ("applied", "hris", "leaver", "E1042")
    assert one["received_at"] == one["effective_at"] == iso(NOW)
    delivery = {"target": "crm", "outcome": "applied", "requests": 2, "attempts": 1, "reason": None}
    assert one["deliveries"] == [delivery | {"retry_at": None, "confirm_by": None}]
    assert [step["step"] for step in one["timeline"]] == ["kept", "apply"]
    assert one["timeline"][0]["detail"] == {"vendor_kind": "person.leaver"}
    assert listed["timeline"] == []


async def test_id_that_two_sources_use_must_be_told_apart(ask: httpx.AsyncClient, redis: Redis) -> None:
    """An ambiguous id is 400 and names the choices; source:id is each one; an unknown id is 404."""
    put(redis, event("7"), event("7", source="okta"), event("8"))

    ambiguous = await ask.get("/v1/events/7")
    exact = [(await ask.get(f"/v1/events/{name}:7")).json()["source"] for name in ("hris", "okta")]
    unique = await ask.get("/v1/events/8")
    unknown = await ask.get("/v1/events/9")

    assert (ambiguous.status_code, ambiguous.json()["type"]) == (400, "urn:gatepost:problem:event_ambiguous")
    assert "hris:7" in ambiguous.json()["detail"]
    assert "okta:7" in ambiguous.json()["detail"]
    assert exact == ["hris", "okta"]
    assert (unique.json()["id"], unknown.status_code) == ("8", 404)


@pytest.mark.parametrize("event_id", ["a/b", "a b", "a:b", "ü", "%2e", "😀", "a?b#c", "x" * 256])
async def test_event_of_any_id_can_be_asked_for(ask: httpx.AsyncClient, redis: Redis, event_id: str) -> None:
    """Sources choose their ids; whatever letters they use, the API finds the event."""
    put(redis, event(event_id))
    url = httpx.URL("http://gatepost.test").copy_with(raw_path=b"/v1/events/" + _quoted(event_id))

    answer = await ask.get(url)

    assert (answer.status_code, answer.json().get("id")) == (200, event_id)


def _quoted(text: str) -> bytes:
    return "".join(f"%{byte:02X}" for byte in text.encode()).encode()


async def test_person_is_found_by_every_name(ask: httpx.AsyncClient, redis: Redis) -> None:
    """Key, user name and address lead to one person, with each attribute's source, the accounts and the last events."""
    put(redis, event())
    unsettled = (await ask.get("/v1/people/E1042")).json()
    settle(redis, "E1042", State.APPLIED)

    found = [(await ask.get(f"/v1/people/{name}")).json() for name in ("E1042", "e1042.LOGIN", "E1042@acme.example")]
    nobody = await ask.get("/v1/people/E9999")

    assert (unsettled["status"], len(unsettled["events"])) == ("unknown", 1)
    assert found[0] == found[1] == found[2]
    assert found[0]["status"] == "left"
    assert found[0]["attributes"]["email"] == {
        "value": "E1042@acme.example",
        "at": iso(NOW),
        "source": "hris",
        "event": "evt-1",
    }
    assert found[0]["accounts"]["crm"]["active"] is False
    assert "digest" not in found[0]["accounts"]["crm"]
    assert [each["id"] for each in found[0]["events"]] == ["evt-1"]
    assert (nobody.status_code, nobody.json()["type"]) == (404, "urn:gatepost:problem:person_unknown")


async def test_failed_event_goes_back_to_its_lane_once(ask: httpx.AsyncClient, redis: Redis) -> None:
    """A retry makes the event open again, offers its person, records who asked; a second one finds nothing."""
    put(redis, event())
    settle(redis, "E1042", State.FAILED, reason="credentials")
    redis.delete("rq:queue:leavers")
    failures = (await ask.get("/v1/failures")).json()["items"]

    retried = await ask.post(f"/v1/failures/{failures[0]['id']}/retry")
    again = await ask.post(f"/v1/failures/{failures[0]['id']}/retry")
    after = (await ask.get("/v1/events/evt-1")).json()

    assert [(each["id"], each["type"], each["reason"]) for each in failures] == [
        ("event:hris:evt-1", "event", "credentials")
    ]
    assert (retried.status_code, retried.json()) == (202, {"retried": "event:hris:evt-1"})
    assert again.status_code == 404
    assert (after["state"], after["timeline"][-1]["step"]) == ("kept", "retry")
    assert (redis.llen("rq:queue:leavers"), redis.llen("gatepost:mailbox:E1042")) == (1, 1)
    assert (await ask.get("/v1/failures")).json()["items"] == []


async def test_hold_is_listed_and_ruled_of_once(ask: httpx.AsyncClient, redis: Redis) -> None:
    """A release opens the event again in the leavers' lane, and records who asked; a second ruling finds nothing."""
    put(redis, event())
    settle(redis, "E1042", State.HELD, reason="too_many_leavers", holds=[hold()])
    redis.delete("rq:queue:leavers")
    page = (await ask.get("/v1/holds")).json()
    person = (await ask.get("/v1/people/E1042")).json()

    released = await ask.post("/v1/holds/evt-1/release")
    again = [await ask.post(f"/v1/holds/hris:evt-1/{verb}") for verb in ("release", "drop")]
    after = (await ask.get("/v1/events/evt-1")).json()

    (item,) = page["items"]
    assert (item["id"], item["event"], item["person"], item["state"]) == ("hris:evt-1", "evt-1", "E1042", "held")
    assert item["holds"] == person["holds"]
    assert (item["holds"][0]["limit"], item["holds"][0]["change"]) == ("leavers", "suspend")
    assert (released.status_code, released.json()) == (202, {"id": "evt-1", "verdict": "released"})
    assert [(each.status_code, each.json()["type"]) for each in again] == [
        (404, "urn:gatepost:problem:hold_unknown")
    ] * 2
    assert again[0].json()["detail"] == "hris:evt-1 is not held: it is kept"
    assert (after["state"], after["timeline"][-1]["step"], after["timeline"][-1]["detail"]) == (
        "kept",
        "release",
        {"by": "api"},
    )
    assert (redis.llen("rq:queue:leavers"), redis.llen("gatepost:mailbox:E1042")) == (1, 1)
    assert (await ask.get("/v1/holds")).json() == {"items": [], "next": None}


async def test_hold_is_dropped(ask: httpx.AsyncClient, redis: Redis) -> None:
    """The event is offered with the ruling, which the worker obeys."""
    put(redis, event())
    settle(redis, "E1042", State.HELD, reason="too_many_leavers", holds=[hold()])

    dropped = await ask.post("/v1/holds/hris:evt-1/drop")

    assert (dropped.status_code, dropped.json()) == (202, {"id": "hris:evt-1", "verdict": "dropped"})
    assert json.loads(redis.hget("gatepost:event:hris:evt-1", "ruling") or b"")[:2] == ["dropped", "api"]


SUBSCRIBERS = {
    name: {"url": f"https://{name}.example/hook", "secrets": ["env:SIEM_WHSEC"]} for name in ("siem", "soar")
}


async def test_failed_signal_waits_again(config: MakeConfig, admin: dict[str, str], redis: Redis) -> None:
    """A signal that nobody took is listed under failures, and a retry puts its delivery in line again."""
    made = signal()
    tell(redis, made, "siem")
    fail(redis, made.id, "siem", reason="gone")

    async with open_client(create_app(config(subscribers=SUBSCRIBERS))) as client:
        client.headers.update(admin)
        failures = (await client.get("/v1/failures")).json()["items"]
        retried = await client.post(f"/v1/failures/signal:{made.id}:siem/retry")
        again = await client.post(f"/v1/failures/signal:{made.id}:siem/retry")
        (delivery,) = (await client.get(f"/v1/signals/{made.id}")).json()["deliveries"]

    assert [(each["type"], each["item"], each["subscriber"], each["reason"]) for each in failures] == [
        ("signal", made.id, "siem", "gone")
    ]
    assert (retried.status_code, again.status_code) == (202, 404)
    assert (delivery["state"], delivery["attempts"], len(delivery["tried"])) == ("waiting", 0, 1)
    assert redis.lrange("gatepost:line:siem:E1042", 0, -1) == [made.id.encode()]
    assert redis.zcard("gatepost:failures") == redis.zcard("gatepost:failed:siem") == 0


async def test_failed_signal_of_nobody_cannot_be_asked_for_again(ask: httpx.AsyncClient, redis: Redis) -> None:
    """Whoever subscribes no longer takes nothing: that is said, and the failure stays."""
    tell(redis, signal(), "siem", items=[f"{signal().id}~account-disabled"])
    fail(redis, f"{signal().id}~account-disabled", "siem")
    (failure,) = (await ask.get("/v1/failures")).json()["items"]

    answer = await ask.post(f"/v1/failures/{failure['id']}/retry")

    assert (failure["signal"], failure["item"]) == (signal().id, f"{signal().id}~account-disabled")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:gatepost:problem:subscriber_unknown")
    assert "'siem' subscribes no longer" in answer.json()["detail"]
    assert redis.zcard("gatepost:failures") == 1


async def test_stopped_target_is_taken_as_it_is(ask: httpx.AsyncClient, redis: Redis) -> None:
    """A target that drifted is one failure with what changed; a retry accepts that and lets it go on."""
    stopped = {"reason": "schema_drift", "detail": "title is gone", "found": {"title": {}}}
    redis.set("gatepost:stopped:crm", json.dumps(stopped))
    redis.zadd("gatepost:failures", {"target:crm": 1.0})

    failures = (await ask.get("/v1/failures")).json()["items"]
    retried = await ask.post("/v1/failures/target:crm/retry")
    again = await ask.post("/v1/failures/target:crm/retry")

    assert [(each["type"], each["target"], each["detail"]) for each in failures] == [("target", "crm", "title is gone")]
    assert [(retried.status_code, retried.json()), again.status_code] == [(202, {"retried": "target:crm"}), 404]
    assert not redis.exists("gatepost:stopped:crm")
    assert redis.get("gatepost:baseline:crm") == b'{"title": {}}'


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        ("event:hris:nothing", 404),
        ("target:crm", 404),
        ("signal:sig_1:siem", 404),
        ("notice:0", 404),
        ("nonsense", 400),
        ("event:", 404),
    ],
)
async def test_retry_of_nothing_is_told_so(ask: httpx.AsyncClient, redis: Redis, failure: str, status: int) -> None:
    """Only what waits can be asked for again."""
    answer = await ask.post(f"/v1/failures/{failure}/retry")

    assert answer.status_code == status
    assert redis.keys("rq:*") == []


async def test_signals_show_their_body_and_deliveries(ask: httpx.AsyncClient, redis: Redis) -> None:
    """A signal is listed with the body that was signed, and found by its id; an unknown one is 404."""
    made = signal()
    tell(redis, made, "siem", "soar", items=[f"{made.id}~a", f"{made.id}~b"])
    redis.rpush(f"gatepost:attempts:{made.id}~a:siem", json.dumps({"at": "2026-03-02T09:00:06.000Z", "status": 204}))

    listed = (await ask.get("/v1/signals")).json()
    one = (await ask.get(f"/v1/signals/{made.id}")).json()
    unknown = await ask.get("/v1/signals/sig_nothing")

    assert listed == {"items": [one], "next": None}
    assert (one["type"], one["event"], one["source"], one["person"]) == ("person.suspended", "evt-1", "hris", "E1042")
    assert one["body"] == json.loads(made.body)
    ways = [(delivery["item"].removeprefix(made.id), delivery["subscriber"]) for delivery in one["deliveries"]]
    assert ways == [("~a", "siem"), ("~a", "soar"), ("~b", "siem"), ("~b", "soar")]
    assert one["deliveries"][0]["tried"] == [{"at": "2026-03-02T09:00:06.000Z", "status": 204}]
    assert unknown.status_code == 404


async def test_signal_that_is_not_fanned_out_has_no_deliveries(ask: httpx.AsyncClient, redis: Redis) -> None:
    """Between its event and its fan-out a signal is there, and nobody has it yet."""
    with redis.pipeline() as pipe:
        outbox.keep(pipe, signal())
        pipe.execute()

    one = (await ask.get(f"/v1/signals/{signal().id}")).json()

    assert (one["id"], one["deliveries"]) == (signal().id, [])


async def test_signals_are_filtered(ask: httpx.AsyncClient, redis: Redis) -> None:
    """Type, person, subscriber and state each leave out others; a state is of the subscriber that is asked for."""
    put(redis, event("1", "E1"), event("2", "E2"))
    settle(redis, "E1", State.APPLIED)
    first, second, third = signal("1", "E1"), signal("2", "E2"), signal("3", "E3")
    tell(redis, first, "siem", "soar")
    tell(redis, second, "siem")
    tell(redis, third)
    fail(redis, first.id, "siem")
    names = {first.id: "1", second.id: "2", third.id: "3"}

    async def ids(**filters: str) -> set[str]:
        return {names[item["id"]] for item in (await ask.get("/v1/signals", params=filters)).json()["items"]}

    assert await ids() == await ids(type="person.suspended") == {"1", "2", "3"}
    assert await ids(type="person.deleted") == set()
    assert await ids(person="E1") == await ids(person="e1@acme.example") == {"1"}
    assert await ids(subscriber="siem") == {"1", "2"}
    assert await ids(subscriber="nobody") == set()
    assert await ids(state="failed") == await ids(state="failed", subscriber="siem") == {"1"}
    assert await ids(state="failed", subscriber="soar") == set()
    assert await ids(state="waiting") == {"1", "2"}
    assert await ids(state="waiting", subscriber="siem", person="E2") == {"2"}


@pytest.mark.parametrize("query", [{"state": "lost"}, {"type": "person.*"}, {"target": "crm"}, {"state": ""}])
async def test_filter_of_signals_that_fits_nothing_ever_is_refused(
    ask: httpx.AsyncClient, query: dict[str, str]
) -> None:
    """A word that is none of ours would give an empty list for ever; it is 400 and the words are named."""
    answer = await ask.get("/v1/signals", params=query)

    assert answer.status_code == 400
    assert "there are: " in answer.json()["detail"] or "allowed: " in answer.json()["detail"]
