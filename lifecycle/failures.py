"""What waits for a person: notices set aside, events failed or held, signals never taken, targets that are stopped.

``retry`` offers an event or a signal again and lets a target go on; a notice only the receiver can read again.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog
from redis import Redis
from redis.exceptions import WatchError

from lifecycle import keys, outbox, standing
from lifecycle.aside import set_aside
from lifecycle.errors import Conflict, GatepostError, Malformed, Unknown
from lifecycle.event import State
from lifecycle.outbox import WAITING, Way
from lifecycle.outbox_scripts import REPLAYED_MAX
from lifecycle.pages import PAGE_DEFAULT, Page, moment, page
from lifecycle.queue import CONVERGE, LANE_OF_KIND, lanes, offer
from lifecycle.settlement import KEPT_FIELDS, Delivery, Step, box_of, dump_deliveries, kept_of, move
from lifecycle.signal import iso
from lifecycle.subscriber import Subscriber

RETRIED = frozenset({"event", "signal", "target"})

Found = dict[str, Any]

log = structlog.get_logger()


class Failures:
    """What waits for a person; events and deliveries are read by the records that it belongs to."""

    def __init__(
        self,
        redis: Redis,
        event: Callable[[str], Found | None],
        delivery: Callable[[str, str], Found],
        subscribers: Callable[[], Mapping[str, Subscriber]],
    ) -> None:
        """Keep the connection, the reads, and how to learn who subscribes."""
        self._redis = redis
        self._subscribers = subscribers
        self._queues = lanes(redis)
        self._event = event
        self._delivery = delivery

    def list(self, *, after: str | None = None, limit: int = PAGE_DEFAULT) -> Page:
        """List everything that waits for a person, newest first; what no longer exists is passed over."""
        names, cursor = page(self._redis, keys.FAILURES, after, limit, lambda _: True)
        return Page([item for name in names if (item := self._failure(name))], cursor)

    def _failure(self, name: str) -> Found | None:
        what, _, rest = name.partition(":")
        since: Any = self._redis.zscore(keys.FAILURES, name)
        kinds = {
            "event": self._failed_event,
            "notice": self._failed_notice,
            "signal": self._failed_signal,
            "target": self._failed_target,
        }
        found = kinds[what](rest) if since is not None else None
        return {"id": name, "type": what, "failed_at": moment(since), **found} if found else None

    def _failed_event(self, ref: str) -> Found | None:
        event = self._event(ref)
        if event is None:
            return None
        wanted = ("source", "kind", "read_as", "state", "person", "reason", "detail", "received_at")
        return {"event": event["id"], **{name: event[name] for name in wanted}}

    def _failed_notice(self, notice_id: str) -> Found | None:
        notice = set_aside(self._redis, notice_id)
        if notice is None:
            return None
        return {
            "source": notice.source,
            "state": State.FAILED.value,
            "reason": notice.reason,
            "detail": notice.detail,
            "received_at": iso(notice.received_at),
            "body_bytes": len(notice.body),
        }

    def _failed_signal(self, rest: str) -> Found | None:
        item, _, subscriber = rest.partition(":")
        signal = outbox.told(self._redis, outbox.signal_of(item))
        if signal is None:
            return None
        delivery = self._delivery(item, subscriber)
        return {
            "signal": signal.id,
            "item": item,
            "subscriber": subscriber,
            "kind": signal.type,
            "person": signal.person,
            "state": State.FAILED.value,
            "reason": delivery["reason"],
            "detail": f"given up after {delivery['attempts']} attempts",
        }

    def _failed_target(self, target: str) -> Found | None:
        found = standing.standing(self._redis, target)
        if found is None:
            return None
        return {"target": target, "state": State.FAILED.value, "reason": found.reason, "detail": found.detail}

    def retry(self, failure_id: str, *, actor: str) -> None:
        """Offer a failed event or signal again, or let a target go on, and record who asked.

        Raises Unknown when nothing of this name waits, Conflict for a signal that cannot wait for its subscriber now,
        Malformed for a notice: the receiver alone can read it again.
        """
        what, _, rest = failure_id.partition(":")
        if what not in RETRIED:
            raise Malformed("a notice is retried through the receiver", reason="retry_by_receiver")
        if self._redis.zscore(keys.FAILURES, failure_id) is None:
            raise Unknown(f"nothing called {failure_id!r} waits for a retry", reason="failure_unknown")
        retries = {"event": self._retry_event, "signal": self._retry_signal, "target": self._retry_target}
        retries[what](rest, actor)

    def _retry_event(self, ref: str, actor: str) -> None:
        try:
            self._offer_event(ref, actor)
        except WatchError as error:
            raise Unknown(f"event:{ref} was retried by somebody else", reason="failure_unknown") from error

    def _offer_event(self, ref: str, actor: str) -> None:
        record: Any = self._redis.hmget(keys.event(ref), *KEPT_FIELDS)
        kept = kept_of(record)
        event, lane = kept.event, LANE_OF_KIND[kept.event.kind]
        step = Step(datetime.now(UTC), "retry", {"by": actor})
        with self._redis.pipeline() as pipe:
            pipe.watch(keys.event(ref))  # type: ignore[no-untyped-call]
            if pipe.zscore(keys.FAILURES, f"event:{ref}") is None:
                raise Unknown(f"event:{ref} was retried by somebody else", reason="failure_unknown")
            pipe.multi()
            deliveries = dump_deliveries(_anew(kept.deliveries))
            pipe.hset(keys.event(ref), mapping={"state": State.KEPT.value, "deliveries": deliveries, "deaths": 0})
            move(pipe, event, kept.state, State.KEPT)
            pipe.zrem(keys.HOLDS, ref)
            for target in kept.deliveries:
                # Whoever retries may have made the group that was missing.
                pipe.delete(keys.groups_missing(target))
            pipe.rpush(keys.trace(ref), step.to_json())
            pipe.rpush(box_of(event), ref)
            offer(pipe, self._queues[lane], CONVERGE, event.person, lane)
            pipe.execute()

    def _retry_signal(self, rest: str, actor: str) -> None:
        item, _, name = rest.partition(":")
        signal, subscriber = outbox.told(self._redis, outbox.signal_of(item)), self._subscribers().get(name)
        if signal is None:
            raise Unknown(f"signal {item!r} is no longer kept", reason="signal_unknown")
        if subscriber is None:
            raise Unknown(f"{name!r} subscribes no longer, so nobody could take it", reason="subscriber_unknown")
        kept: Any = self._redis.hget(keys.delivery(item, name), "line")
        line = kept.decode() if kept else outbox.line_of(signal, item)
        way = subscriber.way(name, item, line)
        if not outbox.enlist_again(self._redis, [way]).number:
            raise self._not_enlisted(way)
        log.info("signal.retried", item=item, subscriber=name, by=actor)

    def _not_enlisted(self, way: Way) -> GatepostError:
        """Say why a delivery does not begin anew."""
        item, name = way.item, way.subscriber
        if self._redis.hget(keys.delivery(item, name), "state") == WAITING.encode():
            return Unknown(f"signal:{item}:{name} was retried by somebody else", reason="failure_unknown")
        if way.drops and self._redis.hexists(keys.subscriber(name), "disabled_at"):
            return Conflict(f"{name!r} is disabled: enable it first", reason="subscriber_disabled")
        words = f"{REPLAYED_MAX:,} signals wait for {name!r} already: retry it when some were taken"
        return Conflict(words, reason="outbox_full")

    def _retry_target(self, target: str, actor: str) -> None:
        before = standing.standing(self._redis, target)
        standing.accept(self._redis, target)
        log.warning("target.accepted", target=target, by=actor, reason=before.reason if before else None)


def _anew(deliveries: Mapping[str, Delivery]) -> dict[str, Delivery]:
    """Open every target again, for all tries; but one that was tried may have written, and is to be looked at first."""
    return {
        name: replace(
            each,
            outcome=State.POSTPONED,
            attempts=min(each.attempts, 1),
            reason="retry",
            retry_at=None,
            confirm_by=None,
        )
        for name, each in deliveries.items()
    }
