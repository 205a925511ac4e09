"""How a directory is asked: what is sent, how pages end, and to whom credentials go."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.errors import Postponed, Refused
from lifecycle.secrets import Secret
from workers.directories import entra_delta, okta_log
from workers.directories.answers import clean, limited_until, next_link, segment
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


SOON = {"retry-after": "120"}


def asks(directory: Api) -> bool:
    """Tell whether it may be asked."""
    try:
        directory.talk().get("/x")
    except Postponed:
        return False
    return True


@pytest.mark.parametrize(("yields", "waits"), [(False, False), (True, True)])
def test_limit_of_its_own_keeps_no_others_waiting(redis: Redis, *, yields: bool, waits: bool) -> None:
    """A poll is asked to pause, and look-ups go on; one that shares their limit waits for it, too."""
    answers = iter([httpx.Response(429, headers=SOON), *[httpx.Response(200, json=[])] * 9])
    directory = api(lambda _: next(answers), redis)
    poll = directory.apart("poll", yields=yields)

    refused = [asks(poll), asks(poll)]
    looked = asks(directory)
    redis.flushall()
    directory.rest(datetime.now(UTC) + timedelta(minutes=1))

    assert (refused, looked) == ([False, False], True)
    assert (asks(directory), asks(poll)) == (False, not waits)


def test_log_of_okta_has_a_limit_of_its_own(redis: Redis) -> None:
    """Used up, it stops no look-up."""
    reset = str(int(datetime.now(UTC).timestamp()) + 55)
    spent = {"x-rate-limit-remaining": "0", "x-rate-limit-reset": reset}
    directory = api(lambda _: httpx.Response(200, json=[], headers=spent), redis)

    okta_log.changes(directory, None, datetime.now(UTC))

    assert directory.rests_until() is None
    with pytest.raises(Postponed, match="pause"):
        okta_log.changes(directory, None, datetime.now(UTC))


def test_delta_queries_wait_for_look_ups_and_not_the_other_way_round(redis: Redis) -> None:
    """Graph has one limit for both, and look-ups are what it is for."""
    tracked = entra_delta.Tracked(("accountEnabled",))
    directory = api(lambda _: httpx.Response(429, headers=SOON), redis)

    with pytest.raises(Postponed):
        entra_delta.changes(directory, None, datetime.now(UTC), tracked)
    free = directory.rests_until()
    redis.flushall()
    directory.rest(datetime.now(UTC) + timedelta(minutes=1))

    assert free is None
    with pytest.raises(Postponed, match="pause"):
        entra_delta.changes(directory, None, datetime.now(UTC), tracked)


@pytest.mark.parametrize(
    "text",
    [
        "no route for /users/ada.lee%40acme.example?x",
        "no route for /users/ADA.LEE%40ACME.EXAMPLE",
        'userName%20eq%20%22Ada%20Lee%22, or "Ada+Lee", or Ada Lee',
        "nobody is bo.ray@acme.example, nor bo.ray%40acme.example",
        "E%2F1042%23b and E/1042%23b",
    ],
)
def test_errors_name_nobody_in_any_form(text: str) -> None:
    """As it stands, as it stands in a path, and as it stands in a form."""
    error = Refused(text, reason="refused")

    clean(error, ["ada.lee@acme.example", "Ada Lee", "E/1042#b"])

    for name in ("lee", "acme", "bo.ray", "1042"):
        assert name not in error.message.lower()
        assert name not in str(error).lower()


class Tokens:
    """A token endpoint, and a directory that takes what ``takes`` says."""

    def __init__(self) -> None:
        """Take nothing."""
        self.given = 0
        self.taken: set[str] = set()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer."""
        if request.url.path == "/token":
            self.given += 1
            return httpx.Response(200, json={"access_token": f"b-{self.given}", "expires_in": 3_600})
        return httpx.Response(200 if request.headers["authorization"] in self.taken else 401, json={})


def test_bearer_that_is_never_taken_is_fetched_once_more(redis: Redis) -> None:
    """Not again for each look: the token endpoint has a limit, too."""
    tokens = Tokens()
    http = Http(transport=httpx.MockTransport(tokens))
    directory = Api("https://hr.test", Fetched(NOTHING, http, redis, by_form), http, redis)

    for _ in range(20):
        with pytest.raises(Refused, match="401"):
            directory.talk().get("/x")

    assert tokens.given == 2


def test_bearer_that_another_thread_renewed_is_taken_at_once() -> None:
    """Two looks had sent the old one; the rest between two renewals is not for the second of them."""
    tokens = Tokens()
    credential = Fetched(NOTHING, Http(transport=httpx.MockTransport(tokens)), None, by_form)
    sent, renewed = threading.Event(), threading.Event()
    found: list[object] = []

    def second() -> None:
        found.append(credential.header(lambda: None))
        sent.set()
        renewed.wait(10)
        found.append(credential.renew(forbidden=False))
        found.append(credential.header(lambda: None))

    thread = threading.Thread(target=second)
    thread.start()
    sent.wait(10)
    first = [credential.header(lambda: None), credential.renew(forbidden=False), credential.header(lambda: None)]
    renewed.set()
    thread.join()

    assert first == found == ["Bearer b-1", True, "Bearer b-2"]
    assert tokens.given == 2


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
