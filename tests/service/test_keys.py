"""The public keys of issuers: fetched in the background from a real server, kept in Redis, asked for by notices."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from redis import Redis

from lifecycle.errors import Unauthentic, Unavailable
from service.app import create_app
from service.background import end
from service.intake import Intake
from service.keys import ANSWER_BYTES_MAX, KEYS_MAX, PACE, UNKNOWN_MAX, Fetcher, IssuerKeys, Pace, usable
from service.sources import ssf
from service.sources.base import KeysAt, Notice, Setup
from tests.conftest import MakeConfig, free_port, open_client
from tests.notices import described, setup_of
from tests.redis_server import RedisServer

PATIENCE_SECONDS = 10.0
QUICK = Pace(refresh=3_600.0, ask=0.05, backoff_first=0.01, backoff_max=0.05)
PUBLISHED: list[dict[str, Any]] = described("ssf")["jwks"]["keys"]
OLD, NEW = PUBLISHED
OTHER: dict[str, Any] = described("ssf_authorization")["jwks"]["keys"][0]
JSON = {"content-type": "application/json"}
LATER = timedelta(hours=1)


class Issuer:
    """An issuer on this machine: what it answers by path, and how often it was asked."""

    def __init__(self, port: int = 0) -> None:
        """Start with one key."""
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[str] = []
        self.drips = False
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                status, headers, body = issuer.answers.get(self.path, (404, {}, b""))
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                for byte in body if issuer.drips else b"":
                    time.sleep(0.02)
                    self.wfile.write(bytes([byte]))
                if not issuer.drips:
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self.publish(OLD)
        self.describe(issuer=f"{self.url}/", jwks_uri=f"{self.url}/keys")
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def publish(self, *keys: dict[str, Any]) -> None:
        """Have these keys from now on."""
        self.answer("/keys", {"keys": list(keys)})

    def describe(self, **metadata: object) -> None:
        """Say this of itself."""
        self.answer("/.well-known/ssf-configuration", metadata)

    def answer(self, path: str, document: object) -> None:
        """Answer a document from now on."""
        self.answers[path] = (200, JSON, json.dumps(document).encode())

    def stop(self) -> None:
        """Be away."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """Give an issuer that answers."""
    started = Issuer()
    yield started
    started.stop()


@pytest.fixture
async def intake(redis_server: RedisServer, redis: Redis) -> AsyncIterator[Intake]:
    """Give the way to an empty Redis."""
    opened = Intake(redis_server.url)
    yield opened
    await opened.close()


def keys_of(issuer: Issuer, pace: Pace = QUICK) -> IssuerKeys:
    """Return the keys of an issuer, told by its metadata."""
    at = KeysAt(f"{issuer.url}/.well-known/ssf-configuration", is_metadata=True, issuer=f"{issuer.url}/")
    return IssuerKeys("idp", at, pace)


@asynccontextmanager
async def fetching(keys: IssuerKeys, intake: Intake) -> AsyncIterator[None]:
    """Run what a receiver runs beside its notices."""
    fetcher = Fetcher([keys], intake)
    await fetcher.load()
    task = asyncio.create_task(fetcher.fetch_on())
    try:
        yield
    finally:
        await end([task])
        assert task.cancelled()


async def eventually(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():  # noqa: ASYNC110 - it is another thread's, or the code's own
            await asyncio.sleep(0.005)


def found(keys: IssuerKeys, kid: str, after: timedelta = timedelta(0)) -> str:
    """Return whether a key is there, else why not."""
    try:
        keys.find(kid, datetime.now(UTC) + after)
    except (Unauthentic, Unavailable) as error:
        return f"{type(error).__name__}: {error.reason}"
    return "found"


NOT_YET, UNKNOWN = "Unavailable: keys_missing", "Unauthentic: key_unknown"


async def test_keys_are_fetched_at_the_start(issuer: Issuer, intake: Intake) -> None:
    """By way of the metadata; before that nobody is refused, nor afterwards before the issuer was asked again."""
    keys = keys_of(issuer, PACE)

    before = found(keys, OLD["kid"])
    async with fetching(keys, intake):
        await eventually(lambda: keys.is_known)

    assert before == NOT_YET
    assert found(keys, OLD["kid"]) == "found"
    assert found(keys, "made-up") == NOT_YET
    assert issuer.asked == ["/.well-known/ssf-configuration", "/keys"]


async def test_keys_may_be_named_directly(issuer: Issuer, intake: Intake) -> None:
    """Then the metadata is not asked."""
    keys = IssuerKeys("idp", KeysAt(f"{issuer.url}/keys"))

    async with fetching(keys, intake):
        await eventually(lambda: keys.is_known)

    assert issuer.asked == ["/keys"]


async def test_key_of_a_rotation_is_fetched_when_it_is_used(issuer: Issuer, intake: Intake) -> None:
    """Its first token is answered 503, which the vendor sends again; the key that is gone is believed no more."""
    keys = keys_of(issuer)
    async with fetching(keys, intake):
        await eventually(lambda: keys.is_known)
        issuer.publish(NEW)

        first = found(keys, NEW["kid"])
        await eventually(lambda: found(keys, NEW["kid"]) == "found")

    assert first == NOT_YET
    assert found(keys, OLD["kid"]) != "found"


async def test_keys_are_fetched_again_and_again(issuer: Issuer, intake: Intake) -> None:
    """Without anybody's asking, so that a key that was withdrawn is believed no longer than that."""
    keys = keys_of(issuer, Pace(refresh=0.02))
    async with fetching(keys, intake):
        await eventually(lambda: keys.is_known)
        issuer.publish(NEW)

        await eventually(lambda: found(keys, OLD["kid"]) == UNKNOWN)


