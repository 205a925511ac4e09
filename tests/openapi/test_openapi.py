"""``openapi.yaml`` is a document of OpenAPI 3.1, names the routes that exist, and tells the truth of their answers."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, given, settings
from redis import Redis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.applications import Starlette
from starlette.routing import Route

from lifecycle import signals
from lifecycle.event import PERSON_FIELDS, Kind, State
from lifecycle.person import Person
from lifecycle.signal import ALL_TYPES, TYPES
from lifecycle.subscriber_view import STATES
from service.app import create_app
from service.sources import standard_webhooks
from service.ssf.tokens import TRIES_MAX, Tokens
from service.ssf.transmitter import ALL_CHANGES_MAX
from tests.conftest import ADMIN_TOKEN, MakeConfig, Serve
from tests.notices import SECRETS, canonical, load, names, okta, okta_entry, signed
from tests.redis_server import RedisServer
from tests.seed import SALT, event, fail, hold, put, settle, signal, tell
from tests.transmitter import ISSUER, pem

DOCUMENT = yaml.safe_load((Path(__file__).parents[2] / "openapi" / "openapi.yaml").read_text())
SCHEMAS = DOCUMENT["components"]["schemas"]
METHODS = ("get", "post", "put", "patch", "delete", "options")
OPERATIONS = {
    operation["operationId"]: (method, path)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method in METHODS
}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
BROKEN = {
    "section": {"format": "standard_webhooks", "url": "https://broken.example"},
    "secrets": [
        {"id": "00000000", "kind": "v1", "created_at": "2026-03-02T09:00:00+00:00", "expires_at": None, "sealed": "x"}
    ],
    "bearers": {},
    "headers": {},
    "created_at": "2026-03-02T09:00:00+00:00",
    "updated_at": "2026-03-02T09:00:00+00:00",
}
"""What is kept of a subscriber that no key opens."""
SUBSCRIBERS = {
    "siem": {"url": "https://siem.example/hook", "secrets": ["env:SIEM_WHSEC"], "headers": {"X-Team": "sec"}},
    "idp": {"format": "ssf_push", "url": "https://idp.example/events", "audience": "https://idp.example"},
}
OKTA = {"authorization": SECRETS["okta"]}
RECEIVER_SECRET = "a-receivers-secret-of-enough-characters"
FORM = {"grant_type": "client_credentials", "client_id": "siem", "client_secret": RECEIVER_SECRET}
CAN_BE_WRONG = (
    "receiveNotice",
    "listEvents",
    "listHolds",
    "listFailures",
    "listSignals",
    "listSubscribers",
    "createSubscriber",
    "changeSubscriber",
    "rotateSubscriber",
    "replaySubscriber",
    "issueToken",
    "createStream",
    "updateStream",
    "replaceStream",
    "setStreamStatus",
    "addSubject",
    "removeSubject",
    "verifyStream",
    "pollStream",
)
"""The operations with a body or a parameter that not every text fits."""
BOUNDED = settings(
    max_examples=20, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def validator(name: str) -> jsonschema_rs.Draft202012Validator:
    """Return what checks a value against one schema of the document."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


def faults(name: str, value: object) -> list[str]:
    """List what is wrong with a value."""
    return [error.message for error in validator(name).iter_errors(value)]


def seeded(redis: Redis) -> None:
    """Keep something of every kind: events, persons, a failure of each type, a signal with an attempt."""
    put(redis, event(), event("evt-2", "E2"), event("evt-2", "E3", source="okta", kind=Kind.JOINER))
    redis.set("gatepost:person:E8", Person(key="E8").model_dump_json())
    made = signal()
    settle(redis, "E1042", State.APPLIED, signals=[(made, ["siem", "soar"])])
    settle(redis, "E2", State.FAILED, reason="credentials")
    put(redis, event("evt-4", "E4"), event("evt-5", "E5"), event("evt-6", "E6"))
    settle(redis, "E4", State.HELD, reason="too_many_leavers", holds=[hold("evt-4", "okta:evt-7")])
    settle(redis, "E5", State.HELD, reason="too_many_leavers", holds=[hold("evt-5")])
    settle(redis, "E6", State.HELD, reason="several_accounts")
    put(redis, event("evt-7", "E4", source="okta"))
    settle(redis, "E4", State.HELD, reason="too_many_leavers", holds=[hold("evt-4", "okta:evt-7")], is_hold=False)
    fail(redis, made.id, "siem")
    event_of_it = f"{signal('evt-8').id}~account-disabled"
    tell(redis, signal("evt-8"), "idp", items=[event_of_it])
    fail(redis, event_of_it, "idp")
    redis.zadd("gatepost:failures", {"target:crm": 2.0})
    redis.set("gatepost:vault-salt", SALT)
    redis.hset("gatepost:subscribers", "broken", json.dumps(BROKEN))
    redis.hset("gatepost:subscriber:idp", "disabled_at", "1000")
    redis.set("gatepost:stopped:crm", json.dumps({"reason": "schema_drift", "detail": "title is gone", "found": {}}))


