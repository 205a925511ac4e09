"""What people ask for: events, persons, failures, signals; and ``retry``, which offers again what waits for a person.

Every list is read in pages of bounded size, newest first; the cursor is the place of the last item read.
"""

import base64
import json
import math
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any, NamedTuple

from redis import Redis
from redis.exceptions import WatchError

from lifecycle import keys
from lifecycle.errors import Malformed, Unknown
from lifecycle.event import State
from lifecycle.people import Step, dump_deliveries, event_of, move
from lifecycle.person import Person
from lifecycle.queue import CONVERGE, DELIVER, LANE_OF_KIND, SIGNALS, lanes, offer
from lifecycle.signal import iso

PAGE_DEFAULT, PAGE_MAX = 50, 500
SCAN_CHUNK, SCAN_MAX = 500, 20_000
PERSON_EVENTS_SHOWN = 20


class Page(NamedTuple):
    """One page of a list."""

    items: list[dict[str, Any]]
    next: str | None


class SetAside(NamedTuple):
    """An authentic notice that our reader could not read, whole but for its credentials."""

    id: str
    source: str
    method: str
    query: str
    headers: dict[str, str]
    body: bytes
    received_at: datetime
    reason: str
    detail: str


class Records:
    """Reads of what Redis keeps, for the API and the command."""

    def __init__(self, redis: Redis) -> None:
        """Keep the connection."""
        self._redis = redis
        self._queues = lanes(redis)

    # ---- events

    def events(
        self,
        *,
        state: str | None = None,
        source: str | None = None,
        person: str | None = None,
        after: str | None = None,
        limit: int = PAGE_DEFAULT,
    ) -> Page:
        """List events, newest first. Raises Malformed for a state or cursor that is none."""
        if state is not None and state not in set(State):
            raise Malformed(f"no state {state!r}; there are: {', '.join(State)}", reason="state_unknown")
        index = keys.events(State(state)) if state else keys.EVENTS
        if person is not None:
            index = keys.person_events(self.person_key(person))

        def fits(ref: str) -> bool:
            if source is not None and not ref.startswith(f"{source}:"):
                return False
            return person is None or state is None or self._state(ref) == state

        refs, cursor = self._page(index, after, limit, fits)
        return Page([item for ref in refs if (item := self._event(ref))], cursor)

    def event(self, event_id: str, sources: list[str]) -> dict[str, Any]:
        """Return one event with its timeline, by ``id`` or by ``source:id`` where two sources use the same id.

        Raises Unknown when there is none, Malformed when the id alone names several.
        """
        ref = self.ref(event_id, sources)
        found = self._event(ref)
        if found is None:
            raise Unknown(f"no event {event_id!r}", reason="event_unknown")
        lines: Any = self._redis.lrange(keys.trace(ref), 0, -1)
        kept = {
            "at": found["received_at"],
            "step": "kept",
            "detail": {"vendor_kind": found.pop("vendor_kind")},
        }
        return found | {"timeline": [kept, *(json.loads(line) for line in lines)]}

    def ref(self, event_id: str, sources: list[str]) -> str:
        """Return the one ``source:id`` that an id names. Raises Unknown or Malformed."""
        names = [event_id, *(f"{source}:{event_id}" for source in sources)]
        found = [name for name in names if ":" in name and self._redis.exists(keys.event(name))]
        if not found:
            raise Unknown(f"no event {event_id!r}", reason="event_unknown")
        if len(found) > 1:
            raise Malformed(f"several events have this id: {', '.join(found)}", reason="event_ambiguous")
        return found[0]

    def _state(self, ref: str) -> str:
        state: Any = self._redis.hget(keys.event(ref), "state")
        return state.decode() if state else ""

    def _event(self, ref: str) -> dict[str, Any] | None:
        record: Any = self._redis.hgetall(keys.event(ref))
        if not record:
            return None
        fields = {name.decode(): value.decode() for name, value in record.items()}
        event = event_of(fields["doc"], fields.get("person"))
        deliveries = json.loads(fields.get("deliveries") or "{}")
        return {
            "id": event.id,
            "source": event.source,
            "kind": event.kind.value,
            "subject": event.person,
            "occurred_at": iso(event.occurred_at),
            "effective_at": iso(event.effective_at or event.received_at),
            "received_at": iso(event.received_at),
            "state": fields["state"],
            "person": event.person,
            "reason": fields.get("reason") or None,
            "detail": fields.get("detail") or None,
            "settled_at": _moment(fields.get("settled_at")),
            "deliveries": [{"target": name, **delivery} for name, delivery in sorted(deliveries.items())],
            "timeline": [],
            "vendor_kind": event.vendor_kind,
        }

    # ---- people

    def person_key(self, name: str) -> str:
        """Return the key of whom this external id, user name or e-mail address names; the name itself if unknown."""
        if self._redis.exists(keys.person(name)) or self._redis.exists(keys.mailbox(name)):
            return name
        found: Any = self._redis.get(keys.alias(name))
        return found.decode() if found else name

    def person(self, name: str) -> dict[str, Any]:
        """Return one person with the last events. Raises Unknown."""
        key = self.person_key(name)
        stored: Any = self._redis.get(keys.person(key))
        refs: Any = self._redis.zrevrange(keys.person_events(key), 0, PERSON_EVENTS_SHOWN - 1)
        if not stored and not refs:
            raise Unknown(f"nobody is known as {name!r}", reason="person_unknown")
        person = Person.model_validate_json(stored) if stored else Person(key=key)
        events = [self._event(ref.decode()) for ref in refs]
        accounts = {
            target: account.model_dump(mode="json", exclude={"digest"}) for target, account in person.accounts.items()
        }
        return {
            "key": key,
            "status": person.status.value if person.status else "unknown",
            "status_at": iso(person.status.at) if person.status else None,
            "attributes": {name: _fact(fact) for name, fact in sorted(person.facts.items())},
            "accounts": accounts,
            "events": [event for event in events if event],
        }

    # ---- failures

    def failures(self, *, after: str | None = None, limit: int = PAGE_DEFAULT) -> Page:
        """List everything that waits for a person: notices set aside, events failed or held, signals never taken."""
        names, cursor = self._page(keys.FAILURES, after, limit, lambda _: True)
        return Page([item for name in names if (item := self._failure(name))], cursor)

    def _failure(self, name: str) -> dict[str, Any] | None:
        what, _, rest = name.partition(":")
        since: Any = self._redis.zscore(keys.FAILURES, name)
        detail = {"event": self._failed_event, "notice": self._failed_notice, "signal": self._failed_signal}[what](rest)
        return {"id": name, "type": what, "failed_at": _moment(since), **detail} if detail else None

    def _failed_event(self, ref: str) -> dict[str, Any] | None:
        event = self._event(ref)
        if event is None:
            return None
        wanted = ("source", "kind", "state", "person", "reason", "detail", "received_at")
        return {"event": event["id"], **{name: event[name] for name in wanted}}

    def _failed_notice(self, notice_id: str) -> dict[str, Any] | None:
        notice = self.set_aside(notice_id)
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

    def _failed_signal(self, rest: str) -> dict[str, Any] | None:
        signal_id, _, subscriber = rest.partition(":")
        found: Any = self._redis.hgetall(keys.signal(signal_id))
        if not found:
            return None
        delivery = self._delivery(signal_id, subscriber)
        return {
            "signal": signal_id,
            "subscriber": subscriber,
            "kind": found[b"type"].decode(),
            "person": found[b"person"].decode(),
            "state": State.FAILED.value,
            "reason": delivery["reason"],
            "detail": f"given up after {delivery['attempts']} attempts",
        }

    def set_aside(self, notice_id: str) -> SetAside | None:
        """Return a notice that was set aside, as it came."""
        found: Any = self._redis.hget(keys.notice(notice_id), "doc")
        if not found:
            return None
        fields = json.loads(found)
        fields["body"] = base64.b64decode(fields["body"])
        fields["received_at"] = datetime.fromisoformat(fields["received_at"])
        return SetAside(**fields)

    def retry(self, failure_id: str, *, actor: str) -> None:
        """Offer a failed event or signal again, and record who asked.

        Raises Unknown when nothing of this name waits, Malformed for a notice: the receiver alone can read it again.
        """
        what, _, rest = failure_id.partition(":")
        if what not in {"event", "signal"}:
            raise Malformed("a notice is retried through the receiver", reason="retry_by_receiver")
        if self._redis.zscore(keys.FAILURES, failure_id) is None:
            raise Unknown(f"nothing called {failure_id!r} waits for a retry", reason="failure_unknown")
        if what == "event":
            self._retry_event(rest, actor)
        else:
            self._retry_signal(rest)

    def _retry_event(self, ref: str, actor: str) -> None:
        try:
            self._offer_event(ref, actor)
        except WatchError as error:
            raise Unknown(f"event:{ref} was retried by somebody else", reason="failure_unknown") from error

    def _offer_event(self, ref: str, actor: str) -> None:
        record: Any = self._redis.hgetall(keys.event(ref))
        event = event_of(record[b"doc"], record.get(b"person"))
        lane = LANE_OF_KIND[event.kind]
        step = Step(datetime.now(UTC), "retry", {"by": actor})
        with self._redis.pipeline() as pipe:
            pipe.watch(keys.event(ref))  # type: ignore[no-untyped-call]
            if pipe.zscore(keys.FAILURES, f"event:{ref}") is None:
                raise Unknown(f"event:{ref} was retried by somebody else", reason="failure_unknown")
            pipe.multi()
            pipe.hset(keys.event(ref), mapping={"state": State.KEPT.value, "deliveries": dump_deliveries({})})
            move(pipe, event, State(record[b"state"].decode()), State.KEPT)
            pipe.rpush(keys.trace(ref), step.to_json())
            pipe.rpush(keys.mailbox(event.person), ref)
            offer(pipe, self._queues[lane], CONVERGE, event.person, lane)
            pipe.execute()

    def _retry_signal(self, rest: str) -> None:
        signal_id, _, subscriber = rest.partition(":")
        with self._redis.pipeline() as pipe:
            pipe.multi()
            pipe.zrem(keys.FAILURES, f"signal:{rest}")
            pipe.hset(keys.delivery(signal_id, subscriber), mapping={"state": "waiting", "attempts": 0})
            offer(pipe, self._queues[SIGNALS], DELIVER, signal_id, subscriber)
            pipe.execute()

    # ---- signals

    def signals(self, *, after: str | None = None, limit: int = PAGE_DEFAULT) -> Page:
        """List signals, newest first, each with its deliveries."""
        names, cursor = self._page(keys.SIGNALS, after, limit, lambda _: True)
        return Page([item for name in names if (item := self._signal(name))], cursor)

    def signal(self, signal_id: str) -> dict[str, Any]:
        """Return one signal with every attempt. Raises Unknown."""
        found = self._signal(signal_id)
        if found is None:
            raise Unknown(f"no signal {signal_id!r}", reason="signal_unknown")
        return found

    def _signal(self, signal_id: str) -> dict[str, Any] | None:
        found: Any = self._redis.hgetall(keys.signal(signal_id))
        if not found:
            return None
        fields = {name.decode(): value.decode() for name, value in found.items()}
        source, _, event = fields["event"].partition(":")
        return {
            "id": fields["id"],
            "type": fields["type"],
            "source": source,
            "event": event,
            "target": fields["target"],
            "person": fields["person"],
            "made_at": _moment(fields["made_at"]),
            "body": json.loads(fields["body"]),
            "deliveries": [self._delivery(signal_id, name) for name in json.loads(fields["subscribers"])],
        }

    def _delivery(self, signal_id: str, subscriber: str) -> dict[str, Any]:
        found: Any = self._redis.hgetall(keys.delivery(signal_id, subscriber))
        fields = {name.decode(): value.decode() for name, value in found.items()}
        lines: Any = self._redis.lrange(keys.attempts(signal_id, subscriber), 0, -1)
        return {
            "subscriber": subscriber,
            "state": fields.get("state", "waiting"),
            "reason": fields.get("reason") or None,
            "attempts": int(fields.get("attempts", 0)),
            "next_attempt_at": fields.get("next_attempt_at") or None,
            "tried": [json.loads(line) for line in lines],
        }

    # ---- pages

    def _page(
        self, index: str, after: str | None, limit: int, fits: Callable[[str], bool]
    ) -> tuple[list[str], str | None]:
        limit = max(1, min(limit, PAGE_MAX))
        names: list[str] = []
        last: tuple[float, str] | None = None
        for walked, (name, score) in enumerate(self._scan(index, _cursor(after))):
            # A filter may fit nothing for long: the cursor goes on where this request stopped looking.
            if len(names) == limit or walked == SCAN_MAX:
                return names, _opaque(last)
            last = (score, name)
            if fits(name):
                names.append(name)
        return names, None

    def _scan(self, index: str, after: tuple[float, str] | None) -> Iterator[tuple[str, float]]:
        """Walk an index from new to old, from just below a place; items that come in meanwhile do not shift it."""
        highest: float | str = after[0] if after else "+inf"
        for start in count(0, SCAN_CHUNK):
            chunk: Any = self._redis.zrevrangebyscore(index, highest, "-inf", start, SCAN_CHUNK, withscores=True)
            for raw, score in chunk:
                place = (score, raw.decode())
                if after is None or place < after:
                    # What comes in meanwhile moves everything down: what was seen once is not shown again.
                    after = place
                    yield place[1], score
            if len(chunk) < SCAN_CHUNK:
                return


