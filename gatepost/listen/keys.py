"""The keys of Security Event Tokens: our own, or a JSON Web Key Set (RFC 7517) from a file or a URL."""

import asyncio
import ipaddress
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gatepost.listen.base import json_object
from lifecycle.errors import Malformed, Misconfigured, Unauthentic, Unavailable
from lifecycle.secrets import Secret

ALGORITHM = "RS256"
RSA_BITS_MIN, RSA_BITS_MAX = 2_048, 8_192
KEYS_MAX = 100
JWKS_BYTES_MAX = 262_144
FETCH_SECONDS_MAX = 5.0
"""For so long a delivery waits for the set."""
FETCH_PART_BYTES = 16_384
FETCH_AGAIN_SECONDS = 5.0
"""At most so often is asked for a key that is not known."""


class Keys(Protocol):
    """Where the key of a token is found."""

    async def find(self, kid: str) -> list[Any]:
        """Return the keys that may have this id. Raises Unauthentic for none, Unavailable where that is unknown."""


class OwnKeys:
    """The public halves of ``[ssf] signing_keys``: any of them may have signed."""

    def __init__(self, secrets: Sequence[Secret]) -> None:
        """Read the keys. Raises Misconfigured for what is none."""
        self._keys = [_public(secret) for secret in secrets]

    async def find(self, kid: str) -> list[Any]:  # noqa: ARG002 - whatever they are called
        """Return all of them."""
        return [*self._keys]


class KeySet:
    """The keys of a set, which is read again when a new one is used: so a rotation needs nobody."""

    def __init__(
        self, place: str, again_seconds: float = FETCH_AGAIN_SECONDS, fetch_seconds: float = FETCH_SECONDS_MAX
    ) -> None:
        """Keep where it is, a file or a URL. Raises Misconfigured for a place that nobody should trust."""
        if not (_trusted(place) if "://" in place else Path(place).is_file()):
            line = f"--jwks: found {place!r}; allowed: a file that is there, https://, or http:// at this machine"
            raise Misconfigured([line])
        self._place = place
        self._again_seconds = again_seconds
        self._fetch_seconds = fetch_seconds
        self._keys: dict[str, Any] = {}
        self._fault = ""
        self._read_at: float | None = None
        self._turn = asyncio.Lock()
        self._reading: asyncio.Task[dict[str, Any]] | None = None

    async def find(self, kid: str) -> list[Any]:
        """Return the key of this id. Raises Unauthentic or Unavailable."""
        if kid not in self._keys:
            async with self._turn:
                if kid not in self._keys and self._is_due():
                    await self._read_again()
        if kid in self._keys:
            return [self._keys[kid]]
        if self._fault:
            raise Unavailable(self._fault, reason="keys_unreadable")
        raise Unauthentic(f"{self._place} has no such key", reason="key_unknown")

    def _is_due(self) -> bool:
        return self._read_at is None or time.monotonic() - self._read_at >= self._again_seconds

    async def _read_again(self) -> None:
        """Read the set; one that cannot be read leaves the keys that are known. One that comes slowly is read once."""
        self._reading = self._reading or asyncio.create_task(asyncio.to_thread(_read, self._place, self._fetch_seconds))
        done, _ = await asyncio.wait([self._reading], timeout=self._fetch_seconds)
        self._read_at = time.monotonic()
        if not done:
            self._fault = f"the keys at {self._place} have not come within {self._fetch_seconds:g} seconds"
            return
        reading, self._reading = self._reading, None
        try:
            self._keys, self._fault = reading.result(), ""
        except (OSError, HTTPException, ValueError, Malformed) as error:
            self._fault = f"the keys at {self._place} cannot be read: {error}"


def _read(place: str, seconds: float) -> dict[str, Any]:
    """Return the keys of a set. Raises OSError, HTTPException, ValueError or Malformed."""
    published = json_object(_fetched(place, seconds) if "://" in place else _bytes_of(Path(place))).get("keys")
    return dict(_usable(published if isinstance(published, list) else []))


def _public(secret: Secret) -> RSAPublicKey:
    try:
        found = load_pem_private_key(secret.value.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        found = None
    if not isinstance(found, RSAPrivateKey):
        raise Misconfigured([f"ssf.signing_keys: found {secret.reference!r}; allowed: an RSA private key in PEM"])
    return found.public_key()


def _usable(published: Sequence[Any]) -> Iterator[tuple[str, RSAPublicKey]]:
    """Yield the RSA keys for signatures, by their ids."""
    for each in published[:KEYS_MAX]:
        if not isinstance(each, dict) or not isinstance(each.get("kid"), str) or each.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK(each, ALGORITHM).key
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
            continue
        if isinstance(key, RSAPublicKey) and RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
            yield each["kid"], key


def _trusted(url: str) -> bool:
    """Tell whether nobody on the way can change what a URL gives."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and _is_here(parts.hostname or ""))


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Follow none: it could lead to where nobody should be trusted."""


def _fetched(url: str, seconds: float) -> bytes:
    """Return what a URL gives. Raises OSError, of which HTTPError is one, or ValueError."""
    request = Request(url, headers={"accept": "application/json"})  # noqa: S310 - the scheme is checked at the start
    try:
        with build_opener(_NoRedirect).open(request, timeout=seconds) as answer:
            found = _whole(answer, seconds)
    except HTTPError as error:
        with error:
            msg = f"the answer is {error.code}"
            raise ValueError(msg) from error
    return _bounded(found)


def _whole(answer: HTTPResponse, seconds: float) -> bytes:
    """Read what comes in time, of too much a little more than there may be. Raises ValueError where it is slow."""
    end, found = time.monotonic() + seconds, b""
    while len(found) <= JWKS_BYTES_MAX and (part := answer.read1(FETCH_PART_BYTES)):
        found += part
        if time.monotonic() > end:
            msg = f"it takes longer than {seconds:g} seconds"
            raise ValueError(msg)
    return found


def _bytes_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return _bounded(file.read(JWKS_BYTES_MAX + 1))


def _bounded(found: bytes) -> bytes:
    if len(found) > JWKS_BYTES_MAX:
        msg = f"it has more than {JWKS_BYTES_MAX} bytes"
        raise ValueError(msg)
    return found