def test_document_is_openapi_3_1() -> None:
    """The document is valid against the specification's own schema, and every schema in it is one."""
    schemathesis.openapi.from_dict(DOCUMENT).validate()

    assert DOCUMENT["openapi"].startswith("3.1")
    for name in SCHEMAS:
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema"} | SCHEMAS[name])
        validator(name)


def test_every_reference_leads_somewhere() -> None:
    """No ``$ref`` is broken and no component is unused."""
    used = set(_references(DOCUMENT))

    for reference in used:
        place: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]
    defined = {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "responses", "parameters", "pathItems")
        for name in DOCUMENT["components"][kind]
    }
    assert used == defined


def _references(value: Any) -> Iterator[str]:  # noqa: ANN401 - YAML
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)


def test_paths_are_the_routes(app: Starlette) -> None:
    """Every route with its methods is in the document, and nothing else is."""
    routes = {
        (method.lower(), route.path.replace(":path}", "}"))
        for route in app.routes
        if isinstance(route, Route)
        for method in (route.methods or ())
        if method != "HEAD"
    }

    assert routes == set(OPERATIONS.values())


def test_words_are_the_codes() -> None:
    """States, kinds, types and person fields in the document are those of the code."""
    assert SCHEMAS["State"]["enum"] == list(State)
    assert SCHEMAS["Kind"]["enum"] == list(Kind)
    assert SCHEMAS["CanonicalNotice"]["properties"]["type"]["enum"] == list(standard_webhooks.KINDS)
    assert tuple(SCHEMAS["Profile"]["properties"]) == PERSON_FIELDS
    assert set(DOCUMENT["webhooks"]) <= set(ALL_TYPES)
    assert SCHEMAS["KeptType"]["enum"] == list(ALL_TYPES)
    families = sorted({f"{name.partition('.')[0]}.*" for name in TYPES})
    assert SCHEMAS["SubscriberEvents"]["items"]["enum"] == [*TYPES, *families]
    assert SCHEMAS["Subscriber"]["properties"]["state"]["enum"] == list(STATES)
    assert SCHEMAS["DeliveryState"]["enum"] == list(signals.STATES)


def test_examples_are_the_fixtures() -> None:
    """The notices shown are captured ones, so that who copies them sends what is tested."""
    content = DOCUMENT["paths"]["/hooks/{source}"]["post"]["requestBody"]["content"]["application/json"]

    shown = {name: example["value"] for name, example in content["examples"].items()}

    assert shown == {name: json.loads(load(name).notice.body) for name in shown}


