"""One signal to one subscriber: sign, send, record the attempt, and offer the next one by the schedule."""

import json
import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from redis import Redis
from redis.client import Pipeline
from rq import Queue
from rq.timeouts import JobTimeoutException

from lifecycle import keys, metrics
from lifecycle.config import Subscriber
from lifecycle.errors import Postponed, Refused
from lifecycle.queue import DELIVER, SIGNALS, offer
from lifecycle.signal import RETRY_AFTER_SECONDS_MAX, RETRY_JITTER, RETRY_SECONDS, iso
from workers.http import Answer, Http, Unreached
from workers.scim.answers import retry_at
from workers.subscribers.guard import pin
from workers.subscribers.standard_webhooks import headers

ANSWER_BYTES_KEPT = 256
WAITING, DELIVERED, FAILED = "waiting", "delivered", "failed"
GONE = 410

log = structlog.get_logger()


class Deliverer:
    """Delivers signals; lives as long as the worker process."""

    def __init__(self, redis: Redis, queues: dict[str, Queue], subscribers: dict[str, Subscriber], http: Http) -> None:
        """Keep the connections and who is subscribed."""
        self._redis = redis
        self._queue = queues[SIGNALS]
        self._subscribers = subscribers
        self._http = http

    def deliver(self, signal_id: str, name: str) -> None:
        """Make one attempt and record it; a delivery that has ended is left alone."""
        signal: Any = self._redis.hgetall(keys.signal(signal_id))
        delivery: Any = self._redis.hgetall(keys.delivery(signal_id, name))
        if not signal or delivery.get(b"state", b"").decode() != WAITING:
            self._redis.zrem(keys.UNDELIVERED, f"{signal_id}:{name}")
            return
        number = int(delivery[b"attempts"]) + 1
        started = datetime.now(UTC)
        subscriber = self._subscribers.get(name)
        if subscriber is None:
            self._record(signal_id, name, number, {"at": iso(started), "error": "subscriber_unknown"}, FAILED, None)
            return
        try:
            # A name server or a subscriber that drips can hold an attempt for longer than a job may take.
            answer = self._send(signal_id, signal[b"body"], subscriber, started)
        except JobTimeoutException:
            attempt = {"at": iso(started), "status": None, "error": "slow"}
            self._settle(signal_id, name, number, attempt, final=False, wait_until=None)
            return
        except (Postponed, Refused) as error:
            attempt = {"at": iso(started), "status": None, "error": error.reason, "detail": error.message}
            final = isinstance(error, Refused)
            self._settle(signal_id, name, number, attempt, final=final, wait_until=None)
            return
        attempt = _attempt(started, answer)
        if 200 <= answer.status < 300:  # noqa: PLR2004 - Standard Webhooks: 2xx and nothing else is success
            self._record(signal_id, name, number, attempt, DELIVERED, None)
            return
        wait_until = retry_at(answer.headers, started, RETRY_AFTER_SECONDS_MAX)
        self._settle(signal_id, name, number, attempt, final=answer.status == GONE, wait_until=wait_until)

    def _send(self, signal_id: str, body: bytes, subscriber: Subscriber, now: datetime) -> Answer:
        pinned = pin(subscriber.url, allow_private=subscriber.allow_private)
        signed = headers(signal_id, body, [secret.value for secret in subscriber.secrets], now)
        signed["host"] = pinned.host
        for url in pinned.urls[:-1]:
            with suppress(Unreached):
                return self._http.send("POST", url, headers=signed, body=body, tls_name=pinned.tls_name)
        return self._http.send("POST", pinned.urls[-1], headers=signed, body=body, tls_name=pinned.tls_name)

    def _settle(
        self,
        signal_id: str,
        name: str,
        number: int,
        attempt: dict[str, Any],
        *,
        final: bool,
        wait_until: datetime | None,
    ) -> None:
        if final or number > len(RETRY_SECONDS):
            self._record(signal_id, name, number, attempt, FAILED, None)
            return
        wait = RETRY_SECONDS[number - 1] * random.uniform(1 - RETRY_JITTER, 1 + RETRY_JITTER)  # noqa: S311 - jitter
        at = max(datetime.now(UTC) + timedelta(seconds=wait), wait_until or datetime.now(UTC))
        self._record(signal_id, name, number, attempt, WAITING, at)

    def _record(
        self, signal_id: str, name: str, number: int, attempt: dict[str, Any], state: str, at: datetime | None
    ) -> None:
        """Keep the attempt, where the delivery stands and the job of the next attempt in one step, once."""
        reason = str(attempt.get("error") or attempt.get("status") or "") if state != DELIVERED else ""
        fields: dict[Any, Any] = {
            "state": state,
            "attempts": number,
            "reason": reason,
            "next_attempt_at": iso(at) if at else "",
        }

        def step(pipe: Pipeline) -> None:
            known: Any = pipe.hget(keys.delivery(signal_id, name), "attempts")
            pipe.multi()
            if int(known or 0) >= number:
                # It was kept, and Redis died before it said so; or another made this attempt too.
                return
            pipe.rpush(keys.attempts(signal_id, name), json.dumps({"number": number, **attempt}))
            pipe.expire(keys.attempts(signal_id, name), keys.RETENTION_SECONDS)
            pipe.hset(keys.delivery(signal_id, name), mapping=fields)
            if at:
                pipe.zadd(keys.UNDELIVERED, {f"{signal_id}:{name}": at.timestamp() * 1000})
            else:
                pipe.zrem(keys.UNDELIVERED, f"{signal_id}:{name}")
            metrics.count(pipe, "gatepost_signals", name, "retried" if at else state)
            if at:
                offer(pipe, self._queue, DELIVER, signal_id, name, at=at)
            if state == FAILED:
                pipe.zadd(keys.FAILURES, {f"signal:{signal_id}:{name}": datetime.now(UTC).timestamp()})

        self._redis.transaction(step, keys.delivery(signal_id, name))
        log.info("signal.attempted", signal=signal_id, subscriber=name, attempt=number, state=state, reason=reason)


def _attempt(started: datetime, answer: Answer) -> dict[str, Any]:
    text = answer.body[:ANSWER_BYTES_KEPT].decode("utf-8", "replace")
    return {
        "at": iso(started),
        "status": answer.status,
        "duration_ms": round(answer.seconds * 1000),
        "answer": text,
    }