def set_aside_commands(notice: SetAside) -> list[tuple[Any, ...]]:
    """Return the Redis commands that keep a notice whole, to be run in one transaction."""
    doc = notice._asdict() | {
        "body": base64.b64encode(notice.body).decode(),
        "received_at": notice.received_at.isoformat(),
    }
    return [
        ("HSET", keys.notice(notice.id), "doc", json.dumps(doc)),
        ("ZADD", keys.FAILURES, time.time(), f"notice:{notice.id}"),
    ]


def drop_notice_commands(notice_id: str) -> list[tuple[Any, ...]]:
    """Return the Redis commands that forget a notice that was read after all."""
    return [("DEL", keys.notice(notice_id)), ("ZREM", keys.FAILURES, f"notice:{notice_id}")]


def _opaque(last: tuple[float, str] | None) -> str | None:
    return base64.urlsafe_b64encode(json.dumps(last).encode()).decode() if last else None


def _cursor(after: str | None) -> tuple[float, str] | None:
    if not after:
        return None
    refusal = Malformed("after is not a cursor that a list gave", reason="cursor_malformed")
    try:
        score, name = json.loads(base64.urlsafe_b64decode(after))
        place = float(score), str(name)
        place[1].encode()  # a lone surrogate is in no name that Redis could have given
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise refusal from error
    if not math.isfinite(place[0]):
        raise refusal
    return place


def _moment(seconds: str | float | None) -> str | None:
    return iso(datetime.fromtimestamp(float(seconds), UTC)) if seconds else None


def _fact(fact: Any) -> dict[str, Any]:  # noqa: ANN401 - a Fact
    source = fact.event.partition(":")[0]
    return {"value": fact.value, "at": iso(fact.at), "source": source, "event": fact.event.partition(":")[2]}
