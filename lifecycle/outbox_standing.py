"""How the outbox and each subscriber stand, for metrics and for people."""

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from redis import Redis

from lifecycle import keys


@dataclass(frozen=True)
class Standing:
    """How one subscriber stands."""

    waiting: int = 0
    """Deliveries that have not ended."""
    reason: str | None = None
    """Why it is disabled."""
    paused_at: datetime | None = None
    disabled_at: datetime | None = None
    failing_since: datetime | None = None
    """Its first failure after its last success."""
    last_failure_at: datetime | None = None
    last_success_at: datetime | None = None
    open_until: datetime | None = None
    """When it is tried again, by one delivery, after failures in a row."""
    rest_until: datetime | None = None
    """Until when it asked to be left alone."""

    @property
    def is_stopped(self) -> bool:
        """Whether nothing is sent until somebody says so."""
        return self.paused_at is not None or self.disabled_at is not None

    def failing_seconds(self, now: float) -> float:
        """Return for how long it has failed; ``now`` is in seconds."""
        return max(now - self.failing_since.timestamp(), 0.0) if self.failing_since else 0.0


def standing(redis: Redis, name: str) -> Standing:
    """Return how a subscriber stands; one that nothing happened to stands well."""
    found: Any = redis.hgetall(keys.subscriber(name))
    fields = {field.decode(): value.decode() for field, value in found.items()}
    moments = {field: _moment(fields[field]) for field in Standing.__dataclass_fields__ if _is_moment(field, fields)}
    return Standing(waiting=max(int(fields.get("waiting", 0)), 0), reason=fields.get("reason") or None, **moments)


def all_standing(redis: Redis) -> Iterator[tuple[str, Standing]]:
    """Yield each subscriber's name and how it stands."""
    names: Any = redis.smembers(keys.SUBSCRIBER_NAMES)
    for name in sorted(each.decode() for each in names):
        yield name, standing(redis, name)


@dataclass(frozen=True)
class Outbox:
    """How much there is to tell now."""

    depth: int
    """Signals to be fanned out, and lines of which the first delivery is due: what more processes would do sooner."""
    oldest_seconds: float
    """For how long the lane itself is behind: neither what waits for a later attempt nor a replay is late."""

    @classmethod
    def of(cls, redis: Redis, unusable: Callable[[], Collection[str]] = frozenset) -> "Outbox":
        """Look; ``unusable`` tells to whom nothing can be sent, and is asked where something is due."""
        kept: Any = redis.xlen(keys.OUTBOX)
        first: Any = redis.xrange(keys.OUTBOX, count=1)
        begun = [int(entry.decode().partition("-")[0]) for entry, _ in first]
        now, due = time.time(), _due(redis)
        nobody = unusable() if due else ()
        for name in due.keys() - set(nobody):
            begun += _first_due(redis, name)
            kept += due[name]
        oldest = max(now - min(begun) / 1000, 0.0) if begun else 0.0
        return cls(kept, oldest)


def _due(redis: Redis) -> dict[str, int]:
    """Return how many lines are due of each that is to be told now."""
    told = [name for name, found in all_standing(redis) if not found.is_stopped and not _rests(found)]
    with redis.pipeline(transaction=False) as pipe:
        for name in told:
            pipe.zcount(keys.lines(name), "-inf", time.time() * 1000)
            pipe.zcard(keys.replays(name))
        counts: Any = iter(pipe.execute())
        return {name: number for name in told if (number := next(counts) + next(counts))}


def _rests(found: Standing) -> bool:
    now = datetime.now(UTC)
    return any(moment is not None and moment > now for moment in (found.open_until, found.rest_until))


def _first_due(redis: Redis, name: str) -> list[int]:
    found: Any = redis.zrange(keys.lines(name), 0, 0, withscores=True)
    return [int(score) for _, score in found]


def _is_moment(field: str, fields: dict[str, str]) -> bool:
    return field.endswith(("_at", "_since", "_until")) and bool(fields.get(field))


def _moment(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(float(milliseconds) / 1000, UTC)
