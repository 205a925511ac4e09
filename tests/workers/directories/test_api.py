"""How a directory is asked: what is sent, how pages end, and to whom credentials go."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.errors import Postponed, Refused
from lifecycle.secrets import Secret
from workers.directories.answers import limited_until, next_link, segment
from workers.directories.api import Api, Page
from workers.directories.credentials import Fetched, Grant, Static, basic, by_form, signed
from workers.http import Answer, Http
from workers.scim.grants import Asked, Credentials, by_basic

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
NOTHING = Grant("https://hr.test/token", Secret("env:ID", "id"), Secret("env:SECRET", "secret"))

Serve = Callable[[httpx.Request], httpx.Response]


def api(serve: Serve, redis: Redis | None = None, base_url: str = "https://hr.test/v1/") -> Api:
    """Make a directory that is answered by a function."""
    return Api(base_url, Static("Token", "t0p-secret"), Http(transport=httpx.MockTransport(serve)), redis)


def answer(status: int = 200, **headers: str) -> Answer:
    """Make an answer; ``retry_after="7"`` becomes a header."""
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, b"", 0.0)


def test_requests_are_as_they_were_meant() -> None:
    """Below ``base_url``, with the credential, and no character of a value is one of the URL's."""
    seen: list[tuple[str, str, str, Any]] = []

    def serve(request: httpx.Request) -> httpx.Response:
        content = json.loads(request.content) if request.content else None
        seen.append((request.method, str(request.url), request.headers["authorization"], content))
        return httpx.Response(200, json={})

    talk = api(serve).talk()
    talk.get("/users", {"$filter": "a eq 'b&c#d+e'"})
    talk.post("/subscriptions", {"a": 1})
    talk.patch("/subscriptions/1", {"b": None})
    talk.delete("/subscriptions/1")

    base, token = "https://hr.test/v1", "Token t0p-secret"
    assert seen == [
        ("GET", f"{base}/users?$filter=a%20eq%20%27b%26c%23d%2Be%27", token, None),
        ("POST", f"{base}/subscriptions", token, {"a": 1}),
        ("PATCH", f"{base}/subscriptions/1", token, {"b": None}),
        ("DELETE", f"{base}/subscriptions/1", token, None),
    ]


@pytest.mark.parametrize(
    "link",
    [
        "https://hr.test:8443/v1/x",
        "http://hr.test/v1/x",
        "https://hr.test.evil.example/x",
        "https://hr.test@evil.example/x",
        "https://evil.example\\@hr.test/x",
        "https://hr.test:x/",
        "https://[::1/x",
        "ftp://hr.test/x",
    ],
)
def test_page_of_another_host_is_not_asked_for(link: str) -> None:
    """However it is written; what is asked is the configured host in any case."""
    hosts: list[str] = []

    def serve(request: httpx.Request) -> httpx.Response:
        hosts.append(f"{request.url.scheme}://{request.url.host}:{request.url.port}")
        return httpx.Response(200, json=[])

    try:
        list(api(serve).talk().pages(Page("/x"), lambda _: Page(link) if len(hosts) == 1 else None))
    except Refused as error:
        assert "another host" in error.message  # noqa: PT017 - one of the two is right

    assert set(hosts) == {"https://hr.test:None"}


@pytest.mark.parametrize("link", ["https://hr.test/v1/x?after=2", "HTTPS://HR.test:443/v1/x?after=2#f"])
def test_page_of_the_same_host_is_asked_for(link: str) -> None:
    """The usual port may be named or not."""
    asked: list[str] = []

    def serve(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path.decode())
        return httpx.Response(200, json=[])

    list(api(serve).talk().pages(Page("/x"), lambda _: Page(link) if len(asked) == 1 else None))

    assert asked == ["/v1/x", "/v1/x?after=2"]


def test_pages_that_go_round_end() -> None:
    """A list without an end is none."""
    talk = api(lambda _: httpx.Response(200, json=[])).talk()

    with pytest.raises(Postponed, match="the same page twice"):
        list(talk.pages(Page("/x"), lambda _: Page("/x")))


def test_pages_without_end_are_bounded() -> None:
    """Each of them may be another one."""
    numbers = iter(range(1_000))
    talk = api(lambda _: httpx.Response(200, json=[])).talk()

    with pytest.raises(Refused) as caught:
        list(talk.pages(Page("/x"), lambda _: Page("/x", {"after": str(next(numbers))}), 7))

    assert (caught.value.reason, next(numbers)) == ("directory_too_large", 7)