def test_id_is_refused_only_by_a_fetch_that_began_after_it_was_asked_for() -> None:
    """Whatever was fetched before, or is on its way, may be from before a rotation; and later there may be another."""
    keys, now, second = IssuerKeys("idp", KeysAt("https://idp.example/keys")), datetime.now(UTC), timedelta(seconds=1)

    def asked(seconds: int) -> str:
        return found(keys, "new", seconds * second)

    keys.take({"old": 1}, now)
    first = [asked(5), asked(30)]
    keys.take({"old": 1}, now + 4 * second)
    on_its_way = [asked(31), asked(60)]
    keys.take({"old": 1}, now + 65 * second)
    without = [asked(66), asked(120), asked(126)]
    keys.take({"old": 1, "new": 2}, now + 127 * second)

    assert (first, on_its_way) == ([NOT_YET] * 2, [NOT_YET] * 2)
    assert without == [UNKNOWN, UNKNOWN, NOT_YET]
    assert asked(128) == "found"


async def test_storm_of_unknown_ids_asks_once_a_while(issuer: Issuer, intake: Intake) -> None:
    """Ten thousand made-up ids are one request, and a new key among them is there after it; the known is all along."""
    keys = keys_of(issuer, Pace(ask=1.0))
    async with fetching(keys, intake):
        await eventually(lambda: keys.is_known)
        issuer.publish(OLD, NEW)

        why = {found(keys, f"made-up-{number}") for number in range(10_000)} | {found(keys, NEW["kid"])}
        await eventually(lambda: issuer.asked.count("/keys") == 2 and found(keys, NEW["kid"]) == "found")
        again = [found(keys, f"made-up-{number}") for number in range(10_000)]

        assert found(keys, OLD["kid"]) == "found"
        assert why == {NOT_YET}
        assert again == [UNKNOWN] * UNKNOWN_MAX + [NOT_YET] * (10_000 - UNKNOWN_MAX)
        assert issuer.asked.count("/keys") == 2


async def test_issuer_that_is_away_at_the_start_is_asked_until_it_comes(intake: Intake) -> None:
    """Until then nothing is refused for good."""
    port = free_port()
    keys = IssuerKeys("idp", KeysAt(f"http://127.0.0.1:{port}/keys"), QUICK)
    async with fetching(keys, intake):
        await asyncio.sleep(0.1)
        before = found(keys, OLD["kid"])
        issuer = Issuer(port)
        try:
            await eventually(lambda: keys.is_known)
        finally:
            issuer.stop()

    assert before == NOT_YET
    assert found(keys, OLD["kid"]) == "found"


async def test_issuer_that_goes_away_takes_no_key_with_it(issuer: Issuer, intake: Intake) -> None:
    """What is known is believed; what is not may be a new key, so it is not refused."""
    keys = keys_of(issuer, Pace(refresh=0.02, ask=0.02, backoff_first=0.01, backoff_max=0.02))
    async with fetching(keys, intake):
        await eventually(lambda: keys.is_known)
        issuer.answers.clear()
        asked = len(issuer.asked)
        await eventually(lambda: len(issuer.asked) > asked + 2)

        assert found(keys, OLD["kid"]) == "found"
        assert found(keys, NEW["kid"], LATER) == NOT_YET


async def test_receiver_that_restarts_while_the_issuer_is_away_still_believes(
    issuer: Issuer, intake: Intake, redis: Redis
) -> None:
    """Its keys are in Redis; an unknown id is still not refused, for they may be old."""
    async with fetching(keys_of(issuer), intake):
        await eventually(lambda: redis.exists("gatepost:jwks:idp"))
    issuer.answers.clear()

    keys = keys_of(issuer)
    async with fetching(keys, intake):
        assert found(keys, OLD["kid"]) == "found"
        assert found(keys, "made-up", LATER) == NOT_YET