@pytest.fixture
def transmitter(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Give ``[ssf]`` with a receiver of each profile."""
    monkeypatch.setenv("SSF_KEY", pem())
    monkeypatch.setenv("SIEM_SECRET", RECEIVER_SECRET)
    siem = {"secrets": ["env:SIEM_SECRET"], "audience": "https://siem.acme.example"}
    receivers = {"siem": siem, "old": siem | {"profile": "legacy", "audience": "https://old.acme.example"}}
    return {"issuer": ISSUER, "signing_keys": ["env:SSF_KEY"], "receivers": receivers}


@pytest.fixture
def app(config: MakeConfig, transmitter: dict[str, Any]) -> Starlette:
    """Give a receiver with a source of each kind of answer, and a transmitter."""
    okta = {"adapter": "okta", "secrets": ["env:OKTA_HOOK_SECRET"]}
    hris = {"adapter": "standard_webhooks", "secrets": ["env:HRIS_WHSEC"]}
    tokens = {"adapter": "ssf", "issuer": "https://idp.example", "audience": "us", "jwks_uri": "http://127.0.0.1:9"}
    sources = {"okta": okta, "hris": hris, "azure": okta | {"adapter": "event_grid"}, "tokens": tokens}
    return create_app(config(sources=sources, subscribers=SUBSCRIBERS, ssf=transmitter))


DESCRIBED = {"okta": "OktaEventHook", "standard_webhooks": "CanonicalNotice"}
"""The bodies that the document describes; all others are their vendors' own."""


@pytest.mark.parametrize(
    "name", [name for folder in DESCRIBED for name in names(folder) if load(name).expected.get("events")]
)
def test_captured_notices_fit_the_document(name: str) -> None:
    """What a source's reader takes is what the document describes."""
    schema = DESCRIBED[name.partition("/")[0]]
    # A moment without a zone is taken, but not what a sender should send.
    body = json.loads(load(name).notice.body)
    if name == "standard_webhooks/moments_without_zone":
        body["timestamp"] += "Z"

    assert faults(schema, body) == []


@pytest.mark.parametrize("signal_type", list(DOCUMENT["webhooks"]))
def test_example_of_every_signal_fits_its_schema(signal_type: str) -> None:
    """What a subscriber copies from the document is what it will get."""
    reference = DOCUMENT["webhooks"][signal_type]["$ref"].rpartition("/")[2]
    content = DOCUMENT["components"]["pathItems"][reference]["post"]["requestBody"]["content"]["application/json"]

    example = content["example"] | {"type": signal_type}

    assert faults(content["schema"]["$ref"].rpartition("/")[2], example) == []


Question = tuple[str, str, dict[str, Any]]
HUGE = b" " * 1_000_001
ADMIN = {"authorization": f"Bearer {ADMIN_TOKEN}"}


def of_sources() -> Iterator[Question]:
    """Ask the hooks for each of their answers."""
    yield "greetSource", "/hooks/okta", {"headers": {"x-okta-verification-challenge": "c"}}
    yield "greetSource", "/hooks/okta", {}
    for operation in ("greetSource", "askSource"):
        yield operation, "/hooks/nobody", {}
        yield operation, "/hooks/hris", {}
        yield operation, "/hooks/hris", {"content": HUGE}
    for body in (canonical(), canonical(), canonical("person.promoted"), b"what?"):
        yield "receiveNotice", "/hooks/hris", {"content": body, "headers": signed(body)}
    yield "receiveNotice", "/hooks/okta", {"content": okta(okta_entry()), "headers": OKTA}
    yield "receiveNotice", "/hooks/okta", {"content": b"{}"}
    yield "receiveNotice", "/hooks/nobody", {"content": b"{}"}
    yield "receiveNotice", "/hooks/tokens", {"content": b"no token"}
    for headers in ({"webhook-request-origin": "eventgrid.azure.net"}, {"webhook-request-origin": "nobody"}, {}):
        yield "askSource", "/hooks/azure", {"headers": headers}
    yield "receiveNotice", "/hooks/azure", {"content": b"[]", "headers": OKTA}
    yield "receiveNotice", "/hooks/okta", {"content": HUGE, "headers": OKTA}


def of_operators(failures: list[str]) -> Iterator[Question]:
    """Ask the API for each of its answers; ``failures`` are what can be asked again."""
    found = {
        "listEvents": "/v1/events",
        "getEvent": "/v1/events/evt-1",
        "getPerson": "/v1/people/E1042",
        "listHolds": "/v1/holds",
        "releaseHold": "/v1/holds/evt-4/release",
        "dropHold": "/v1/holds/evt-5/drop",
        "listFailures": "/v1/failures",
        "listSignals": "/v1/signals",
        "getSignal": f"/v1/signals/{signal().id}",
        "retryFailure": "/v1/failures/nonsense/retry",
        "restorePerson": "/v1/people/E1042/restore",
        "listSubscribers": "/v1/subscribers",
    }
    for operation, url in found.items():
        yield operation, url, {}
        yield operation, url, {"headers": {"authorization": "Bearer wrong"}}
        yield operation, url, {"headers": ADMIN}
        if operation.startswith("list"):
            yield operation, url, {"headers": ADMIN, "params": {"limit": "0"}}
    yield "listEvents", "/v1/events", {"headers": ADMIN, "params": {"limit": "1"}}
    yield "getEvent", "/v1/events/evt-2", {"headers": ADMIN}
    yield "getEvent", "/v1/events/nothing", {"headers": ADMIN}
    yield "getPerson", "/v1/people/nobody", {"headers": ADMIN}
    for key in ("nobody", "E8"):
        yield "restorePerson", f"/v1/people/{key}/restore", {"headers": ADMIN}
    yield "getSignal", "/v1/signals/nothing", {"headers": ADMIN}
    for operation, verb in (("releaseHold", "release"), ("dropHold", "drop")):
        for name in ("nothing", "evt-4", "evt-2", "okta:evt-7"):
            yield operation, f"/v1/holds/{name}/{verb}", {"headers": ADMIN}
    yield "releaseHold", "/v1/holds/evt-6/release", {"headers": ADMIN}
    for failure in ("event:nothing", *failures):
        yield "retryFailure", f"/v1/failures/{failure}/retry", {"headers": ADMIN}


def of_subscribers() -> Iterator[Question]:
    """Ask everything of subscribers."""
    one, new = "/v1/subscribers/soar", {"name": "soar", "url": "https://soar.example"}
    bodies: dict[str, dict[str, Any]] = {"createSubscriber": {"json": new}, "changeSubscriber": {"json": {}}}
    asked = {
        "createSubscriber": "/v1/subscribers",
        "getSubscriber": one,
        "changeSubscriber": one,
        "rotateSubscriber": f"{one}/rotate",
        "testSubscriber": f"{one}/test",
        "replaySubscriber": f"{one}/replay?failed=true",
        "deleteSubscriber": one,
    }
    for operation, url in asked.items():
        yield operation, url, {}
        yield operation, url, {"headers": {"authorization": "Bearer wrong"}}
        yield operation, url, {"headers": ADMIN, **bodies.get(operation, {})}
        if operation != "createSubscriber":
            nobody = url.replace("soar", "nobody")
            yield operation, nobody, {"headers": ADMIN, **bodies.get(operation, {})}
    yield "createSubscriber", "/v1/subscribers", {"headers": ADMIN, "json": new | {"signature": "v1a"}}
    for operation in ("createSubscriber", "changeSubscriber", "rotateSubscriber"):
        yield operation, asked[operation], {"headers": ADMIN, "content": HUGE}
        yield operation, asked[operation], {"headers": ADMIN, "content": b"{}"}
        yield operation, asked[operation], {"headers": ADMIN, "json": {"name": "siem", "color": "red"}}
    yield "createSubscriber", "/v1/subscribers", {"headers": ADMIN, "json": new | {"name": "siem"}}
    yield "rotateSubscriber", "/v1/subscribers/siem/rotate", {"headers": ADMIN}
    yield "changeSubscriber", "/v1/subscribers/siem", {"headers": ADMIN, "json": {"url": new["url"]}}
    yield "deleteSubscriber", "/v1/subscribers/siem", {"headers": ADMIN}
    yield "testSubscriber", "/v1/subscribers/broken/test", {"headers": ADMIN}
    yield "getSubscriber", "/v1/subscribers/broken", {"headers": ADMIN}
    yield "replaySubscriber", f"{one}/replay", {"headers": ADMIN}
    yield "replaySubscriber", "/v1/subscribers/idp/replay?failed=true", {"headers": ADMIN}


WITHOUT_REDIS: dict[str, dict[str, Any]] = {
    "createSubscriber": {"json": {"name": "soar", "url": "https://soar.example"}},
    "changeSubscriber": {"json": {}},
    "replaySubscriber": {"params": {"failed": "true"}},
}


def of_operations() -> Iterator[Question]:
    """Ask what needs nothing."""
    for operation in ("live", "ready", "metrics", "openapi"):
        yield operation, OPERATIONS[operation][1], {}


STREAM_OPERATIONS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "readStreams": ("params", {}),
    "createStream": ("json", {}),
    "updateStream": ("json", {}),
    "replaceStream": ("json", {}),
    "deleteStream": ("params", {}),
    "readStreamStatus": ("params", {}),
    "setStreamStatus": ("json", {"status": "enabled"}),
    "addSubject": ("json", {"subject": {"format": "email", "email": "bo.ray@acme.example"}}),
    "removeSubject": ("json", {"subject": {"format": "email", "email": "bo.ray@acme.example"}}),
    "verifyStream": ("json", {}),
    "pollStream": ("json", {"returnImmediately": True}),
}
"""Where each is told of which stream, and what else it has to be told."""
CHANGES = (
    "createStream",
    "updateStream",
    "replaceStream",
    "deleteStream",
    "setStreamStatus",
    "addSubject",
    "removeSubject",
)
"""Those that are counted."""


