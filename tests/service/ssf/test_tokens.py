"""Tokens: who gets one, what for, for how long, and what takes it away again."""

import base64
from typing import Any
from urllib.parse import quote_plus

import httpx
import pytest
from redis import Redis

from lifecycle.config import Config
from lifecycle.errors import Misconfigured
from service.app import create_app
from service.ssf.tokens import TOKENS_MAX, TRIES_MAX
from tests.conftest import MakeConfig, open_client
from tests.redis_server import RedisServer
from tests.service.ssf.conftest import OLD_SECRET, SECRETS, Section
from tests.service.ssf.receiver import Receiver

GRANT = {"grant_type": "client_credentials"}
POSTED = GRANT | {"client_id": "siem", "client_secret": SECRETS["siem"]}


def basic(name: str, secret: str) -> dict[str, str]:
    """Return the header of a client that encodes nothing."""
    return {"authorization": f"Basic {base64.b64encode(f'{name}:{secret}'.encode()).decode()}"}


async def ask(client: httpx.AsyncClient, form: Any = None, **options: Any) -> httpx.Response:  # noqa: ANN401 - a form
    """Ask for a token."""
    return await client.post("/ssf/token", data=form, **options)


async def opens(client: httpx.AsyncClient, answer: httpx.Response) -> int:
    """Return what a token is answered with where streams are read."""
    token = answer.json()["access_token"]
    return (await client.get("/ssf/streams", headers={"authorization": f"bearer {token}"})).status_code


@pytest.mark.parametrize(
    ("form", "headers"),
    [
        (POSTED, {}),
        (POSTED | {"client_secret": OLD_SECRET}, {}),
        (GRANT, basic("siem", SECRETS["siem"])),
        (GRANT, basic("edr", SECRETS["edr"])),
        (GRANT, basic("edr", quote_plus(SECRETS["edr"]))),
        (GRANT | {"client_id": "siem"}, basic("siem", SECRETS["siem"])),
    ],
)
async def test_either_way_to_show_any_secret_gets_a_token(
    client: httpx.AsyncClient, form: dict[str, str], headers: dict[str, str]
) -> None:
    """Encoded as RFC 6749 has it, or as it is; and by each secret that is live."""
    answer = await ask(client, form, headers=headers)

    assert answer.status_code == 200
    assert await opens(client, answer) == 200


@pytest.mark.parametrize(
    ("form", "headers", "status", "error"),
    [
        (POSTED | {"client_secret": "wrong"}, {}, 401, "invalid_client"),
        (POSTED | {"client_secret": ""}, {}, 401, "invalid_client"),
        (POSTED | {"client_id": "nobody"}, {}, 401, "invalid_client"),
        (POSTED | {"client_id": "edr"}, {}, 401, "invalid_client"),
        (POSTED | {"client_secret": "\N{SNOWMAN}"}, {}, 401, "invalid_client"),
        (GRANT, {}, 401, "invalid_client"),
        (GRANT, basic("siem", "wrong"), 401, "invalid_client"),
        (GRANT, {"authorization": "Basic !"}, 401, "invalid_client"),
        (GRANT, {"authorization": "Basic c2llbQ=="}, 401, "invalid_client"),
        (GRANT, {"authorization": "Basic /////w=="}, 401, "invalid_client"),
        (GRANT, {"authorization": "Bearer x"}, 401, "invalid_client"),
        (POSTED, basic("siem", SECRETS["siem"]), 400, "invalid_request"),
        (POSTED | {"grant_type": "password"}, {}, 400, "unsupported_grant_type"),
        ({name: POSTED[name] for name in ("client_id", "client_secret")}, {}, 400, "unsupported_grant_type"),
        (POSTED | {"scope": "openid"}, {}, 400, "invalid_scope"),
        (
            POSTED | {"scope": "ssf.manage", "client_id": "reader", "client_secret": SECRETS["reader"]},
            {},
            400,
            "invalid_scope",
        ),
    ],
)
async def test_no_token_is_refused_in_the_words_of_the_rfc(
    client: httpx.AsyncClient, redis: Redis, form: dict[str, str], headers: dict[str, str], status: int, error: str
) -> None:
    """RFC 6749 section 5.2; whoever is not let in is told how to come in (RFC 9110 section 11.6.1)."""
    answer = await ask(client, form, headers=headers)

    assert (answer.status_code, answer.json()["error"], answer.headers["cache-control"]) == (status, error, "no-store")
    assert (answer.headers.get("www-authenticate") == 'Basic realm="ssf"') == (status == 401)
    assert redis.keys("gatepost:ssf-token:*") == []


@pytest.mark.parametrize(
    "options",
    [
        {"content": b"grant_type=client_credentials"},
        {"json": POSTED},
        {"content": b"grant_type=%ff", "headers": {"content-type": "application/x-www-form-urlencoded"}},
        {"content": b"grant_type=a&grant_type=b", "headers": {"content-type": "application/x-www-form-urlencoded"}},
        {"content": b"\xff\xfe", "headers": {"content-type": "application/x-www-form-urlencoded"}},
        {
            "content": b"&".join(b"a%d=1" % n for n in range(99)),
            "headers": {"content-type": "application/x-www-form-urlencoded"},
        },
    ],
)
async def test_what_is_no_form_is_an_invalid_request(client: httpx.AsyncClient, options: dict[str, Any]) -> None:
    """Whatever else it is."""
    answer = await client.post("/ssf/token", **options)

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_large_form_is_not_read(client: httpx.AsyncClient) -> None:
    """A form that asks for a token is small; that is said as RFC 6749 says everything, and kept by nobody."""
    answer = await ask(client, POSTED | {"more": "x" * 8_192})

    assert (answer.status_code, answer.json()["error"]) == (413, "invalid_request")
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")