async def test_keys_of_an_issuer_that_is_configured_no_more_are_not_believed(
    issuer: Issuer, intake: Intake, redis: Redis
) -> None:
    """The configuration says whom to trust, not what was trusted before."""
    async with fetching(keys_of(issuer), intake):
        await eventually(lambda: redis.exists("gatepost:jwks:idp"))
    issuer.answers.clear()

    keys = IssuerKeys("idp", KeysAt(f"{issuer.url}/other"), QUICK)
    async with fetching(keys, intake):
        assert found(keys, OLD["kid"]) == NOT_YET


async def test_redis_that_comes_late_gives_what_it_has(
    issuer: Issuer, intake: Intake, redis: Redis, redis_server: RedisServer
) -> None:
    """Both were away at the start: what was fetched long ago is taken as soon as one of them is there."""
    async with fetching(keys_of(issuer), intake):
        await eventually(lambda: redis.exists("gatepost:jwks:idp"))
    issuer.answers.clear()
    redis_server.kill()

    keys = keys_of(issuer)
    async with fetching(keys, intake):
        assert found(keys, OLD["kid"]) == NOT_YET
        redis_server.start()
        await eventually(lambda: keys.is_known)

    assert found(keys, OLD["kid"]) == "found"


@pytest.mark.parametrize("doc", [b"", b"[]", b"{}", b'{"of": [], "at": 0, "keys": []}', b'{"of": ["x"], "at": 1}'])
async def test_whatever_redis_has_is_no_reason_to_fail(
    issuer: Issuer, intake: Intake, redis: Redis, doc: bytes
) -> None:
    """It is fetched anew."""
    redis.set("gatepost:jwks:idp", doc)
    keys = keys_of(issuer)

    async with fetching(keys, intake):
        await eventually(lambda: keys.is_known)

    assert found(keys, OLD["kid"]) == "found"


GARBAGE: dict[str, tuple[int, dict[str, str], bytes]] = {
    "an error": (500, JSON, b"{}"),
    "nothing": (204, {}, b""),
    "a redirect": (302, {"location": "/keys-elsewhere"}, b""),
    "no JSON": (200, JSON, b"<html>"),
    "nesting without end": (200, JSON, b"[" * 100_000),
    "no object": (200, JSON, b"[]"),
    "no keys": (200, JSON, b"{}"),
    "no list": (200, JSON, b'{"keys": {"kid": "x"}}'),
    "an empty list": (200, JSON, b'{"keys": []}'),
    "no usable key": (200, JSON, b'{"keys": [1, null, {}, {"kty": "oct", "kid": "x", "k": "AAAA"}]}'),
    "too many": (200, JSON, json.dumps({"keys": [OLD] * (KEYS_MAX + 1)}).encode()),
    "too much": (200, JSON, json.dumps({"keys": [OLD], "pad": "x" * ANSWER_BYTES_MAX}).encode()),
    "packed": (200, {**JSON, "content-encoding": "gzip"}, gzip.compress(json.dumps({"keys": [OLD]}).encode())),
}


@pytest.mark.parametrize("garbage", list(GARBAGE))
async def test_answer_that_is_none_changes_nothing(issuer: Issuer, intake: Intake, garbage: str) -> None:
    """The last good keys stay, and the issuer is asked again."""
    issuer.answers["/keys-elsewhere"] = issuer.answers["/keys"]
    keys = keys_of(issuer, Pace(refresh=0.02, backoff_first=0.01))
    async with fetching(keys, intake):
        await eventually(lambda: keys.is_known)
        issuer.answers["/keys"] = GARBAGE[garbage]
        asked = len(issuer.asked)
        await eventually(lambda: len(issuer.asked) > asked + 4)
        assert found(keys, OLD["kid"]) == "found"

        issuer.publish(OLD, NEW)
        await eventually(lambda: found(keys, NEW["kid"]) == "found")

    assert "/keys-elsewhere" not in issuer.asked


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example/"},
        {"issuer": None},
        {"jwks_uri": None},
        {"jwks_uri": 7},
        {"jwks_uri": "ftp://127.0.0.1/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "http://[::1/keys"},
        {"jwks_uri": "/keys"},
    ],
    ids=repr,
)
async def test_metadata_of_another_issuer_is_not_followed(
    issuer: Issuer, intake: Intake, metadata: dict[str, object]
) -> None:
    """Nor is one that leads nowhere."""
    issuer.describe(**{"issuer": f"{issuer.url}/", "jwks_uri": f"{issuer.url}/keys", **metadata})
    keys = keys_of(issuer)

    async with fetching(keys, intake):
        await eventually(lambda: len(issuer.asked) > 2)

    assert "/keys" not in issuer.asked
    assert found(keys, OLD["kid"]) == NOT_YET