@pytest.mark.parametrize("spoilt", [b"x", b"", b"nan", b"1e400"])
def test_pause_that_somebody_spoilt_is_none(redis: Redis, spoilt: bytes) -> None:
    """Whatever stands there keeps nobody waiting."""
    directory = api(lambda _: httpx.Response(200, json=[]), redis)
    redis.set(keys.rests(directory.credential.name), spoilt)

    assert directory.talk().get("/x").status == 200


@pytest.mark.parametrize(
    ("found", "seconds"),
    [
        (answer(200), None),
        (answer(429), None),
        (answer(429, retry_after="7"), 7),
        (answer(503, retry_after="7"), 7),
        (answer(500, retry_after="7"), None),
        (answer(429, x_rate_limit_reset=str(int(NOW.timestamp()) + 9)), 10),
        (answer(429, x_rate_limit_reset=str(int(NOW.timestamp()) - 99)), 0),
        (answer(429, x_rate_limit_reset="9" * 40), 3_600),
        (answer(429, x_rate_limit_reset="soon"), None),
        (answer(200, x_rate_limit_remaining="0", x_rate_limit_reset=str(int(NOW.timestamp()) + 9)), 10),
        (answer(200, x_rate_limit_remaining="1", x_rate_limit_reset=str(int(NOW.timestamp()) + 9)), None),
        (answer(429, x_rate_limit_reset="1772442030", date="Mon, 02 Mar 2026 09:00:20 GMT"), 11),
        (answer(429, x_rate_limit_reset="1772442030", date="Mon, 02 Mar 2026 09:00:20"), 11),
        (answer(429, x_rate_limit_reset="1772442030", date="today"), 31),
    ],
)
def test_end_of_a_limit(found: Answer, seconds: int | None) -> None:
    """In seconds, or as a second of the answer's own clock; within an hour."""
    until = limited_until(found, NOW)

    assert until == (NOW + timedelta(seconds=seconds) if seconds is not None else None)


@pytest.mark.parametrize(
    ("header", "link"),
    [
        ('<https://a/x?after=1,2>; rel="next"', "https://a/x?after=1,2"),
        ('<https://a/x>; rel="self", <https://a/y>; rel="next"', "https://a/y"),
        ("<https://a/y>; title=a; rel=next, <https://a/x>; rel=self", "https://a/y"),
        ('<https://a/x>; rel="self"', None),
        ("", None),
        ("next", None),
    ],
)
def test_link_to_the_next_page(header: str, link: str | None) -> None:
    """RFC 8288, as far as it is used."""
    assert next_link(answer(200, link=header)) == link


def test_dots_are_no_segment() -> None:
    """They would be resolved away, and name what is above."""
    assert segment("a/b?c") == "a%2Fb%3Fc"
    with pytest.raises(Refused):
        segment("..")


def test_redirect_of_a_token_endpoint_is_not_followed() -> None:
    """The secret is sent to no other place."""

    def serve(request: httpx.Request) -> httpx.Response:
        return httpx.Response(302, headers={"location": "https://evil.example"})

    http = Http(transport=httpx.MockTransport(serve))

    with pytest.raises(Refused, match="answers with a redirect"):
        Api("https://hr.test", Fetched(NOTHING, http, None, by_form), http).talk().get("/x")


def test_credentials_tell_nothing_of_themselves() -> None:
    """Their names are hashes, and two secrets are two credentials."""
    names = {Static("SSWS", "one").name, Static("SSWS", "two").name, basic("one", "x").name}

    assert len(names) == 3
    assert "one" not in "".join(names)


class Missing:
    """A section without a way to get a bearer."""

    token = token_url = client_id = client_secret = None
    scopes = ()


@pytest.mark.parametrize("ask", [by_basic, by_form])
def test_bearer_that_cannot_be_had_is_refused(ask: Callable[[Credentials], Asked]) -> None:
    """It says so, where it would send nothing that is right."""
    with pytest.raises(Refused, match="no way to get a token"):
        ask(Missing())


def test_assertion_of_a_key_of_another_kind_is_refused() -> None:
    """The key is not shown."""
    with pytest.raises(Refused) as caught:
        signed({}, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", None)

    assert (caught.value.__cause__, "AAAA" in caught.value.message) == (None, False)
