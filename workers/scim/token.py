"""The bearer of a target: static, or fetched by client credentials (RFC 6749 section 4.4) and shared by the fleet.

What Redis holds is sealed by AES-GCM with a key that HKDF makes of the client's secret: a dump of Redis opens nothing,
and a token that was got with another secret is none of ours.
"""

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import urlencode
from uuid import uuid4

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from redis import Redis

from lifecycle import keys
from lifecycle.errors import GatepostError, Postponed, Refused
from workers.http import Answer, Http
from workers.scim.answers import failure, parse
from workers.scim.grants import Ask, Credentials, bearer_of, by_basic

EARLY_SECONDS = 60
LIFE_SECONDS_DEFAULT, LIFE_SECONDS_MAX = 300.0, 7 * 86_400.0
OK = 200
INVALID_SCOPE = "invalid_scope"

KEY_BYTES, NONCE_BYTES = 32, 12
PURPOSE = b"gatepost bearer"
# Longer than the token endpoint may take.
FETCH_MILLISECONDS_MAX = 15_000
# How long another process's fetch is waited for, and how often it is looked for.
OTHERS_SECONDS_MAX, LOOK_SECONDS = 2.0, 0.05

# KEYS: the lock. ARGV: its token.
UNLOCK = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


MaySend = Callable[[], None]
Heard = Callable[[Answer], None]


def _always() -> None:
    """Do nothing."""


def _nobody_listens(_: Answer) -> None:
    """Do nothing."""


class Fetched(NamedTuple):
    """A bearer as it was fetched; moments are seconds since the epoch."""

    token: str
    renew_at: float
    expires_at: float


