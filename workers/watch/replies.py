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
from typing import Any, NamedTuple

import structlog
from redis import Redis
from redis.exceptions import RedisError

from lifecycle import keys
from lifecycle.errors import GatepostError, Postponed
from lifecycle.event import Event
from lifecycle.settlement import Step
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
FINAL = frozenset({400, 404, 405, 409, 410, 412, 422})

# KEYS: the event's record, its timeline, the notes. ARGV: when it was noted, the ref, the step. What was noted anew
# meanwhile stays.
DONE = """
if redis.call('RPUSHX', KEYS[2], ARGV[3]) and (redis.call('HGET', KEYS[1], 'reply_noted') or '') == ARGV[1] then
  redis.call('ZREM', KEYS[3], ARGV[2])
end
"""

log = structlog.get_logger()


class Reply(NamedTuple):
    """What is to be told of one event."""

    event: Event
    operation: str
    noted: str
    """When, as it stands in the record."""
    tries: int


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
                    self._tell(ref.decode(), lease)
                if lease.is_long:
                    return
        finally:
            with suppress(RedisError):
                lease.free()

    def _is_due(self, ref: str) -> bool:
        at: Any = self._redis.zscore(keys.REPLIES, ref)
        return at is not None and at <= self._clock() * 1000

    def _tell(self, ref: str, lease: Lease) -> None:
        reply = self._read(ref)
        api = self._apis.get(reply.event.source) if reply else None
        if reply is None or api is None or reply.event.reply_to is None:
            self._done(ref, {"outcome": "untold", "reason": "nobody_to_tell"}, reply)
            return
        told: dict[str, str | int] = {"operation": reply.operation}
        try:
            answer = self._send(api, reply)
        except GatepostError as error:
            self._failed(ref, reply, told, error)
            return
        lease.renew()
        if answer.status in FINAL:
            self._done(ref, told | {"outcome": "refused", "status": answer.status, "detail": _words(answer)}, reply)
        else:
            self._done(ref, told | {"outcome": "told", "status": answer.status}, reply)

    def _read(self, ref: str) -> Reply | None:
        found: Any = self._redis.hmget(keys.event(ref), "doc", "reply", "reply_noted", "reply_tries")
        doc, operation, noted, tries = found
        if doc is None or operation is None:
            return None
        return Reply(Event.model_validate_json(doc), operation.decode(), noted.decode(), int(tries or 0))

    def _send(self, api: Api, reply: Reply) -> Answer:
        body = {"source": NAME, "type": TYPE, "data": {"operationStatus": reply.operation}}
        return api.talk().post(str(reply.event.reply_to), body, allow=FINAL)

    def _failed(self, ref: str, reply: Reply, told: Mapping[str, str | int], error: GatepostError) -> None:
        now = self._clock()
        named = error.retry_at.timestamp() if isinstance(error, Postponed) and error.retry_at else now
        again_at = max(retry_at(now, reply.tries), named)
        why = dict(told) | {"reason": error.reason, "detail": error.message}
        if again_at > float(reply.noted) + WAITED_SECONDS_MAX:
            self._done(ref, why | {"outcome": "given_up"}, reply)
            return
        with self._redis.pipeline() as pipe:
            pipe.hincrby(keys.event(ref), "reply_tries", 1)
            pipe.zadd(keys.REPLIES, {ref: again_at * 1000}, xx=True)
            if reply.tries == 0:
                pipe.rpush(keys.trace(ref), self._step(why | {"outcome": "postponed"}))
            pipe.execute()

    def _done(self, ref: str, told: Mapping[str, str | int], reply: Reply | None) -> None:
        """Forget the note, and say in the timeline of the event what came of it."""
        noted = reply.noted if reply else ""
        self._redis.eval(DONE, 3, keys.event(ref), keys.trace(ref), keys.REPLIES, noted, ref, self._step(told))
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
