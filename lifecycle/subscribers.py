"""The store of the subscribers that the API makes, and how anybody stands who subscribes.

What changes who subscribes to what is one step with its revision. A subscriber that is deleted is first marked so that
nothing more is fanned out to it; what waits for it is dropped then, and only then its name is free: a new one of the
same name hears nothing old, even where the deletion was cut short.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, TypeVar
from uuid import uuid4

import structlog
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import LockError, WatchError

from lifecycle import asked, keys, outbox
from lifecycle.config import Config
from lifecycle.errors import Conflict, Refused, Unavailable, Unknown
from lifecycle.forgetting import forget
from lifecycle.roster import LEAVING, roster
from lifecycle.sealed import UNFIT, Made, dump, opened, read
from lifecycle.signal import make_signal
from lifecycle.ssf.status import oversee
from lifecycle.vault import Vault

MADE_MAX = 500
TRIES_MAX = 50
LOCK_SECONDS, LOCK_WAIT_SECONDS = 60.0, 5.0
DELETED = "subscriber_deleted"
TEST = "subscriber.test"
FILE, API, RECEIVER = "file", "api", "receiver"
# What is forgotten of one that is enabled again: its circuit too.
ENABLED = (
    "disabled_at",
    "reason",
    "failures",
    "failing_since",
    "last_failure_at",
    "open_until",
    "opened",
    "probing",
    "rest_until",
)

Found = TypeVar("Found")

log = structlog.get_logger()


class Subscribers:
    """Makes, changes and deletes; every change tells who asked for it."""

    def __init__(self, redis: Redis, config: Config) -> None:
        """Keep the connection and what the file says."""
        self._redis = redis
        self._config = config
        self._vault = Vault.of(redis, config)

    def managed_by(self, name: str) -> str:
        """Return who says what a subscriber is: the file, the API, or a receiver. Raises Unknown."""
        if name in self._config.subscribers:
            return FILE
        if _is_made(self._redis.hget(keys.SUBSCRIBERS, name)):
            return API
        if name in roster(self._redis, self._config).names:
            return RECEIVER
        raise _unknown(name)

    def create(self, name: str, made: Made, *, actor: str) -> None:
        """Keep a new subscriber. Raises Conflict where the name is taken, or where there are too many."""
        with self._one_at_a_time():
            self._check_free(name)
            forget(self._redis, name, DELETED)
            if int(self._redis.hlen(keys.SUBSCRIBERS)) >= MADE_MAX:
                raise Conflict(f"the API keeps {MADE_MAX} subscribers at most", reason="subscribers_many")
            with self._redis.pipeline() as pipe:
                _write(pipe, name, self._sealed(name, made))
                pipe.execute()
        log.info("subscriber.created", subscriber=name, by=actor)

    def _check_free(self, name: str) -> None:
        try:
            manager = self.managed_by(name)
        except Unknown:
            return
        raise Conflict(f"there is a subscriber {name!r}, managed by the {manager}", reason="name_taken")

    def change(self, name: str, change: asked.Change, now: datetime, *, actor: str) -> None:
        """Change some fields, pause or resume, enable again. Raises Unknown, Malformed or Conflict."""
        manager = self.managed_by(name)
        if change.fields and manager != API:
            raise _managed(name, manager)

        def step(pipe: Pipeline) -> None:
            text = self._changed(pipe, name, change, now) if manager == API else None
            pipe.multi()
            if text:
                _write(pipe, name, text)
            else:
                pipe.incr(keys.REVISION)
            _stand(pipe, name, change, now, actor)

        if manager == RECEIVER and (change.paused is not None or change.enable):
            oversee(self._redis, name, actor, paused=change.paused, enable=change.enable)
        else:
            self._step(step)
        log.info(
            "subscriber.changed",
            subscriber=name,
            by=actor,
            fields=sorted(change.fields),
            paused=change.paused,
            enabled=change.enable,
        )

    def _changed(self, pipe: Pipeline, name: str, change: asked.Change, now: datetime) -> str | None:
        """Return a subscriber as it becomes, sealed anew; None for one that cannot be opened and need not be."""
        try:
            made = self._opened(pipe, name)
        except Conflict:
            if change.fields:
                raise
            return None
        return self._sealed(name, asked.changed(made, change.fields, self._config, now))

    def rotate(self, name: str, body: dict[str, Any], now: datetime, *, actor: str) -> Made:
        """Let a new secret sign first, and the old ones for a while longer. Raises Unknown, Malformed or Conflict."""
        manager = self.managed_by(name)
        if manager != API:
            raise _managed(name, manager)

        def step(pipe: Pipeline) -> Made:
            made = asked.rotated(self._opened(pipe, name), body, now)
            text = self._sealed(name, made)
            pipe.multi()
            _write(pipe, name, text)
            return made

        made = self._step(step)
        log.info("subscriber.rotated", subscriber=name, by=actor, live=len(made.secrets))
        return made

    def delete(self, name: str, *, actor: str) -> int:
        """Delete a subscriber and drop what waits for it; return how much did. Raises Unknown or Conflict."""
        if name in self._config.subscribers:
            raise _managed(name, FILE)
        with self._one_at_a_time():
            if not self._redis.hexists(keys.SUBSCRIBERS, name):
                raise _managed(name, self.managed_by(name))
            with self._redis.pipeline() as pipe:
                _write(pipe, name, LEAVING)
                pipe.execute()
            dropped = forget(self._redis, name, DELETED)
            self._redis.hdel(keys.SUBSCRIBERS, name)
        log.info("subscriber.deleted", subscriber=name, by=actor, dropped=dropped)
        return dropped

    def test(self, name: str, now: datetime, *, actor: str) -> str:
        """Tell one subscriber that this is a test; return the signal's id. Raises Unknown or Conflict."""
        manager = self.managed_by(name)
        if manager == RECEIVER:
            raise _managed(name, manager)
        if name in roster(self._redis, self._config).unusable:
            raise Conflict(f"nothing can be sent to {name!r}", reason="subscriber_unusable")
        words = "somebody asked for a test; nothing happened to anybody"
        data = {"subscriber": name, "reason": "test", "detail": words, "by": actor}
        made = make_signal(TEST, person="", event="", target="", data=data, at=now, nonce=uuid4().hex)
        with self._redis.pipeline() as pipe:
            outbox.keep(pipe, made._replace(only=name))
            pipe.execute()
        log.info("subscriber.tested", subscriber=name, by=actor, signal=made.id)
        return made.id

    def _opened(self, pipe: Pipeline, name: str) -> Made:
        raw: Any = pipe.hget(keys.SUBSCRIBERS, name)
        if not _is_made(raw):
            raise _unknown(name)
        kept = read(raw)
        if kept is None:
            raise Conflict(f"{name!r} cannot be changed: {UNFIT}", reason="record_unfit")
        try:
            return opened(name, kept, self._vault)
        except Refused as error:
            raise Conflict(f"the secrets of {name!r} cannot be opened: {error.message}", reason=error.reason) from error

    def _sealed(self, name: str, made: Made) -> str:
        try:
            return dump(name, made, self._vault)
        except Refused as error:
            raise Conflict(error.message, reason=error.reason) from error

    def _step(self, act: Callable[[Pipeline], Found]) -> Found:
        """Act in one transaction on what is kept, again while somebody else changes it meanwhile."""
        for _ in range(TRIES_MAX):
            with self._redis.pipeline() as pipe:
                try:
                    pipe.watch(keys.SUBSCRIBERS)  # type: ignore[no-untyped-call]
                    found = act(pipe)
                    pipe.execute()
                except WatchError:
                    continue
                return found
        raise Unavailable("too many change the subscribers at once", reason="busy")

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """Let nobody else make or delete one: what is dropped for a name must not be what a new one waits for."""
        lock = self._redis.lock(keys.SUBSCRIBERS_LOCK, timeout=LOCK_SECONDS, blocking_timeout=LOCK_WAIT_SECONDS)
        if not lock.acquire():
            raise Unavailable("another subscriber is being made or deleted", reason="busy")
        try:
            yield
        finally:
            # One that ran out is another's by now.
            with suppress(LockError):
                lock.release()


def _write(pipe: Pipeline, name: str, text: str | bytes) -> None:
    pipe.hset(keys.SUBSCRIBERS, name, text)
    pipe.incr(keys.REVISION)


def _stand(pipe: Pipeline, name: str, change: asked.Change, now: datetime, actor: str) -> None:
    state = keys.subscriber(name)
    if change.paused is True:
        pipe.hsetnx(state, "paused_at", str(int(now.timestamp() * 1000)))
        pipe.hset(state, "paused_by", actor)
    if change.paused is False:
        pipe.hdel(state, "paused_at", "paused_by")
    if change.enable:
        pipe.hdel(state, *ENABLED)


def _is_made(raw: Any) -> bool:  # noqa: ANN401 - what redis-py answers
    return raw is not None and raw != LEAVING


def _unknown(name: str) -> Unknown:
    return Unknown(f"no subscriber {name!r}", reason="subscriber_unknown")


def _managed(name: str, manager: str) -> Conflict:
    return Conflict(f"{name!r} is managed by the {manager}: change it there", reason=f"managed_by_{manager}")