class Vault:
    """The fleet's bearer of one credential, sealed, in Redis."""

    def __init__(self, redis: Redis, credential: str, secret: str) -> None:
        """Derive the key."""
        self._redis = redis
        self._key, self._lock = keys.token(credential), keys.token_lock(credential)
        self._credential = credential.encode()
        self._seal = AESGCM(HKDF(SHA256(), KEY_BYTES, salt=None, info=PURPOSE).derive(secret.encode()))

    def read(self) -> Fetched | None:
        """Return the bearer; None where there is none, or one that was sealed with another secret."""
        sealed: Any = self._redis.get(self._key)
        if not sealed:
            return None
        try:
            opened = self._seal.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], self._credential)
        except (InvalidTag, ValueError):
            return None
        return Fetched(*json.loads(opened))

    def write(self, fetched: Fetched) -> None:
        """Keep the bearer as long as it lives."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = nonce + self._seal.encrypt(nonce, json.dumps(fetched).encode(), self._credential)
        self._redis.set(self._key, sealed, px=max(int((fetched.expires_at - time.time()) * 1000), 1))

    def lock(self) -> str | None:
        """Become the one process that fetches; None while another is."""
        token = uuid4().hex
        return token if self._redis.set(self._lock, token, nx=True, px=FETCH_MILLISECONDS_MAX) else None

    def unlock(self, token: str) -> None:
        """Let others fetch."""
        self._redis.eval(UNLOCK, 1, self._lock, token)


class Bearer:
    """Gives the token to send, and a new one when the target no longer takes the old."""

    def __init__(self, target: Credentials, http: Http, redis: Redis | None = None, ask: Ask = by_basic) -> None:
        """Keep how to get a token; without Redis it is this process's own."""
        self._target = target
        self._http = http
        self._ask = ask
        self._vault: Vault | None = None
        if redis is not None and target.client_secret is not None:
            self._vault = Vault(redis, bearer_of(target), target.client_secret.value)
        self._own: Fetched | None = None
        self._refused: str | None = None
        # A worker's threads speak to one target by one bearer.
        self._lock = Lock()

    def token(self, may_send: MaySend = _always, heard: Heard = _nobody_listens) -> str:
        """Return a token with some life left. Raises Refused or Postponed when none can be had.

        A fetch is a request like any other: leave is asked for it, and its answer is told.
        """
        if self._target.token is not None:
            return self._target.token.value
        with self._lock:
            if self._own is None or time.time() >= self._own.renew_at:

                def fetch() -> Fetched:
                    may_send()
                    return self._fetch(heard)

                self._own = self._shared(self._vault, fetch) if self._vault else fetch()
            return self._own.token

    def renew(self) -> bool:
        """Forget the token after a 401; return whether another one can be had, which another process may have."""
        if self._target.token is not None:
            return False
        with self._lock:
            self._refused = self._own.token if self._own else self._refused
            self._own = None
        return True

    def _shared(self, vault: Vault, fetch: Callable[[], Fetched]) -> Fetched:
        """Return the fleet's bearer, fetched by one process while the others go on with the old one."""
        deadline = time.monotonic() + OTHERS_SECONDS_MAX
        while True:
            found = self._found(vault)
            if found and time.time() < found.renew_at:
                return found
            if lock := vault.lock():
                try:
                    return self._renewed(vault, fetch)
                finally:
                    vault.unlock(lock)
            if found and time.time() < found.expires_at:
                return found
            if time.monotonic() > deadline:
                raise Postponed("another worker has been fetching a token for too long", reason="token")
            time.sleep(LOOK_SECONDS)

    def _found(self, vault: Vault) -> Fetched | None:
        found = vault.read()
        return found if found and found.token != self._refused else None

    def _renewed(self, vault: Vault, fetch: Callable[[], Fetched]) -> Fetched:
        found = self._found(vault)
        if found and time.time() < found.renew_at:
            # Another process was done between our look and our lock.
            return found
        fetched = fetch()
        vault.write(fetched)
        return fetched

    def _fetch(self, heard: Heard) -> Fetched:
        target = self._target
        if target.token_url is None:
            raise Refused("no way to get a token is configured", reason="credentials")
        asked = self._ask(target)
        answer = self._http.send(
            "POST",
            target.token_url,
            headers={"content-type": "application/x-www-form-urlencoded", "accept": "application/json"},
            body=urlencode(asked.form).encode(),
            auth=asked.auth,
        )
        heard(answer)
        if answer.status != OK:
            raise _refusal(answer)
        fields = parse(answer)
        token = fields.get("access_token")
        if not isinstance(token, str) or not token:
            raise Refused("the token endpoint gave no access_token", reason="credentials")
        self._check_scopes(fields.get("scope"))
        seconds = _seconds(fields.get("expires_in"))
        now = time.time()
        # A minute early, or at half of a life that is shorter than two.
        return Fetched(token, now + max(seconds - EARLY_SECONDS, seconds / 2), now + seconds)

    def _check_scopes(self, granted: object) -> None:
        """Raise Refused where less was granted than is configured; an answer without a scope grants what was asked."""
        if not isinstance(granted, str):
            return
        missing = sorted({scope for text in self._target.scopes for scope in text.split()} - set(granted.split()))
        if missing:
            raise Refused(f"the token lacks the scopes: {', '.join(missing)}", reason="scopes")


def _refusal(answer: Answer) -> GatepostError:
    """Return what an answer without a token means: whatever is refused here is so for all (RFC 6749 section 5.2)."""
    error = failure(answer, datetime.now(UTC))
    if not isinstance(error, Refused):
        return error
    reason = "scopes" if parse(answer).get("error") == INVALID_SCOPE else "credentials"
    return Refused(error.message, reason=reason)


def _seconds(life: object) -> float:
    """Return how long a token lives; some endpoints write the number as a text."""
    text = str(life)[:12] if isinstance(life, int | float | str) and not isinstance(life, bool) else ""
    try:
        found = float(text)
    except ValueError:
        return LIFE_SECONDS_DEFAULT
    return min(found, LIFE_SECONDS_MAX) if found > 0 else LIFE_SECONDS_DEFAULT
