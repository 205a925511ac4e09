"""The public keys of the sources' issuers: fetched in the background, outside the way of notices.

The only place of this program that imports httpx. Each source whose module says where its keys are (``keys_at``) has an
object here that its notices ask. It fetches at the start, every hour, and when an id was asked for that it does not
know, then at most once a minute; until then the vendor is asked to send again. What was fetched last is kept in Redis
as well, so that a receiver that starts while an issuer is away goes on to believe what it believed.

An issuer that cannot be reached takes nothing away: its last keys count until it is heard again, however long.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from lifecycle import __version__, keys
from lifecycle.errors import Unauthentic, Unavailable
from lifecycle.log import fault
from service.intake import Intake
from service.sources.base import KeysAt

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 10.0
START_SECONDS = 2.0
"""How long the start of a receiver waits for them at the most."""
ANSWER_BYTES_MAX = 262_144
KEYS_MAX = 100
UNKNOWN_MAX = 100
"""Ids that are remembered because somebody asked for them in vain."""
RSA_BITS_MAX = 8_192
"""A larger one makes each notice slow to check, and no issuer has one."""
HEADERS = {"accept": "application/json", "accept-encoding": "identity", "user-agent": f"gatepost/{__version__}"}

log = structlog.get_logger()


@dataclass(frozen=True)
class Pace:
    """How often an issuer is asked, and how long it may take, in seconds."""

    answer: float = ANSWER_SECONDS
    refresh: float = 3_600.0
    ask: float = 60.0
    """At most so often for an id that is not known."""
    backoff_first: float = 1.0
    backoff_max: float = 300.0

    def backoff(self, failures: int) -> float:
        """Return the wait after so many failures in a row."""
        return float(min(self.backoff_first * 2.0 ** min(failures - 1, 32), self.backoff_max))


PACE = Pace()


class IssuerKeys:
    """The keys of one source's issuer; what ``service.sources.base.Keys`` wants."""

    def __init__(self, source: str, at: KeysAt, pace: Pace = PACE) -> None:
        """Have no keys yet."""
        self.source = source
        self.at = at
        self.pace = pace
        self._keys: Mapping[str, Any] = {}
        self._fetched_at: datetime | None = None
        self._missed: dict[str, datetime] = {}
        self._refused: frozenset[str] = frozenset()
        self._wanted = asyncio.Event()
        self.was_asked = asyncio.Event()
        """Set when the issuer has answered once, or has not."""

    def find(self, kid: str, now: datetime) -> Any:  # noqa: ANN401 - as in Keys
        """Return the key of this id. Raises Unauthentic, or Unavailable where the issuer may have it by now.

        Refused is only an id that was asked for before the last fetch began, which did not find it: an issuer may have
        rotated its keys a moment ago, and to some vendors a refusal is final.
        """
        found = self._keys.get(kid)
        if found is not None:
            return found
        if kid in self._refused and self._fetched_at and now - self._fetched_at < timedelta(seconds=self.pace.ask):
            raise Unauthentic("the issuer has no such key", reason="key_unknown")
        if len(self._missed) < UNKNOWN_MAX:
            # One that is not remembered, in a storm of made-up ones, is found by the next fetch if it is a key's.
            self._missed.setdefault(kid, now)
        self._wanted.set()
        raise Unavailable("the issuer is being asked for its keys", reason="keys_missing")

    @property
    def is_known(self) -> bool:
        """Tell whether there are any."""
        return self._fetched_at is not None

    def take(self, found: Mapping[str, Any], asked_at: datetime) -> None:
        """Have these keys from now on, and no other; the issuer was asked for them at this moment."""
        self._keys, self._fetched_at = found, asked_at
        self._refused = frozenset(kid for kid, at in self._missed.items() if at < asked_at)
        self._missed = {kid: at for kid, at in self._missed.items() if at >= asked_at}

    async def pause(self, seconds: float) -> None:
        """Wait until they are to be fetched again: after this time, or sooner when an unknown id was asked for."""
        at_once = min(seconds, self.pace.ask)
        await asyncio.sleep(at_once)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds - at_once):
                await self._wanted.wait()
        self._wanted.clear()