async def test_slow_answer_is_given_up(issuer: Issuer, intake: Intake) -> None:
    """One that comes byte by byte is limited as a whole."""
    issuer.drips = True
    keys = keys_of(issuer, Pace(answer=0.1, backoff_first=0.01))

    async with fetching(keys, intake):
        await eventually(lambda: len(issuer.asked) > 1)
        assert not keys.is_known
        issuer.drips = False
        await eventually(lambda: keys.is_known)


def test_waits_between_failures_grow_to_a_bound() -> None:
    """From a second to five minutes, however many."""
    assert [PACE.backoff(failures) for failures in (1, 2, 5, 9, 10, 10_000)] == [1.0, 2.0, 16.0, 256.0, 300.0, 300.0]


def test_only_public_keys_for_signatures_are_taken() -> None:
    """Of an id that comes twice the first counts; what is private, shared, of another use or too large is left out."""
    private = rsa.generate_private_key(65_537, 2_048)
    huge = {"kty": "RSA", "kid": "huge", "e": "AQAB", "n": "_" * 2_000}
    published: list[Any] = [
        OLD,
        {**NEW, "kid": OLD["kid"]},
        {**NEW, "kid": "encryption", "use": "enc"},
        {**NEW, "kid": None},
        {**NEW, "kid": "half-\ud83d"},
        {**RSAAlgorithm.to_jwk(private, as_dict=True), "kid": "private"},
        {"kty": "oct", "kid": "shared", "k": "c2VjcmV0"},
        {"kty": "OKP", "crv": "Ed25519", "kid": "edwards", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
        {"kty": "EC", "crv": "P-256", "kid": "broken-ec", "x": "AA", "y": "AA"},
        huge,
        OTHER,
    ]

    found = usable(published)

    assert set(found) == {OLD["kid"], OTHER["kid"]}
    assert found[OLD["kid"]] == setup_of("ssf").keys.find(OLD["kid"], datetime.now(UTC))


async def test_receiver_answers_503_until_it_has_the_keys(config: MakeConfig, redis: Redis) -> None:
    """A good token is kept as soon as the keys are there, and nothing is refused for good before."""
    port = free_port()
    options = {**described("ssf")["options"], "jwks_uri": f"http://127.0.0.1:{port}/keys"}
    del options["signing_key"]
    app = create_app(config(sources={"idp": {"adapter": "ssf", **options}}))
    setup = setup_of("ssf")
    token = signed_now(setup)

    async with open_client(app) as client:
        before = await client.post("/hooks/idp", content=token)
        issuer = Issuer(port)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (answer := await client.post("/hooks/idp", content=token)).status_code == 503:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            again = await client.post("/hooks/idp", content=token)
            forged = await client.post("/hooks/idp", content=token[:-20] + b"A" * 20)
            stranger = await client.post("/hooks/idp", content=signed_now(setup, signing_key_id="made-up"))
        finally:
            issuer.stop()

    assert (before.status_code, before.headers["retry-after"]) == (503, "5")
    assert (answer.status_code, answer.content, again.status_code) == (202, b"", 202)
    assert redis.llen("gatepost:mailbox:00u9old") == 1
    assert (forged.status_code, forged.json()["err"]) == (400, "authentication_failed")
    # It may be a key of a moment ago, so the issuer is to be asked first.
    assert stranger.status_code == 503


async def test_first_notice_after_a_start_is_believed(config: MakeConfig, redis: Redis, issuer: Issuer) -> None:
    """The start waits a moment for an issuer that was never asked before."""
    options = {**described("ssf")["options"], "jwks_uri": f"{issuer.url}/keys"}
    del options["signing_key"]

    async with open_client(create_app(config(sources={"idp": {"adapter": "ssf", **options}}))) as client:
        answer = await client.post("/hooks/idp", content=signed_now(setup_of("ssf")))

    assert answer.status_code == 202


def signed_now(setup: Setup, **options: str) -> bytes:
    """Return a leaver's token of this moment."""
    claims = {
        "jti": "set-1",
        "sub_id": {"format": "opaque", "id": "00u9old"},
        "events": {ssf.DISABLED: {}},
    }
    own = replace(setup, options=setup.options.model_copy(update=options))
    return ssf.sign(Notice("POST", "", {}, json.dumps(claims).encode()), own, datetime.now(UTC)).body
