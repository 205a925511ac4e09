"""The bearer: one for the fleet, sealed in Redis, fetched once."""

import json
import threading
import time
from base64 import b64decode
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.errors import Postponed, Refused, Waiting
from lifecycle.secrets import Secret
from lifecycle.target import Target
from tests.workers.stories import target
from workers.http import Http
from workers.scim import token
from workers.scim.grants import credential_of
from workers.scim.token import Bearer, Vault

SECRET = "client-secret-of-the-tests"


class TokenEndpoint:
    """Gives tokens t-1, t-2, ... to whoever knows the secret."""

    def __init__(self, *, life: object = 3_600, scope: str | None = None, seconds: float = 0.0) -> None:
        """Choose what it says of its tokens, and how long it takes."""
        self.asked = 0
        self.secrets: list[str] = []
        self._life, self._scope, self._seconds = life, scope, seconds

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer."""
        time.sleep(self._seconds)
        self.asked += 1
        self.secrets.append(b64decode(request.headers["authorization"].removeprefix("Basic ")).decode())
        body = {"access_token": f"t-{self.asked}", "token_type": "bearer", "expires_in": self._life}
        return httpx.Response(200, json=body | ({"scope": self._scope} if self._scope is not None else {}))


def configured(secret: str = SECRET, **more: Any) -> Target:  # noqa: ANN401 - a section of the configuration
    """Make a target's section with client credentials."""
    found = {
        "token": None,
        "token_url": "https://login.test/oauth/token",
        "client_id": Secret("env:ID", "our-id"),
        "client_secret": Secret("env:SECRET", secret),
    }
    return target(**found | more)


def process(redis: Redis | None, endpoint: TokenEndpoint, secret: str = SECRET, **more: Any) -> Bearer:  # noqa: ANN401
    """Make the bearer as a process of its own has it."""
    return Bearer(configured(secret, **more), Http(transport=httpx.MockTransport(endpoint)), redis)


def test_fleet_fetches_once(redis: Redis) -> None:
    """Ten processes that need a token at the same moment ask for one, and all have it."""
    endpoint = TokenEndpoint(seconds=0.2)
    fleet = [process(redis, endpoint) for _ in range(10)]
    found = []

    threads = [threading.Thread(target=lambda bearer=bearer: found.append(bearer.token())) for bearer in fleet]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (found, endpoint.asked) == (["t-1"] * 10, 1)
    assert redis.exists(keys.token_lock(credential_of(configured()))) == 0


def test_redis_holds_no_token_in_the_clear(redis: Redis) -> None:
    """Neither the token nor the secret is in any key or value, and it is gone when it has aged."""
    process(redis, TokenEndpoint(life=600)).token()

    names: Any = redis.keys("*")
    dump = b"".join(name + (redis.dump(name) or b"") for name in names)
    assert b"t-1" not in dump
    assert SECRET.encode() not in dump
    assert 0 < redis.ttl(keys.token(credential_of(configured()))) <= 600


def test_token_of_another_secret_is_fetched_again(redis: Redis) -> None:
    """After the secret was rotated, what the old one got is not opened."""
    endpoint = TokenEndpoint()
    process(redis, endpoint).token()

    found = process(redis, endpoint, "rotated-secret").token()

    assert (found, endpoint.secrets) == ("t-2", [f"our-id:{SECRET}", "our-id:rotated-secret"])


@pytest.mark.parametrize("spoilt", [b"", b"x", b"x" * 200])
def test_spoilt_token_is_fetched_again(redis: Redis, spoilt: bytes) -> None:
    """Whatever somebody wrote there is not believed."""
    redis.set(keys.token(credential_of(configured())), spoilt)

    assert process(redis, TokenEndpoint()).token() == "t-1"


def test_token_sealed_for_another_credential_is_not_opened(redis: Redis) -> None:
    """A value moved to another key does not become that credential's."""
    Vault(redis, "one", SECRET).write(token.Fetched("t", time.time() + 60, time.time() + 60))

    redis.rename(keys.token("one"), keys.token("other"))

    assert Vault(redis, "other", SECRET).read() is None


def test_refused_token_is_fetched_once_for_all(redis: Redis) -> None:
    """Both processes meet the 401; the first gets a new one, the second takes it."""
    endpoint = TokenEndpoint()
    first, second = process(redis, endpoint), process(redis, endpoint)
    assert [first.token(), second.token()] == ["t-1", "t-1"]

    renewed = [first.renew(), second.renew()]

    assert (renewed, [first.token(), second.token()], endpoint.asked) == ([True, True], ["t-2", "t-2"], 2)


def test_static_token_is_never_renewed() -> None:
    """There is no other."""
    bearer = Bearer(target(), Http(transport=httpx.MockTransport(TokenEndpoint())))

    assert not bearer.renew()


@pytest.mark.parametrize(
    ("life", "renewed_after"),
    [(3_600, 3_540), (100, 50), ("600", 540), (None, 240), ("soon", 240), (-1, 240), ("nan", 240), (True, 240)],
)
def test_token_is_renewed_early(redis: Redis, life: object, renewed_after: float) -> None:
    """A minute before its end, or at half of a short life; five minutes where the endpoint does not say."""
    process(redis, TokenEndpoint(life=life)).token()

    found = Vault(redis, credential_of(configured()), SECRET).read()

    assert found is not None
    assert found.renew_at - time.time() == pytest.approx(renewed_after, abs=5)


