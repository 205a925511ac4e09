"""What became of an event is told to whoever waits for it: a custom task of an Entra lifecycle workflow.

The step that settles the event notes that, so no end of an event is untold, whatever dies. The note stays until Graph
has taken the word, or refuses it for good, or waits no longer: a task waits three hours at the most. What is told twice
does no harm. An event that is held is told when a human has ruled.

https://learn.microsoft.com/graph/api/identitygovernance-taskprocessingresult-resume
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

import structlog
from redis import Redis
from redis.exceptions import RedisError

from lifecycle import keys
from lifecycle.errors import GatepostError, Postponed
from lifecycle.event import Event
from lifecycle.leases import LeaseLost
from lifecycle.log import fault
from lifecycle.settlement import Step
from workers.directories import answers
from workers.directories.answers import read
from workers.directories.api import Api
from workers.http import Answer
from workers.watch.base import retry_at
from workers.watch.lease import Lease, take

DUE_MAX = 20
# The longest that a task extension can be set to wait, and what our clocks may differ by.
WAITED_SECONDS_MAX = 3 * 3_600 + 600
NAME, TYPE = "gatepost", "lifecycleEvent"
# Our own permission may still be given; what is gone or was told already stays so.
FINAL = frozenset(
    {
        answers.BAD_REQUEST,
        answers.NOT_FOUND,
        answers.METHOD_NOT_ALLOWED,
        answers.CONFLICT,
        answers.GONE,
        answers.PRECONDITION_FAILED,
        answers.UNPROCESSABLE,
    }
)

# KEYS: the event's record, its timeline, the notes. ARGV: when it was noted, the ref, the step. What was noted anew
# meanwhile stays.
DONE = """
if redis.call('RPUSHX', KEYS[2], ARGV[3]) and (redis.call('HGET', KEYS[1], 'reply_noted') or '') == ARGV[1] then
  redis.call('ZREM', KEYS[3], ARGV[2])
end
"""

log = structlog.get_logger()


class Noted(NamedTuple):
    """What is known of a note, also where the event cannot be read."""

    at: str = ""
    """When it was noted, as it stands in the record."""
    tries: int = 0

    @classmethod
    def of(cls, at: bytes | None, tries: bytes | None) -> Self:
        """Read it."""
        return cls((at or b"").decode("utf-8", "replace"), int(tries) if tries and tries.isdigit() else 0)

    def is_late(self, at: float) -> bool:
        """Tell whether nobody waits then any more."""
        try:
            return at > float(self.at) + WAITED_SECONDS_MAX
        except ValueError:
            return True


class Reply(NamedTuple):
    """What is to be told of one event."""

    event: Event
    operation: str
    noted: Noted


class Replies:
    """Tells what is noted, for all sources that wait."""

    def __init__(
        self, redis: Redis, worker: str, apis: Mapping[str, Api], clock: Callable[[], float] = time.time
    ) -> None:
        """Keep the name of this process and, by source, how the one that waits is reached."""
        self._redis = redis
        self._worker = worker
        self._apis = apis
        self._clock = clock

    def send_due(self) -> None:
        """Tell what is due, if no other process does."""
        due: Any = self._redis.zrangebyscore(keys.REPLIES, "-inf", self._clock() * 1000, 0, DUE_MAX)
        lease = take(self._redis, keys.REPLYING, self._worker) if due else None
        if lease is None:
            return
        try:
            for ref in due:
                # One process at a time: what another one told meanwhile is due no more.
                if self._is_due(ref.decode()):
                    lease.renew()
                    self._guarded(ref.decode(), lease)
                if lease.is_long:
                    return
        finally:
            with suppress(RedisError):
                lease.free()

    def _guarded(self, ref: str, lease: Lease) -> None:
        """Let one that cannot be read, as a newer release may write it, keep no other waiting."""
        try:
            self._tell(ref, lease)
        except (LeaseLost, RedisError):
            raise
        except Exception as error:  # noqa: BLE001 - another process, or the next time, may know better
            log.error("reply.fault", event_id=ref.partition(":")[2], **fault(error))  # noqa: TRY400 - may hold a name
            found: Any = self._redis.hmget(keys.event(ref), "reply_noted", "reply_tries")
            self._postpone(ref, Noted.of(*found), {"reason": "unreadable", "detail": type(error).__name__})

    def _is_due(self, ref: str) -> bool:
        at: Any = self._redis.zscore(keys.REPLIES, ref)
        return at is not None and at <= self._clock() * 1000

    def _tell(self, ref: str, lease: Lease) -> None:
        reply = self._read(ref)
        api = self._apis.get(reply.event.source) if reply else None
        if reply is None or api is None or reply.event.reply_to is None:
            self._done(ref, {"outcome": "untold", "reason": "nobody_to_tell"}, reply.noted if reply else Noted())
            return
        told: dict[str, str | int] = {"operation": reply.operation}
        try:
            answer = self._send(api, reply)
        except GatepostError as error:
            named = error.retry_at.timestamp() if isinstance(error, Postponed) and error.retry_at else 0.0
            self._postpone(ref, reply.noted, told | {"reason": error.reason, "detail": error.message}, named)
            return
        lease.renew()
        if answer.status in FINAL:
            told |= {"outcome": "refused", "status": answer.status, "detail": _words(answer)}
            self._done(ref, told, reply.noted)
        else:
            self._done(ref, told | {"outcome": "told", "status": answer.status}, reply.noted)

    def _read(self, ref: str) -> Reply | None:
        found: Any = self._redis.hmget(keys.event(ref), "doc", "reply", "reply_noted", "reply_tries")
        doc, operation, noted, tries = found
        if doc is None or operation is None:
            return None
        return Reply(Event.model_validate_json(doc), operation.decode(), Noted.of(noted, tries))

    def _send(self, api: Api, reply: Reply) -> Answer:
        body = {"source": NAME, "type": TYPE, "data": {"operationStatus": reply.operation}}
        return api.talk().post(str(reply.event.reply_to), body, allow=FINAL)

    def _postpone(self, ref: str, noted: Noted, why: Mapping[str, str | int], named: float = 0.0) -> None:
        """Let it be tried again later, not before the moment that was named, as long as somebody waits."""
        again_at = max(retry_at(self._clock(), noted.tries), named)
        if noted.is_late(again_at):
            self._done(ref, {**why, "outcome": "given_up"}, noted)
            return
        with self._redis.pipeline() as pipe:
            pipe.hincrby(keys.event(ref), "reply_tries", 1)
            pipe.zadd(keys.REPLIES, {ref: again_at * 1000}, xx=True)
            if noted.tries == 0:
                pipe.rpush(keys.trace(ref), self._step({**why, "outcome": "postponed"}))
            pipe.execute()

    def _done(self, ref: str, told: Mapping[str, str | int], noted: Noted) -> None:
        """Forget the note, and say in the timeline of the event what came of it."""
        self._redis.eval(DONE, 3, keys.event(ref), keys.trace(ref), keys.REPLIES, noted.at, ref, self._step(told))
        log.info("reply.done", event_id=ref.partition(":")[2], outcome=told["outcome"])

    def _step(self, told: Mapping[str, str | int]) -> str:
        return Step(datetime.fromtimestamp(self._clock(), UTC), "reply", dict(told)).to_json()


def _words(answer: Answer) -> str:
    """Return Graph's code of an error, which names nobody."""
    try:
        error = read(answer).get("error", {})
    except (GatepostError, AttributeError):
        return ""
    return str(error.get("code", ""))[:100] if isinstance(error, dict) else ""
