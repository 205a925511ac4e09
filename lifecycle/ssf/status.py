"""The status of a stream: enabled; paused, which holds what comes; or disabled, which drops it.

It stands with the subscriber, see ``lifecycle.outbox_standing``. What we change ourselves the receiver is told by an
event; what it changes itself, by the answer alone. Neither undoes what the other decided: a receiver ends no pause of
the operator's, and the operator ends neither a pause nor a rest that the receiver wants.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

from redis import Redis

from lifecycle import keys, outbox
from lifecycle.errors import Conflict, Unavailable
from lifecycle.ssf import sets
from lifecycle.ssf.stream_scripts import STAND

Word = Literal["enabled", "paused", "disabled"]
ENABLED: Final = "enabled"
PAUSED: Final = "paused"
DISABLED: Final = "disabled"
RECEIVER: Final = "receiver"
"""Who paused or disabled it, where its receiver did."""
STREAM_DISABLED = "stream_disabled"
TRIES_MAX = 20


class Status(NamedTuple):
    """How a stream stands."""

    word: Word
    reason: str | None = None
    paused_by: str | None = None


class Standing(NamedTuple):
    """What is kept of how a stream stands; empty is absent."""

    paused_at: str = ""
    paused_by: str = ""
    disabled_at: str = ""
    disabled_by: str = ""
    """Empty where we disabled it, since it took nothing for too long."""
    reason: str = ""
    pause_beneath: str = ""
    """Since when its receiver has it paused, while the operator has as well."""

    @property
    def is_paused_by_us(self) -> bool:
        """Whether a pause is the operator's."""
        return bool(self.paused_at) and self.paused_by != RECEIVER

    def status(self) -> Status:
        """Return how that stands."""
        if self.disabled_at:
            return Status(DISABLED, self.reason or None)
        return Status(PAUSED, self.reason or None, self.paused_by) if self.paused_at else Status(ENABLED)


def status(redis: Redis, stream_id: str) -> Status:
    """Return how a stream stands."""
    return _standing(redis, stream_id).status()


def set_status(redis: Redis, stream_id: str, word: Word, reason: str | None) -> bool:
    """Change how a stream stands as its receiver asks; return False where the operator's pause forbids it.

    While that lasts a receiver may only disable its stream, and the pause is still there when it was enabled again.
    """

    def asked(before: Standing, now: str) -> Standing | None:
        if before.is_paused_by_us:
            rest = before._replace(disabled_at=now, disabled_by=RECEIVER, reason=reason or "", pause_beneath="")
            return rest if word == DISABLED else None
        if word == DISABLED:
            return Standing(disabled_at=now, disabled_by=RECEIVER, reason=reason or "")
        return Standing(paused_at=now, paused_by=RECEIVER, reason=reason or "") if word == PAUSED else Standing()

    may = _change(redis, stream_id, asked, RECEIVER)
    if may and word == DISABLED:
        # From here on nothing is fanned out to it.
        outbox.drop_all(redis, stream_id, STREAM_DISABLED)
    return may


def oversee(
    redis: Redis,
    stream_id: str,
    by: str,
    *,
    paused: bool | None = None,
    enable: bool = False,
    reason: str | None = None,
) -> None:
    """Pause a stream, or end what we paused or disabled ourselves; its receiver is told in the same step.

    Raises Conflict where the receiver decided otherwise: it paused the stream, or disabled it.
    """

    def decided(before: Standing, now: str) -> Standing:
        after = _enabled(before) if enable else before
        if paused is True:
            return _paused(after, now, by, reason)
        return _resumed(after) if paused is False else after

    _change(redis, stream_id, decided, by)


def _enabled(before: Standing) -> Standing:
    if before.disabled_by == RECEIVER:
        raise Conflict("its receiver disabled this stream, and alone enables it again", reason="managed_by_receiver")
    return before._replace(disabled_at="", reason="") if before.disabled_at else before


def _paused(before: Standing, now: str, by: str, reason: str | None) -> Standing:
    if before.disabled_at:
        raise Conflict("this stream is disabled: nothing is sent over it", reason=STREAM_DISABLED)
    if before.is_paused_by_us:
        return before
    return Standing(paused_at=now, paused_by=by, reason=reason or "", pause_beneath=before.paused_at)


def _resumed(before: Standing) -> Standing:
    if before.paused_at and not before.is_paused_by_us:
        raise Conflict("its receiver paused this stream, and alone lets it go on", reason="managed_by_receiver")
    reason = before.reason if before.disabled_at else ""
    paused_by = RECEIVER if before.pause_beneath else ""
    return before._replace(paused_at=before.pause_beneath, paused_by=paused_by, reason=reason, pause_beneath="")


def _standing(redis: Redis, stream_id: str) -> Standing:
    found: Any = redis.hmget(keys.subscriber(stream_id), *Standing._fields)
    return Standing(*(each.decode() if each else "" for each in found))


def _change(redis: Redis, stream_id: str, to: Callable[[Standing, str], Standing | None], by: str) -> bool:
    """Look and write in one step, again where another did meanwhile; return False where ``to`` forbids it."""
    now = datetime.now(UTC)
    for _ in range(TRIES_MAX):
        before = _standing(redis, stream_id)
        after = to(before, str(int(now.timestamp() * 1000)))
        if after is None:
            return False
        if after == before and by != RECEIVER:
            return True
        found, known = after.status(), before.status()
        announced: list[Any] = []
        if by != RECEIVER and (found.word, found.paused_by) != (known.word, known.paused_by):
            signal = sets.stream_updated(stream_id, found.word, found.reason, now)
            announced = outbox.keep_arguments(signal, time.time())
        # A new beginning: what failed before is not held against it.
        forgives = int(found.word == ENABLED or bool(before.disabled_at and not after.disabled_at))
        if redis.eval(STAND, 0, stream_id, *before, *after, forgives, *announced) == 1:
            return True
    raise Unavailable("too many change the status of this stream at once", reason="busy")