async def test_scopes_are_those_asked_for_among_those_allowed(client: httpx.AsyncClient) -> None:
    """And the answer says which."""
    found = [
        await ask(client, POSTED | {"scope": scope})
        for scope in ("ssf.read", "openid ssf.manage", "ssf.read ssf.manage")
    ]

    assert [each.json()["scope"] for each in found] == ["ssf.read", "ssf.manage", "ssf.read ssf.manage"]
    token = found[0].json()["access_token"]
    refused = await client.post("/ssf/streams", json={}, headers={"authorization": f"Bearer {token}"})
    assert refused.status_code == 403
    assert refused.headers["www-authenticate"] == 'Bearer realm="ssf", error="insufficient_scope", scope="ssf.manage"'
    # Who may manage may read.
    assert await opens(client, found[1]) == 200


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (None, 'Bearer realm="ssf"'),
        ("Basic c2llbTp4", 'Bearer realm="ssf"'),
        ("Bearer ", 'Bearer realm="ssf"'),
        ("Bearer unknown", 'Bearer realm="ssf", error="invalid_token"'),
        ("Bearer \xff\x80", 'Bearer realm="ssf", error="invalid_token"'),
    ],
)
async def test_without_a_token_nothing_is_said_but_what_is_missing(
    client: httpx.AsyncClient, header: str | None, said: str
) -> None:
    """RFC 6750 section 3: for each endpoint alike, and a token in the query is none."""
    headers = {b"authorization": header.encode("latin-1")} if header else {}
    for method, path in (
        ("GET", "streams"),
        ("DELETE", "streams"),
        ("GET", "status"),
        ("POST", "poll/x"),
        ("POST", "verify"),
    ):
        answer = await client.request(method, f"/ssf/{path}", params={"access_token": "x"}, headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, said)


async def test_token_is_known_by_its_hash_alone_and_not_for_long(siem: Receiver, redis: Redis) -> None:
    """Whoever reads Redis can use nothing of it; and it ends when it was said to."""
    [key] = redis.keys("gatepost:ssf-token:*")
    kept = str([key, redis.get(key)])

    assert 3_590 <= redis.ttl(key) <= 3_600
    assert siem.token not in kept
    assert SECRETS["siem"] not in kept
    redis.delete(key)
    assert (await siem.ask("GET", "configuration_endpoint")).status_code == 401


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"siem": None}, 401),
        ({"siem": {"secrets": ["env:OLD_SECRET"]}}, 401),
        ({"siem": {"scopes": ["ssf.read"]}}, 403),
        ({"siem": {"secrets": ["env:OLD_SECRET", "env:SECRET_SIEM"]}}, 201),
        ({"edr": None}, 201),
    ],
)
async def test_token_counts_for_what_its_client_may_do_now(
    siem: Receiver, config: MakeConfig, section: Section, change: dict[str, Any], status: int
) -> None:
    """Gone with the client, with the secret that it was had by, or with the scope."""
    async with open_client(create_app(config(ssf=section(**change)))) as client:
        answer = await client.post("/ssf/streams", json={}, headers={"authorization": f"Bearer {siem.token}"})

    assert answer.status_code == status


async def test_guesses_have_a_bound_and_keep_no_receiver_out(client: httpx.AsyncClient, redis: Redis) -> None:
    """Past it a wrong secret has to wait, whether there is such a client or not; the right one never does."""
    for name in ("siem", "nobody"):
        tried = [await ask(client, POSTED | {"client_id": name, "client_secret": "guess"}) for _ in range(TRIES_MAX)]
        assert {answer.status_code for answer in tried} == {401}
        answer = await ask(client, POSTED | {"client_id": name, "client_secret": "guess"})
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    for answer in (await ask(client, POSTED), await ask(client, GRANT, headers=basic("edr", SECRETS["edr"]))):
        assert answer.status_code == 200
    assert all(0 < redis.ttl(key) <= 60 for key in redis.keys("gatepost:ssf-tries:*"))


async def test_receiver_that_asks_for_tokens_again_and_again_waits_for_itself_alone(
    client: httpx.AsyncClient, redis: Redis
) -> None:
    """Each is kept for an hour; nobody without the secret can use its number up."""
    for name in ("siem", "edr"):
        assert (await ask(client, POSTED | {"client_id": name, "client_secret": SECRETS[name]})).status_code == 200
    [first, _] = redis.keys("gatepost:ssf-tries:issue:*")
    redis.set(first, TOKENS_MAX, keepttl=True)

    answers = [
        await ask(client, POSTED | {"client_id": name, "client_secret": SECRETS[name]}) for name in ("siem", "edr")
    ]

    assert sorted(answer.status_code for answer in answers) == [200, 429]


def test_secret_that_could_be_guessed_is_a_fault_of_the_configuration(
    config: MakeConfig, section: Section, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has to hold without a bound on tries that strangers could use up."""
    monkeypatch.setenv("OLD_SECRET", "x" * 15)
    with pytest.raises(Misconfigured, match=r"ssf.receivers.siem.secrets.1: .*at least 16 random characters"):
        config(ssf=section())

    monkeypatch.setenv("OLD_SECRET", "x" * 16)
    assert config(ssf=section()).ssf is not None


async def test_without_redis_the_receiver_is_asked_to_come_again(
    siem: Receiver, client: httpx.AsyncClient, redis_server: RedisServer, configured: Config
) -> None:
    """Our trouble is 503 everywhere, and never a word on who may."""
    redis_server.kill()

    answers = [
        await ask(client, POSTED),
        await client.get("/ssf/streams", headers={"authorization": f"Bearer {siem.token}"}),
    ]

    assert [answer.status_code for answer in answers] == [503, 503]