def of_stream(operation: str, stream_id: str, token: str, **more: Any) -> Question:  # noqa: ANN401 - JSON
    """Ask something of a stream."""
    where, told = STREAM_OPERATIONS[operation]
    found = told | more | ({} if operation in {"createStream", "pollStream"} else {"stream_id": stream_id})
    headers = {"authorization": f"Bearer {token}"}
    return operation, OPERATIONS[operation][1].format(stream_id=stream_id), {where: found, "headers": headers}


def of_discovery() -> Iterator[Question]:
    """Ask what receivers find without a token."""
    for operation in ("ssfConfiguration", "sseConfiguration", "riscConfiguration", "jwks", "authorizationServer"):
        yield operation, OPERATIONS[operation][1], {}


def of_wrong_receivers(stream_id: str, token: str, powerless: str) -> Iterator[Question]:
    """Ask for what is refused: without a good token, of no stream, and in no words that are known."""
    for operation in STREAM_OPERATIONS:
        for bearer in ("unknown", powerless):
            yield of_stream(operation, stream_id, bearer)
        name, path, options = of_stream(operation, "nothing", token)
        yield name, path, options
        if OPERATIONS[operation][0] not in {"get", "delete"}:
            _, path, _ = of_stream(operation, stream_id, token)
            for body in (b"{", b" " * 131_073):
                yield name, path, {"content": body, "headers": options["headers"]}
    for operation in ("readStreamStatus", "deleteStream"):
        yield operation, OPERATIONS[operation][1], {"headers": {"authorization": f"Bearer {token}"}}


