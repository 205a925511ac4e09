"""Event Grid beyond the contract of all sources: three kinds of proof, two handshakes, and what a token must say."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import jwt
import pytest
from redis import Redis
from starlette.applications import Starlette

from lifecycle.config import Source as Section
from lifecycle.config import own_options
from lifecycle.errors import Malformed, Misconfigured, Rejected, Unauthentic, Unavailable, Unreadable
from service.app import create_app
from service.sources import event_grid
from service.sources.base import KeysAt, NoKeys, Notice, Setup
from tests.conftest import MakeConfig
from tests.notices import AT, FIXTURES, OLD_SECRETS, SECRETS, load, setup_of

HEADER, QUERY, BEARER = setup_of("event_grid"), setup_of("event_grid_query"), setup_of("event_grid_bearer")
PEM = (FIXTURES / "event_grid_bearer" / "signing_key.pem").read_text()
TENANT, APP = BEARER.options.tenant, event_grid.EVENT_GRID_APP
ORIGIN = {"webhook-request-origin": "eventgrid.azure.net"}
VALIDATION = load("event_grid_query/validation").notice
USER = load("event_grid_query/user_updated").notice


def options(**told: Any) -> event_grid.Options:  # noqa: ANN401 - TOML
    """Return options as the configuration would hold them. Raises Misconfigured."""
    section = Section.model_validate({"adapter": "event_grid", **told})
    return own_options("sources.grid", section, event_grid.Options)


def setup(*secrets: str, **told: Any) -> Setup:  # noqa: ANN401 - TOML
    """Return a source with these options."""
    return Setup("grid", secrets, options(**told))


def token(**claims: Any) -> dict[str, str]:  # noqa: ANN401 - JSON
    """Return the header with a token as Event Grid sends it; a claim that a test makes None is left out."""
    at = int(AT.timestamp())
    said: dict[str, Any] = {
        "aud": "api://gatepost.acme.example",
        "iss": f"https://sts.windows.net/{TENANT}/",
        "appid": APP,
    }
    said |= {"nbf": at - 60, "iat": at - 60, "exp": at + 3_600} | claims
    told = {name: value for name, value in said.items() if value is not None}
    return {"authorization": f"Bearer {jwt.encode(told, PEM, 'RS256', headers={'kid': 'gatepost'})}"}


def believed(found: Setup, *, query: str = "", **headers: str) -> bool:
    """Tell whether a notice with these is believed."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        event_grid.verify(Notice("POST", query, names, b""), found, AT)
    except Unauthentic:
        return False
    return True


# ---- proof by a secret


def test_secret_counts_only_where_it_is_looked_for() -> None:
    """In another header, in the query, or in the header of another way it proves nothing."""
    named = setup("s3cret", header="x-gatepost")

    assert believed(named, x_gatepost="s3cret")
    assert not believed(named, authorization="s3cret")
    assert not believed(named, query="x-gatepost=s3cret")
    assert not believed(setup("s3cret", query="code"), authorization="s3cret", code="s3cret")
    assert not believed(setup(), authorization="")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "code",
        "code=",
        "code=wrong",
        "Code=SECRET",
        "code=SECRE",
        "code=SECRETT",
        "code=secret",
        "code= SECRET",
        "code=SECRET%00",
        "code=SECRET%ff",
        "kode=SECRET",
        "SECRET",
        "code=SECRET&code=wrong",
        "&".join(["code=SECRET", *["a=1"] * 30]),
    ],
)
def test_query_without_the_very_secret_proves_nothing(query: str) -> None:
    """Cut, longer, of another name, doubled or lost in a crowd: none is believed."""
    assert not believed(setup("SECRET", query="code"), query=query)


@pytest.mark.parametrize("query", ["code=SECRET", "for=acme&code=SECRET", "code=%53ECRET"])
def test_query_with_the_secret_proves_the_sender(query: str) -> None:
    """Whatever else the address has, and however it is written."""
    assert believed(setup("SECRET", query="code"), query=query)


def test_old_secret_of_the_query_is_told_by_its_own_name() -> None:
    """During a rotation it is seen which one is in use."""
    both = replace(QUERY, secrets=(SECRETS["event_grid_query"], OLD_SECRETS["event_grid_query"]))
    notice = USER._replace(query=f"code={both.secrets[1]}")

    assert event_grid.verify(notice, both, AT) == both.secrets[1]


