"""When a source was last heard, what proved it, and what it said of itself: written by the receiver, read by all."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from redis import Redis

from lifecycle import keys

UPKEEP_MAX = 100
FINGERPRINT_CHARS = 8
AT, SECRET, KID, FIRST = "at", "secret:", "kid:", "first:"

Commands = list[tuple[Any, ...]]


class Use(NamedTuple):
    """Since when a proof is in use."""

    first: datetime
    """As far as is known: of one that was first used before this was noted, a later use."""
    last: datetime


@dataclass(frozen=True)
class Heard:
    """What is known of one source's notices."""

    at: datetime | None
    """When the last authentic one came."""
    uses: Mapping[str, Use]
    """Of each proof that was ever used: ``secret:FINGERPRINT`` or ``kid:ID``."""


@dataclass(frozen=True)
class Handshake:
    """A token that a source handed over once, for an operator to confirm."""

    token: str
    at: datetime


def fingerprint(source: str, secret: str) -> str:
    """Tell the few secrets of a source apart, by so little that nobody can guess one from it."""
    return SECRET + hashlib.sha256(f"{source}\n{secret}".encode()).hexdigest()[:FINGERPRINT_CHARS]


def heard_commands(source: str, uses: Mapping[str, datetime]) -> Commands:
    """Return the commands that note when each proof was used; one of no name is a source's that proves nothing."""
    marks = {name or AT: _ms(at) for name, at in uses.items()}
    marks[AT] = max(marks.values())
    name = keys.heard(source)
    first = [("HSETNX", name, f"{FIRST}{proof}", _ms(at)) for proof, at in uses.items() if proof]
    return [("HSET", name, *(part for mark in marks.items() for part in mark)), *first]


def heard(redis: Redis, source: str) -> Heard:
    """Return what is known of a source's notices."""
    found: Any = redis.hgetall(keys.heard(source))
    marks = {name.decode(): datetime.fromtimestamp(int(value) / 1000, UTC) for name, value in found.items()}
    at = marks.pop(AT, None)
    first = {name.removeprefix(FIRST): marks.pop(name) for name in list(marks) if name.startswith(FIRST)}
    return Heard(at, {name: Use(first.get(name, last), last) for name, last in marks.items()})


def upkeep_commands(source: str, words: Sequence[str]) -> Commands:
    """Return the commands that hand on what a source says of itself; of too much the newest counts."""
    name = keys.upkeep(source)
    return [("RPUSH", name, *words), ("LTRIM", name, -UPKEEP_MAX, -1), ("EXPIRE", name, keys.UPKEEP_TTL_SECONDS)]


def upkeep(redis: Redis, source: str) -> list[str]:
    """Return what a source said of itself and nobody forgot yet, oldest first."""
    words: Any = redis.lrange(keys.upkeep(source), 0, -1)
    return [word.decode() for word in words]


def forget_upkeep(redis: Redis, source: str, words: Sequence[str]) -> None:
    """Forget words that were acted upon; what a source said meanwhile stays."""
    with redis.pipeline() as pipe:
        for word in words:
            pipe.lrem(keys.upkeep(source), 1, word)
        pipe.execute()


def handshake_commands(source: str, token: str) -> Commands:
    """Return the commands that keep a token unless there is one, and then tell which one is kept."""
    doc = json.dumps({"token": token, "at": _ms(datetime.now(UTC))})
    return [
        ("SET", keys.handshake(source), doc, "EX", keys.HANDSHAKE_TTL_SECONDS, "NX"),
        ("GET", keys.handshake(source)),
    ]


def handshake_of(doc: bytes) -> Handshake:
    """Return a token as it was kept."""
    found = json.loads(doc)
    return Handshake(found["token"], datetime.fromtimestamp(found["at"] / 1000, UTC))


def handshake(redis: Redis, source: str) -> Handshake | None:
    """Return the token that a source handed over; None when there is none."""
    found: Any = redis.get(keys.handshake(source))
    return handshake_of(found) if found else None


def forget_handshake(redis: Redis, source: str) -> bool:
    """Forget the token of a source, so that another can come. Returns whether there was one."""
    return bool(redis.delete(keys.handshake(source)))


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