class Fetcher:
    """Keeps the keys of all issuers fresh."""

    def __init__(self, issuers: Iterable[IssuerKeys], intake: Intake) -> None:
        """Keep what is fetched for whom."""
        self._issuers = tuple(issuers)
        self._intake = intake

    async def load(self) -> None:
        """Take what was fetched before this start; without Redis that waits until the first fetch has failed."""
        for issuer in self._issuers:
            await self._load(issuer)

    async def ask_first(self) -> None:
        """Wait a moment for the issuers of whom nothing is known: no sender need try again because we just started."""
        unknown = [issuer.was_asked.wait() for issuer in self._issuers if not issuer.is_known]
        with suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                await asyncio.gather(*unknown)

    async def fetch_on(self) -> None:
        """Fetch again and again, until cancelled."""
        if not self._issuers:
            return
        async with _client() as client:
            await asyncio.gather(*(self._fetch_on(issuer, client) for issuer in self._issuers))

    async def _fetch_on(self, issuer: IssuerKeys, client: httpx.AsyncClient) -> None:
        failures = 0
        while True:
            failures = 0 if await self._fetched(issuer, client) else failures + 1
            issuer.was_asked.set()
            if not issuer.is_known:
                await self._load(issuer)
            await issuer.pause(issuer.pace.backoff(failures) if failures else issuer.pace.refresh)

    async def _fetched(self, issuer: IssuerKeys, client: httpx.AsyncClient) -> bool:
        """Fetch once, and tell whether there are keys now."""
        asked_at = datetime.now(UTC)
        try:
            published = await _fetch(issuer.at, client, issuer.pace.answer)
            issuer.take(usable(published), asked_at)
            log.info("keys.fetched", source=issuer.source, keys=len(published))
            await self._save(issuer, published, asked_at)
        except Unavailable as error:
            log.warning("keys.unfetched", source=issuer.source, reason=error.reason, detail=error.message)
            return False
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end the fetching for good
            log.error("keys.fault", source=issuer.source, **fault(error))  # noqa: TRY400 - its text may be an issuer's
            return False
        return True

    async def _load(self, issuer: IssuerKeys) -> None:
        try:
            (doc,) = await self._intake.run([("GET", keys.jwks(issuer.source))])
            if doc is not None:
                _restore(issuer, doc)
        except (Unavailable, ValueError, KeyError, TypeError) as error:
            log.warning("keys.unloaded", source=issuer.source, **fault(error))

    async def _save(self, issuer: IssuerKeys, published: list[Any], asked_at: datetime) -> None:
        doc = json.dumps({"of": issuer.at, "at": asked_at.timestamp(), "keys": published})
        try:
            await self._intake.run([("SET", keys.jwks(issuer.source), doc)])
        except Unavailable as error:
            log.warning("keys.unsaved", source=issuer.source, reason=error.reason)


def _restore(issuer: IssuerKeys, doc: bytes) -> None:
    """Take keys as they were kept. Raises Unavailable, ValueError, KeyError or TypeError for what is none."""
    found = json.loads(doc)
    # Of another issuer, where the configuration was changed since: these are keys that nobody trusts any more.
    if KeysAt(*found["of"]) == issuer.at:
        issuer.take(usable(found["keys"]), datetime.fromtimestamp(found["at"], UTC))


def usable(published: list[Any]) -> Mapping[str, Any]:
    """Return the public keys for signatures by their ids; the first of an id counts. Raises Unavailable for none."""
    found: dict[str, Any] = {}
    for each in published:
        key = _key(each)
        if key is not None:
            found.setdefault(each["kid"], key)
    if not found:
        raise Unavailable("there is no key that could check a signature", reason="keys_unusable")
    return found


def _key(found: Any) -> RSAPublicKey | EllipticCurvePublicKey | None:  # noqa: ANN401 - JSON
    """Return one key; None for one that is for something else, or that cannot be read."""
    if not isinstance(found, dict) or found.get("use", "sig") != "sig":
        return None
    kid = found.get("kid")
    # It becomes a name in Redis, which half a pair of surrogates could not be.
    if not isinstance(kid, str) or not kid.isprintable():
        return None
    try:
        key = jwt.PyJWK(found).key
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
        return None
    if isinstance(key, RSAPublicKey):
        return key if key.key_size <= RSA_BITS_MAX else None
    return key if isinstance(key, EllipticCurvePublicKey) else None


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
        headers=HEADERS,
        follow_redirects=False,
        trust_env=False,
    )


async def _fetch(at: KeysAt, client: httpx.AsyncClient, seconds_max: float) -> list[Any]:
    """Return what an issuer publishes, as found. Raises Unavailable."""
    try:
        async with asyncio.timeout(seconds_max):
            url = _jwks_uri(await _document(client, at.url), at) if at.is_metadata else at.url
            published = (await _document(client, url)).get("keys")
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as error:
        raise Unavailable(f"no answer: {type(error).__name__}", reason="keys_unreachable") from error
    if not isinstance(published, list) or len(published) > KEYS_MAX:
        raise Unavailable(f"the answer is no list of 1 to {KEYS_MAX} keys", reason="keys_unreadable")
    return published


def _jwks_uri(metadata: Mapping[str, Any], at: KeysAt) -> str:
    """Return where a metadata document says that the keys are (SSF 1.0 section 7.2.3, RFC 8414 section 3.3)."""
    if at.issuer is not None and metadata.get("issuer") != at.issuer:
        raise Unavailable("the metadata is of another issuer than the configured one", reason="keys_of_another")
    url = metadata.get("jwks_uri")
    # What is asked for by https is not then fetched in the clear.
    if not isinstance(url, str) or urlsplit(url).scheme not in {"https", urlsplit(at.url).scheme}:
        raise Unavailable("the metadata has no usable jwks_uri", reason="keys_unreadable")
    return url


async def _document(client: httpx.AsyncClient, url: str) -> Mapping[str, Any]:
    """Return a JSON object from an address. Raises Unavailable, or what httpx raises."""
    async with client.stream("GET", url) as answer:
        if answer.status_code != HTTPStatus.OK:
            raise Unavailable(f"the answer is {answer.status_code}", reason="keys_refused")
        if answer.headers.get("content-encoding", "identity") != "identity":
            # Few packed bytes may be many: they could not be counted before they are there.
            raise Unavailable("the answer is packed, though asked for plain", reason="keys_unreadable")
        body = await _read(answer)
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unavailable("the answer is not JSON", reason="keys_unreadable") from error
    if not isinstance(found, dict):
        raise Unavailable("the answer is no object", reason="keys_unreadable")
    return found


async def _read(answer: httpx.Response) -> bytes:
    body = b""
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise Unavailable(f"the answer has more than {ANSWER_BYTES_MAX} bytes", reason="keys_unreadable")
    return body