def test_secret_of_any_letters_comes_through_the_query() -> None:
    """What ``gatepost send`` writes into the address is read out of it again."""
    odd = setup("a+b&c=d e/ü%", query="code")

    sent = event_grid.sign(Notice("POST", "code=wrong&for=acme", {}, b"{}"), odd, AT)

    assert event_grid.verify(sent, odd, AT) == odd.secrets[0]
    assert "for=acme" in sent.query


@pytest.mark.parametrize("name", [None, "", "another", "gatepost-user", "gatepost-users2"])
def test_event_subscription_that_is_not_listed_is_unauthentic(name: str | None) -> None:
    """Who learned the secret may still not send by an event subscription of their own."""
    sent = {"authorization": HEADER.secrets[0], **({"aeg_subscription_name": name} if name is not None else {})}

    assert not believed(HEADER, **sent)


# ---- proof by a token


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"appid": None, "azp": APP, "iss": f"https://login.microsoftonline.com/{TENANT}/v2.0"},
        {"azp": APP},
        {"aud": ["api://other", "api://gatepost.acme.example"]},
    ],
    ids=repr,
)
def test_token_of_event_grid_is_believed(claims: dict[str, Any]) -> None:
    """In either version."""
    assert believed(BEARER, **token(**claims))


@pytest.mark.parametrize(
    "claims",
    [
        {"appid": None},
        {"appid": ""},
        {"appid": APP.upper()},
        {"appid": [APP]},
        {"appid": {APP: 1}},
        {"appid": TENANT},
        {"azp": TENANT},
        {"appid": None, "client_id": APP},
        {"iss": f"https://sts.windows.net/{APP}/"},
        {"iss": f"https://sts.windows.net/{TENANT}"},
        {"iss": None},
        {"aud": "gatepost.acme.example"},
        {"aud": None},
        {"exp": None},
        {"exp": int(AT.timestamp()) - 3_600},
        {"nbf": int(AT.timestamp()) + 3_600},
    ],
    ids=repr,
)
def test_token_of_another_or_for_another_is_unauthentic(claims: dict[str, Any]) -> None:
    """Any application of a tenant can get a token for us, and any tenant has applications."""
    assert not believed(BEARER, **token(**claims))


def test_token_of_another_application_is_believed_where_that_one_is_named() -> None:
    """A topic that delivers by a managed identity is known by that one alone."""
    named = replace(BEARER, options=BEARER.options.model_copy(update={"app_id": TENANT}))

    assert believed(named, **token(appid=TENANT))
    assert not believed(named, **token())


def test_without_keys_nobody_is_believed_nor_refused() -> None:
    """Azure never sends again what is answered 401, so trouble of ours must be another answer."""
    with pytest.raises(Unavailable):
        event_grid.verify(Notice("POST", "", token(), b""), replace(BEARER, keys=NoKeys()), AT)


def test_token_proves_no_more_than_a_secret() -> None:
    """It says nothing of the body, so what is claimed is read in the directory all the same."""
    assert event_grid.assurance(BEARER) == event_grid.assurance(HEADER) == "shared_secret"


def test_keys_are_where_the_tenant_has_them() -> None:
    """Unless a stand-in or another cloud is named."""
    own = f"https://login.microsoftonline.com/{TENANT}/v2.0"
    other = setup(tenant=TENANT, audience="a", metadata_url="https://login.microsoftonline.us/x")

    assert event_grid.keys_at(HEADER) is None
    assert event_grid.keys_at(BEARER) == KeysAt(f"{own}/.well-known/openid-configuration", True, own)
    assert event_grid.keys_at(other) == KeysAt("https://login.microsoftonline.us/x", is_metadata=True)


def test_issuers_of_another_cloud_can_be_named() -> None:
    """Then those of the public one are none."""
    other = "https://login.partner.microsoftonline.cn/x/v2.0"
    named = replace(BEARER, options=BEARER.options.model_copy(update={"issuers": [other]}))

    assert believed(named, **token(iss=other))
    assert not believed(named, **token())