def of_receivers(redis: Redis, stream_id: str, token: str) -> Iterator[Question]:
    """Ask for what a receiver gets, and for too much of it."""
    for operation in STREAM_OPERATIONS.keys() - {"deleteStream"}:
        yield of_stream(operation, stream_id, token)
    yield "readStreams", "/ssf/streams", {"headers": {"authorization": f"Bearer {token}"}}
    yield of_stream("verifyStream", stream_id, token)
    redis.sadd(f"gatepost:excluded:{stream_id}", *range(10_000))
    yield of_stream("removeSubject", stream_id, token, subject={"format": "opaque", "id": "x"})
    for bucket in redis.keys("gatepost:ssf-tries:*"):
        redis.set(bucket, ALL_CHANGES_MAX, keepttl=True)
    for operation in CHANGES:
        yield of_stream(operation, stream_id, token)
    redis.delete(*redis.keys("gatepost:ssf-tries:*"))
    yield of_stream("deleteStream", stream_id, token)


def of_clients() -> Iterator[Question]:
    """Ask for each of the answers that whoever wants a token gets."""
    yield "issueToken", "/ssf/token", {"data": FORM}
    yield "issueToken", "/ssf/token", {"data": FORM | {"grant_type": "password"}}
    yield "issueToken", "/ssf/token", {"data": FORM | {"client_secret": "x" * 9_000}}
    for _ in range(TRIES_MAX + 1):
        yield "issueToken", "/ssf/token", {"data": FORM | {"client_secret": "guess"}}


async def ask_as_receivers(
    client: httpx.AsyncClient, redis: Redis, ask: Callable[[Iterable[Question]], Awaitable[None]]
) -> list[asyncio.Task[None]]:
    """Ask all that receivers ask; return those who still wait for something to come."""
    token = str((await client.post("/ssf/token", data=FORM)).json()["access_token"])
    powerless = Tokens(redis, {}).issue("siem", RECEIVER_SECRET, [])
    created = await client.post("/ssf/streams", json={}, headers={"authorization": f"Bearer {token}"})
    stream_id = created.json()["stream_id"]
    waiting = [asyncio.create_task(_wait(client, stream_id, token)) for _ in range(2)]
    await asyncio.sleep(0.1)
    await ask([of_stream("pollStream", stream_id, token, returnImmediately=False)])
    await ask(of_discovery())
    await ask(of_clients())
    await ask(of_wrong_receivers(stream_id, token, powerless))
    await ask(of_receivers(redis, stream_id, token))
    await ask([of_stream("createStream", "", token)])
    return waiting