def test_old_token_is_used_while_another_process_fetches(redis: Redis) -> None:
    """A token past its early end is good until its real one: nobody waits for the fetch of another."""
    vault = Vault(redis, credential_of(configured()), SECRET)
    vault.write(token.Fetched("old", time.time() - 1, time.time() + 30))
    assert vault.lock()
    endpoint = TokenEndpoint()

    assert (process(redis, endpoint).token(), endpoint.asked) == ("old", 0)


def test_fetch_of_another_process_is_waited_for_shortly(redis: Redis) -> None:
    """A process that died while it fetched postpones others; its lock ends by itself."""
    vault = Vault(redis, credential_of(configured()), SECRET)
    assert vault.lock()
    started = time.monotonic()

    with pytest.raises(Postponed) as postponed:
        process(redis, TokenEndpoint()).token()

    assert postponed.value.reason == "token"
    assert time.monotonic() - started < token.OTHERS_SECONDS_MAX + 1
    assert 0 < redis.pttl(keys.token_lock(credential_of(configured()))) <= token.FETCH_MILLISECONDS_MAX


def test_failed_fetch_lets_others_try(redis: Redis) -> None:
    """An endpoint that refused one process is asked by the next."""
    refusing = Bearer(configured(), Http(transport=httpx.MockTransport(lambda _: httpx.Response(401))), redis)
    with pytest.raises(Refused):
        refusing.token()

    assert process(redis, TokenEndpoint()).token() == "t-1"


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, {"error": "invalid_client"}, "credentials"),
        (401, {"error": "invalid_client"}, "credentials"),
        (400, {"error": "unauthorized_client"}, "credentials"),
        (400, {"error": "invalid_scope"}, "scopes"),
        (403, {}, "credentials"),
        (404, {}, "credentials"),
        (429, {}, "busy"),
        (503, {}, "busy"),
        (500, {}, "broken"),
    ],
)
def test_refusal_of_a_token_is_about_the_credential(status: int, body: dict[str, str], reason: str) -> None:
    """RFC 6749 section 5.2: whoever is asked for a token knows no person, so what it refuses it refuses for all."""
    transport = httpx.MockTransport(lambda _: httpx.Response(status, json=body))

    with pytest.raises((Refused, Postponed)) as refused:
        Bearer(configured(), Http(transport=transport)).token()

    assert refused.value.reason == reason


def test_leave_is_asked_for_a_fetch_alone(redis: Redis) -> None:
    """The gate stands before the token endpoint too, and hears what it answers; what is cached costs nothing."""
    endpoint, said = TokenEndpoint(), list[str]()
    bearer = process(redis, endpoint)

    found = [bearer.token(lambda: said.append("may"), lambda answer: said.append(str(answer.status))) for _ in range(2)]

    assert (found, said) == (["t-1", "t-1"], ["may", "200"])


def test_shut_gate_keeps_the_token_endpoint_from_being_asked(redis: Redis) -> None:
    """Nothing is sent, nothing is kept, and the next who may is not kept waiting."""
    endpoint = TokenEndpoint()

    def shut() -> None:
        raise Waiting("shut", reason="circuit", need=1)

    with pytest.raises(Waiting):
        process(redis, endpoint).token(shut)

    assert endpoint.asked == 0
    assert process(redis, endpoint).token() == "t-1"


def test_scopes_that_were_not_granted_are_named(redis: Redis) -> None:
    """What is configured and missing is the operator's to mend; such a token is not used and not kept."""
    bearer = process(redis, TokenEndpoint(scope="users:read other"), scopes=["users:read users:write", "groups"])

    with pytest.raises(Refused) as refused:
        bearer.token()

    assert (refused.value.reason, refused.value.message) == (
        "scopes",
        "the token lacks the scopes: groups, users:write",
    )
    assert redis.keys("gatepost:token*") == []


@pytest.mark.parametrize("scope", [None, "users:read", "users:read more"])
def test_scopes_that_were_granted_are_enough(redis: Redis, scope: str | None) -> None:
    """An answer without a scope grants what was asked (RFC 6749 section 5.1); more than was asked is fine."""
    assert process(redis, TokenEndpoint(scope=scope), scopes=["users:read"]).token() == "t-1"


def test_names_of_credentials_differ_with_what_they_are_of() -> None:
    """Two targets share a limit and a bearer if, and only if, they are spoken to with the same credential."""
    ours = configured()
    others = [configured(token_url="https://login.test/other"), configured(client_id=Secret("env:X", "x")), target()]

    names = {credential_of(each) for each in (ours, configured("rotated", base_url="https://other.test"), *others)}

    assert len(names) == 4
    assert all(json.dumps("our-id") not in name for name in names)


def test_bearer_without_redis_is_the_process_own() -> None:
    """Where no store is given the token is kept in memory alone."""
    endpoint = TokenEndpoint()
    bearer = process(None, endpoint)

    assert ([bearer.token(), bearer.token()], endpoint.asked) == (["t-1", "t-1"], 1)