@pytest.mark.parametrize(
    "told",
    [
        {"header": "x-key", "query": "code"},
        {"header": "x-key", "tenant": TENANT, "audience": "a"},
        {"query": "code", "tenant": TENANT, "audience": "a"},
        {"tenant": TENANT},
        {"audience": "a"},
        {"app_id": APP},
        {"tenant": "acme.example", "audience": "a"},
        {"header": "X-Key"},
        {"query": "co de"},
        {"client_states": ["a-literal-secret"]},
    ],
    ids=repr,
)
def test_configuration_that_says_two_things_or_half_of_one_is_refused(told: dict[str, Any]) -> None:
    """Without showing what may be a secret."""
    with pytest.raises(Misconfigured) as error:
        options(**told)

    assert "a-literal-secret" not in str(error.value)


def test_secret_beside_a_tenant_is_refused() -> None:
    """It would look as if it opened something."""
    event_grid.check(BEARER)
    with pytest.raises(ValueError, match="tenant"):
        event_grid.check(replace(BEARER, secrets=("s3cret",)))


# ---- handshakes


@pytest.mark.parametrize(
    ("found", "query", "headers"),
    [
        (HEADER, "", {}),
        (HEADER, "", {"webhook-request-origin": ""}),
        (HEADER, "", {"webhook-request-origin": "*"}),
        (HEADER, "", {"webhook-request-origin": "eventgrid.azure.net.evil.example"}),
        (HEADER, "", {"origin": "eventgrid.azure.net"}),
        (HEADER, "", ORIGIN | {"aeg-subscription-name": "another"}),
        (QUERY, "", ORIGIN),
        (QUERY, "code=wrong", ORIGIN),
    ],
)
def test_consent_is_not_given_to_others(found: Setup, query: str, headers: dict[str, str]) -> None:
    """Nothing that could be taken for a consent is in the answer."""
    with pytest.raises(Rejected):
        event_grid.greet(Notice("OPTIONS", query, headers, b""), found, AT)


@pytest.mark.parametrize(
    ("found", "notice"),
    [
        (QUERY, VALIDATION._replace(query="")),
        (QUERY, VALIDATION._replace(query="code=wrong")),
        (HEADER, VALIDATION),
        (HEADER, VALIDATION._replace(headers={**VALIDATION.headers, "authorization": HEADER.secrets[0]})),
        (BEARER, VALIDATION),
        (BEARER, VALIDATION._replace(headers={**VALIDATION.headers, **token(appid=TENANT)})),
    ],
)
def test_code_is_given_back_to_nobody_who_proves_nothing(found: Setup, notice: Notice) -> None:
    """Or else anybody's event subscription would be ours."""
    with pytest.raises(Unauthentic):
        event_grid.greet(notice, found, AT)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b"null", b"[1]", b'[{"data": null}]', b'[{"data": {}}]', b"\xff", b"[" * 100_000]
    + [json.dumps([{"data": {"validationCode": code}}]).encode() for code in ("", "x" * 513, None, ["x"])],
)
def test_validation_without_a_code_is_refused(body: bytes) -> None:
    """It is the sender's mistake, and nothing is set aside for it."""
    with pytest.raises(Malformed):
        event_grid.greet(VALIDATION._replace(body=body), QUERY, AT)


