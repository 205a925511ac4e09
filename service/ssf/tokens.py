"""The bearers of receivers: opaque, known to Redis by their hash alone, and good for an hour at the most.

A token counts for no more than the configuration lets its client do now: not when the client is gone, nor with a scope
or by a secret that was taken from it since.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from redis import Redis

from lifecycle import keys
from lifecycle.ssf.section import Receiver

TOKEN_SECONDS: Final = 3_600
TOKEN_BYTES = 32
WINDOW_SECONDS: Final = 60
TRIES_MAX = 60
"""Wrong tries in a client's name within a window."""
TOKENS_MAX = 600
"""Tokens that a client gets within a window, by one of its secrets."""
BUCKET_DIGITS = 4
READ: Final = "ssf.read"
MANAGE: Final = "ssf.manage"
# Who may manage may read: section 2.7.3 of CAEP's interoperability profile.
LETS: Final[Mapping[str, frozenset[str]]] = {READ: frozenset({READ, MANAGE}), MANAGE: frozenset({MANAGE})}


class Client(NamedTuple):
    """Who asks: a receiver by its name in the configuration, and what its token is for."""

    name: str
    receiver: Receiver
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Tell whether it may do what a scope is for."""
        return not LETS[scope].isdisjoint(self.scopes)


class Tokens:
    """The tokens of the configured receivers; each method asks Redis."""

    def __init__(self, redis: Redis, receivers: Mapping[str, Receiver]) -> None:
        """Keep what each needs."""
        self._redis = redis
        self._receivers = receivers

    def receiver(self, name: str) -> Receiver | None:
        """Return a receiver; None where there is none of this name."""
        return self._receivers.get(name)

    def tries(self, kind: str, name: str, most: int = TRIES_MAX) -> int:
        """Count a try in a client's name, whoever it is; return how long to wait where there were too many, or 0.

        Names share buckets, so that whoever makes them up fills no memory, and learns not which of them exist; of each
        kind its own, for of another kind than ``token`` only a receiver itself can be counted.
        """
        digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()
        return within(self._redis, keys.ssf_tries(kind, digest[:BUCKET_DIGITS]), most)

    def issue(self, name: str, secret: str, scopes: Iterable[str]) -> str:
        """Make a token for a client that showed one of its secrets."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        record = json.dumps([name, sorted(scopes), _proof(token, secret)])
        self._redis.set(keys.ssf_token(_digest(token)), record, ex=TOKEN_SECONDS)
        return token

    def client(self, token: str) -> Client | None:
        """Return whose token this is, and what it is good for now; None where it is good for nothing."""
        found: Any = self._redis.get(keys.ssf_token(_digest(token)))
        if found is None:
            return None
        name, scopes, proof = json.loads(found)
        receiver = self._receivers.get(name)
        live = [secret.value for secret in receiver.secrets] if receiver else []
        fits = [secret for secret in live if hmac.compare_digest(_proof(token, secret), proof)]
        if receiver is None or not fits:
            return None
        return Client(name, receiver, frozenset(scopes) & frozenset(receiver.scopes))


def within(redis: Redis, key: str, most: int) -> int:
    """Count one more within the window; return how long to wait where there were too many, or 0."""
    with redis.pipeline() as pipe:
        pipe.set(key, 0, ex=WINDOW_SECONDS, nx=True)
        pipe.incr(key)
        pipe.ttl(key)
        _, count, left = pipe.execute()
    return max(int(left), 1) if int(count) > most else 0


def shown(receiver: Receiver | None, given: Iterable[str]) -> str | None:
    """Return the client's secret that was shown; every live one is compared with all that was given."""
    live = [secret.value for secret in receiver.secrets] if receiver else []
    fits = [secret for secret in live for text in given if hmac.compare_digest(secret.encode(), text.encode())]
    return fits[0] if fits else None


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _proof(token: str, secret: str) -> str:
    """Return what shows by which secret a token was had; without the token nobody can guess the secret by it."""
    return hmac.digest(token.encode(), secret.encode(), "sha256").hex()