def of_what_needs_redis() -> Iterator[Question]:
    """Ask everything that cannot be answered without Redis."""
    yield "issueToken", "/ssf/token", {"data": FORM}
    for operation in STREAM_OPERATIONS:
        yield of_stream(operation, "nothing", "unknown")
    for operation, (_, path) in OPERATIONS.items():
        if path.startswith("/v1/") or operation in {"ready", "metrics"}:
            options = {"headers": ADMIN, **WITHOUT_REDIS.get(operation, {})}
            yield operation, path.format(id="event:hris:x", key="x", name="x"), options
    yield "receiveNotice", "/hooks/hris", {"content": canonical(), "headers": signed(canonical())}


async def test_every_documented_answer_exists(
    client: httpx.AsyncClient, redis: Redis, redis_server: RedisServer
) -> None:
    """Each status of each operation can be had, and has the content, headers and schema that the document promises."""
    seeded(redis)
    document = schemathesis.openapi.from_dict(DOCUMENT)
    seen: set[tuple[str, str]] = set()

    async def ask(questions: Iterable[Question]) -> None:
        for operation, url, options in questions:
            answer = await client.request(OPERATIONS[operation][0], url, **options)
            document.find_operation_by_id(operation).validate_response(answer)
            seen.add((operation, str(answer.status_code)))

    await ask(of_sources())
    failures = (await client.get("/v1/failures", headers=ADMIN)).json()["items"]
    await ask(of_operators([failure["id"] for failure in failures]))
    await ask(of_subscribers())
    await ask(of_operations())
    waiting = await ask_as_receivers(client, redis, ask)
    redis_server.kill()
    await asyncio.gather(*waiting)
    await ask(of_what_needs_redis())

    documented = {
        (operation, status)
        for operation, (method, path) in OPERATIONS.items()
        for status in DOCUMENT["paths"][path][method]["responses"]
    }
    assert {failure["type"] for failure in failures} == {"event", "notice", "signal", "target"}
    assert seen == documented


async def _wait(client: httpx.AsyncClient, stream_id: str, token: str) -> None:
    await client.post(f"/ssf/poll/{stream_id}", json={}, headers={"authorization": f"Bearer {token}"})


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_running_receiver_answers_as_documented(
    serve: Serve, redis: Redis, mode: schemathesis.GenerationMode, transmitter: dict[str, Any]
) -> None:
    """Schemathesis asks over the network, with right values and wrong ones: no fault, no undocumented answer."""
    seeded(redis)
    served = serve(subscribers=SUBSCRIBERS, ssf=transmitter)
    token = httpx.post(f"{served.url}/ssf/token", data=FORM).json()["access_token"]
    receiver = {"authorization": f"Bearer {token}"}
    document = schemathesis.openapi.from_dict(DOCUMENT)

    for operation_id in OPERATIONS if mode is schemathesis.GenerationMode.POSITIVE else CAN_BE_WRONG:
        operation = document.find_operation_by_id(operation_id)

        @BOUNDED
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: schemathesis.Case[Any]) -> None:
            headers = receiver if case.path.startswith("/ssf/") else ADMIN
            case.call_and_validate(base_url=served.url, headers=headers, checks=CHECKS, timeout=30)

        ask()


def test_believed_senders_notices_are_always_a_success(serve: Serve, redis: Redis) -> None:
    """Whatever body schemathesis makes of the document, signed by its source, is taken with a documented 2xx."""
    served = serve()
    operation = schemathesis.openapi.from_dict(DOCUMENT).find_operation_by_id("receiveNotice")
    statuses = set()

    with httpx.Client(base_url=served.url, timeout=30) as client:

        @BOUNDED
        @given(case=operation.as_strategy())
        def ask(case: schemathesis.Case[Any]) -> None:
            body = json.dumps(case.body).encode()
            for source, headers in (("hris", signed(body)), ("okta", OKTA)):
                answer = client.post(f"/hooks/{source}", content=body, headers=headers)
                operation.validate_response(answer)
                statuses.add(answer.status_code)

        ask()

    assert statuses == {202, 204}