@pytest.fixture
def app(config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> Starlette:
    """Give a receiver with a source in each of two ways."""
    monkeypatch.setenv("GRID", "s3cret")
    source = {"adapter": "event_grid", "secrets": ["env:GRID"]}
    return create_app(config(sources={"header": source, "query": source | {"query": "code"}}))


async def test_consent_is_in_the_headers(client: httpx.AsyncClient) -> None:
    """The receiver answers OPTIONS as CloudEvents wants it."""
    answer = await client.options("/hooks/header", headers=ORIGIN | {"webhook-request-rate": "120"})
    refused = await client.options("/hooks/header", headers={"webhook-request-origin": "evil.example"})

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["webhook-allowed-origin"] == "eventgrid.azure.net"
    assert answer.headers["webhook-allowed-rate"] == "*"
    assert "POST" in answer.headers["allow"]
    assert refused.status_code == 401
    assert "webhook-allowed-origin" not in refused.headers


async def test_code_is_given_back_with_200(client: httpx.AsyncClient, redis: Redis) -> None:
    """202 would not do; and nothing is kept of it."""
    answer = await client.post("/hooks/query?code=s3cret", content=VALIDATION.body, headers=dict(VALIDATION.headers))

    assert (answer.status_code, answer.json()) == (
        200,
        load("event_grid_query/validation").expected["greeting"]["body"],
    )
    assert not redis.exists("gatepost:events")


async def test_notice_that_cannot_be_read_is_kept_without_its_secret(client: httpx.AsyncClient, redis: Redis) -> None:
    """Azure drops what is answered 4xx, so it is answered 200 and set aside."""
    answer = await client.post("/hooks/query?code=s3cret", content=b"{")

    found: Any = [redis.hgetall(name) for name in redis.keys("gatepost:notice:*")]
    assert (answer.status_code, len(found)) == (200, 1)
    assert b"s3cret" not in b"".join(found[0].values())


# ---- events


@pytest.mark.parametrize(
    "change",
    [
        {"id": ""},
        {"id": "x" * 257},
        {"id": None},
        {"eventTime": "yesterday"},
        {"data": None},
        {"data": "Users/a"},
        {"eventType": "Microsoft.Graph.UserDeleted", "data": {"resource": "Groups/g", "resourceData": {"id": "g"}}},
        {"eventType": "Microsoft.Graph.GroupUpdated"},
        {"eventType": None},
        {"eventType": "Microsoft.Graph.SubscriptionReauthorizationRequired", "data": {"subscriptionId": "a/../b"}},
    ],
    ids=repr,
)
def test_event_that_cannot_be_read_stops_no_other(change: dict[str, Any]) -> None:
    """Of a batch all others count."""
    (good,) = json.loads(USER.body)
    notice = USER._replace(body=json.dumps([good | change, good]).encode())

    reading = event_grid.read(notice, QUERY, AT)

    assert len(reading.events) == len(reading.faults) == 1


def test_batch_is_read_up_to_the_largest_that_azure_sends() -> None:
    """5,000 events; one more is none of Azure's."""
    (good,) = json.loads(USER.body)
    entries = [{"id": str(n), "eventType": good["eventType"], "data": {"resource": f"Users/{n}"}} for n in range(5_001)]

    assert len(event_grid.read(USER._replace(body=json.dumps(entries[:-1]).encode()), QUERY, AT).events) == 5_000
    with pytest.raises(Unreadable):
        event_grid.read(USER._replace(body=json.dumps(entries).encode()), QUERY, AT)


@pytest.mark.parametrize("state", [None, "", "wrong", 7, ["grid-client-state-of-the-tests"], "\ud800"], ids=repr)
def test_event_of_another_graph_subscription_is_left_out(state: object) -> None:
    """Though it came by our event subscription and with our secret."""
    captured = load("event_grid/user_updated")
    event = json.loads(captured.notice.body)
    event["data"]["clientState"] = state

    reading = event_grid.read(captured.notice._replace(body=json.dumps(event).encode()), HEADER, AT)

    assert (reading.events, reading.ignored) == ((), ("clientState",))


@pytest.mark.parametrize("name", [None, "", "x" * 65, "a:b", "../a"])
def test_name_of_a_deleted_event_subscription_is_a_name_or_none(name: str | None) -> None:
    """What is handed on is a word that nobody could make more of."""
    headers = {"aeg-event-type": "SubscriptionDeletion"} | ({"aeg-subscription-name": name} if name is not None else {})

    assert event_grid.read(Notice("POST", "", headers, b""), QUERY, AT).upkeep == ("SubscriptionDeletion",)


def test_token_that_is_sent_is_believed_for_an_hour() -> None:
    """``gatepost send`` makes one as Entra would; who has no key to make one with is told."""
    sent = event_grid.sign(USER, BEARER, AT)

    assert event_grid.verify(sent, BEARER, AT + timedelta(minutes=59)) == "kid:gatepost"
    with pytest.raises(Unauthentic):
        event_grid.verify(sent, BEARER, AT + timedelta(minutes=63))
    with pytest.raises(ValueError, match="signing_key"):
        event_grid.sign(USER, setup(tenant=TENANT, audience="a"), AT)
