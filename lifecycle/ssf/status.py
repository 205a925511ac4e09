"""The status of a stream: enabled; paused, which holds what comes; or disabled, which drops it.

It stands with the subscriber, see ``lifecycle.outbox_standing``. What we change ourselves the receiver is told by an
event; what it changes itself, by the answer alone.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

from redis import Redis
from redis.client import Pipeline

from lifecycle import keys, outbox
from lifecycle.ssf import sets

Word = Literal["enabled", "paused", "disabled"]
ENABLED: Final = "enabled"
PAUSED: Final = "paused"
DISABLED: Final = "disabled"
RECEIVER: Final = "receiver"
"""Who paused it, where its receiver did."""
STREAM_DISABLED = "stream_disabled"
# A new beginning: what failed before is not held against it.
_FORGIVEN: Final = ("failures", "failing_since", "last_failure_at", "open_until", "opened", "probing", "rest_until")


class Status(NamedTuple):
    """How a stream stands."""

    word: Word
    reason: str | None = None
    paused_by: str | None = None


def status(redis: Redis, stream_id: str) -> Status:
    """Return how a stream stands."""
    found: Any = redis.hmget(keys.subscriber(stream_id), "paused_at", "disabled_at", "reason", "paused_by")
    paused_at, disabled_at, reason, paused_by = (each.decode() if each else None for each in found)
    if disabled_at:
        return Status(DISABLED, reason)
    return Status(PAUSED, reason, paused_by) if paused_at else Status(ENABLED)


def set_status(redis: Redis, stream_id: str, word: Word, reason: str | None, by: str) -> None:
    """Change how a stream stands; where we do so ourselves, its receiver is told in the same step."""
    now = datetime.now(UTC)
    with redis.pipeline() as pipe:
        _WRITES[word](pipe, keys.subscriber(stream_id), int(now.timestamp() * 1000), by)
        if word != ENABLED and reason:
            pipe.hset(keys.subscriber(stream_id), "reason", reason)
        else:
            pipe.hdel(keys.subscriber(stream_id), "reason")
        if by != RECEIVER:
            outbox.keep(pipe, sets.stream_updated(stream_id, word, reason, now))
        pipe.execute()
    if word == DISABLED:
        # From here on nothing is fanned out to it.
        outbox.drop_all(redis, stream_id, STREAM_DISABLED)


def _enable(pipe: Pipeline, key: str, _now: int, _by: str) -> None:
    pipe.hdel(key, "paused_at", "paused_by", "disabled_at", *_FORGIVEN)


def _pause(pipe: Pipeline, key: str, now: int, by: str) -> None:
    pipe.hdel(key, "disabled_at")
    pipe.hset(key, mapping={"paused_at": now, "paused_by": by})


def _disable(pipe: Pipeline, key: str, now: int, _by: str) -> None:
    pipe.hdel(key, "paused_at", "paused_by")
    pipe.hset(key, "disabled_at", now)


_WRITES: Final[Mapping[str, Callable[[Pipeline, str, int, str], None]]] = {
    ENABLED: _enable,
    PAUSED: _pause,
    DISABLED: _disable,
}
