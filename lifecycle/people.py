"""The person store: who works on whom, what is known, and ``settle``, the one atomic step that ends an attempt.

One person is worked on by one job at a time. A job takes the lease, reads the mailbox, and settles; settling frees the
lease only when the mailbox holds nothing unread, so there is no moment at which an event arrives unseen.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import WatchError
from rq import Queue

from lifecycle import keys, metrics
from lifecycle.errors import GatepostError
from lifecycle.event import OPEN_STATES, STUCK_STATES, Event, Kind, State
from lifecycle.person import Person
from lifecycle.queue import CONVERGE, DELIVER, LANE_OF_KIND, SIGNALS, offer
from lifecycle.signal import Signal, iso

MAILBOX_READ_MAX = 200
TRACE_LINES_MAX = 200
SETTLE_TRIES_MAX = 20

# KEYS: lease. ARGV: token, milliseconds. A lease that ran out is lost even if nobody has it now: somebody may have had
# it.
RENEW = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end return redis.call('PEXPIRE', KEYS[1], ARGV[2])"
# KEYS: lease, mailbox. ARGV: token, 1 to keep the lease while the mailbox holds something. Answers 1 unless kept.
FREE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 1 end
if ARGV[2] == '1' and redis.call('LLEN', KEYS[2]) > 0 then return 0 end
redis.call('DEL', KEYS[1])
return 1
"""


class LeaseLost(GatepostError):
    """Another job works on this person now; whatever we found is for it to find again."""


@dataclass(frozen=True)
class Delivery:
    """What one event came to on one target, over all attempts."""

    outcome: State
    requests: int = 0
    attempts: int = 0
    reason: str | None = None
    retry_at: str | None = None
    """The earliest moment of the next attempt, while postponed."""


@dataclass(frozen=True)
class Kept:
    """An unsettled event as it stands in its record."""

    event: Event
    state: State
    deliveries: dict[str, Delivery]


@dataclass(frozen=True)
class Step:
    """One line of an event's timeline; ``detail`` holds no secret and no personal value."""

    at: datetime
    step: str
    detail: dict[str, Any]

    def to_json(self) -> str:
        """Dump for Redis."""
        return json.dumps({"at": iso(self.at), "step": self.step, "detail": self.detail})


@dataclass(frozen=True)
class Settlement:
    """Where an event stands after an attempt."""

    kept: Kept
    state: State
    deliveries: dict[str, Delivery]
    steps: tuple[Step, ...]
    reason: str | None = None
    detail: str | None = None


@dataclass(frozen=True)
class Settled:
    """Everything that one attempt changes; all of it becomes true at once."""

    person: Person
    settlements: Sequence[Settlement]
    signals: Sequence[tuple[Signal, Sequence[str]]] = ()
    again: Sequence[tuple[str, datetime]] = ()
    """Lanes and moments of later looks at this person."""
    requests: Sequence[tuple[str, str, str]] = ()
    """Target, method and status of each request made."""
    revoked: Sequence[tuple[str, float]] = ()
    """Target and seconds from received to confirmed inactive."""


class People:
    """The persons in Redis."""

    def __init__(self, redis: Redis, queues: dict[str, Queue]) -> None:
        """Keep the connection, which has to decode nothing, and RQ's queues."""
        self._redis = redis
        self._queues = queues
        self._renew = redis.register_script(RENEW)
        self._free = redis.register_script(FREE)

    def take(self, key: str) -> str | None:
        """Take the lease of a person and return its token; None while another job works on the person."""
        token = uuid4().hex
        return token if self._redis.set(keys.lease(key), token, nx=True, px=keys.LEASE_MILLISECONDS) else None

    def renew(self, key: str, token: str) -> None:
        """Prolong the lease before an effect. Raises LeaseLost when another job has it."""
        if not self._renew(keys=[keys.lease(key)], args=[token, keys.LEASE_MILLISECONDS]):
            raise LeaseLost("another job works on this person", reason="lease_lost")

    def free(self, key: str, token: str, *, only_if_empty: bool = False) -> bool:
        """Give the lease back; return False where it was kept because the mailbox holds something."""
        arguments: list[str | int] = [token, int(only_if_empty)]
        return bool(self._free(keys=[keys.lease(key), keys.mailbox(key)], args=arguments))

    def lease_ends_at(self, key: str) -> datetime:
        """Return when the present holder's lease ends unless it is renewed."""
        left: Any = self._redis.pttl(keys.lease(key))
        return datetime.fromtimestamp(time.time() + max(left, 0) / 1000, UTC)

    def look_again(self, key: str, lane: str, at: datetime) -> None:
        """Offer a later look at this person."""
        with self._redis.pipeline() as pipe:
            offer(pipe, self._queues[lane], CONVERGE, key, lane, at=at)
            pipe.execute()

    def get(self, key: str) -> Person:
        """Return what is known of a person; an empty one for a stranger."""
        found: Any = self._redis.get(keys.person(key))
        return Person.model_validate_json(found) if found else Person(key=key)

    def mailbox(self, key: str) -> list[Kept]:
        """Return the person's unsettled events, oldest arrival first, at most MAILBOX_READ_MAX."""
        refs: Any = self._redis.lrange(keys.mailbox(key), 0, MAILBOX_READ_MAX - 1)
        with self._redis.pipeline(transaction=False) as pipe:
            for ref in refs:
                pipe.hmget(keys.event(ref.decode()), "doc", "person", "state", "deliveries")
            return [_kept(*found) for found in pipe.execute()]

    def owner_of(self, target: str, account_id: str) -> str | None:
        """Return the key of the person whose account this was settled to be; None for nobody's."""
        found: Any = self._redis.hget(keys.owners(target), account_id)
        return found.decode() if found else None

    def namesake(self, key: str) -> Person | None:
        """Return the person whose user name or address this key is now; None where the key is a person of its own."""
        alias: Any = self._redis.get(keys.alias(key))
        if alias is None or alias.decode() == key or self._redis.exists(keys.person(key)):
            return None
        other = self.get(alias.decode())
        return other if key.lower() in other.names() else None

    def hand_over(self, key: str, token: str, lane: str, other: str) -> bool:
        """Move a name's events to the person who has it, with a job; return False where somebody joins by the name.

        A joiner is never handed over: the address may be another's by now. Raises LeaseLost.
        """
        waiting = self.mailbox(key)
        if not waiting or any(kept.event.kind is Kind.JOINER for kept in waiting):
            return False
        with self._redis.pipeline() as pipe:
            try:
                pipe.watch(keys.lease(key), keys.mailbox(key))  # type: ignore[no-untyped-call]
                self._check_lease(pipe, key, token)
                pipe.multi()
                for kept in waiting:
                    _rename(pipe, kept.event, other)
                offer(pipe, self._queues[lane], CONVERGE, other, lane)
                pipe.execute()
            except WatchError as error:
                raise LeaseLost("the mailbox did not stand still", reason="lease_lost") from error
        return True

    def settle(self, token: str, settled: Settled) -> bool:
        """Make an attempt's results true, all or none; return whether unread events wait, for which the lease is kept.

        Raises LeaseLost when another job took the person meanwhile: then nothing is written.
        """
        key = settled.person.key
        read = {settlement.kept.event.ref for settlement in settled.settlements}
        progress = any(settlement.state not in OPEN_STATES for settlement in settled.settlements)
        for _ in range(SETTLE_TRIES_MAX):
            with self._redis.pipeline() as pipe:
                try:
                    pipe.watch(keys.lease(key), keys.mailbox(key))  # type: ignore[no-untyped-call]
                    self._check_lease(pipe, key, token)
                    refs: Any = pipe.lrange(keys.mailbox(key), 0, -1)
                    more = _unread(refs, read, progress=progress)
                    pipe.multi()
                    self._write(pipe, settled)
                    if not more:
                        pipe.delete(keys.lease(key))
                    pipe.execute()
                except WatchError:
                    continue
                return more
        raise LeaseLost("the mailbox never stood still", reason="lease_lost")

    def _check_lease(self, pipe: Pipeline, key: str, token: str) -> None:
        holder: Any = pipe.get(keys.lease(key))
        if holder is None or holder.decode() != token:
            raise LeaseLost("another job works on this person", reason="lease_lost")

    def _write(self, pipe: Pipeline, settled: Settled) -> None:
        person = settled.person
        _write_person(pipe, person)
        for settlement in settled.settlements:
            _write_event(pipe, settlement)
        for signal, subscribers in settled.signals:
            self._write_signal(pipe, signal, subscribers)
        for lane, at in settled.again:
            offer(pipe, self._queues[lane], CONVERGE, person.key, lane, at=at)
        for target, method, status in settled.requests:
            metrics.count(pipe, "gatepost_scim_requests", target, method, status)
        for target, seconds in settled.revoked:
            metrics.observe(pipe, "gatepost_time_to_revoke_seconds", target, seconds=seconds)

    def _write_signal(self, pipe: Pipeline, signal: Signal, subscribers: Sequence[str]) -> None:
        now = time.time()
        record: dict[Any, Any] = {**signal._asdict(), "made_at": str(now), "subscribers": json.dumps(list(subscribers))}
        pipe.hset(keys.signal(signal.id), mapping=record)
        pipe.expire(keys.signal(signal.id), keys.RETENTION_SECONDS)
        pipe.zadd(keys.SIGNALS, {signal.id: now})
        pipe.zremrangebyscore(keys.SIGNALS, "-inf", now - keys.RETENTION_SECONDS)
        for subscriber in subscribers:
            # One that is here already keeps its state: what was delivered is not delivered again.
            pipe.hsetnx(keys.delivery(signal.id, subscriber), "state", "waiting")
            pipe.hsetnx(keys.delivery(signal.id, subscriber), "attempts", "0")
            pipe.expire(keys.delivery(signal.id, subscriber), keys.RETENTION_SECONDS)
            offer(pipe, self._queues[SIGNALS], DELIVER, signal.id, subscriber)


def _write_person(pipe: Pipeline, person: Person) -> None:
    pipe.set(keys.person(person.key), person.model_dump_json())
    for name in ("user_name", "email"):
        if value := person.value(name):
            pipe.set(keys.alias(str(value)), person.key)
    for target, account in person.accounts.items():
        pipe.hset(keys.owners(target), account.id, person.key)


def _unread(refs: Sequence[bytes], read: set[str], *, progress: bool) -> bool:
    """Tell whether another read would bring something new; what lies beyond one read waits until some is settled."""
    fresh = any(ref.decode() not in read for ref in refs[:MAILBOX_READ_MAX])
    return fresh or (progress and len(refs) > MAILBOX_READ_MAX)


def _rename(pipe: Pipeline, event: Event, other: str) -> None:
    at = int(event.received_at.timestamp() * 1000)
    pipe.hset(keys.event(event.ref), "person", other)
    pipe.lrem(keys.mailbox(event.person), 0, event.ref)
    pipe.rpush(keys.mailbox(other), event.ref)
    pipe.zrem(keys.person_events(event.person), event.ref)
    pipe.zadd(keys.person_events(other), {event.ref: at})
    pipe.rpush(keys.trace(event.ref), Step(datetime.now(UTC), "link", {"person": other}).to_json())


def event_of(doc: bytes | str, person: bytes | str | None) -> Event:
    """Read an event's record: its person is whom it was kept for, or to whom it was handed over."""
    event = Event.model_validate_json(doc)
    if not person:
        return event
    return event.model_copy(update={"person": person.decode() if isinstance(person, bytes) else person})


def _kept(doc: bytes, person: bytes | None, state: bytes, deliveries: bytes | None) -> Kept:
    found = {
        name: Delivery(**fields | {"outcome": State(fields["outcome"])})
        for name, fields in json.loads(deliveries or b"{}").items()
    }
    return Kept(event_of(doc, person), State(state.decode()), found)


def dump_deliveries(deliveries: dict[str, Delivery]) -> str:
    """Dump for Redis and for people."""
    return json.dumps({name: delivery.__dict__ for name, delivery in deliveries.items()})


def _write_event(pipe: Pipeline, settlement: Settlement) -> None:
    event, state = settlement.kept.event, settlement.state
    now = time.time()
    record: dict[Any, Any] = {
        "state": state.value,
        "deliveries": dump_deliveries(settlement.deliveries),
        "reason": settlement.reason or "",
        "detail": settlement.detail or "",
        "settled_at": "" if state in OPEN_STATES else str(now),
    }
    pipe.hset(keys.event(event.ref), mapping=record)
    move(pipe, event, settlement.kept.state, state)
    if settlement.steps:
        pipe.rpush(keys.trace(event.ref), *(step.to_json() for step in settlement.steps))
        pipe.ltrim(keys.trace(event.ref), -TRACE_LINES_MAX, -1)
    if state in OPEN_STATES:
        return
    pipe.lrem(keys.mailbox(event.person), 0, event.ref)
    metrics.count(pipe, "gatepost_events", event.source, event.kind.value, state.value)
    latency = now - event.received_at.timestamp()
    metrics.observe(pipe, "gatepost_event_latency_seconds", event.kind.value, seconds=latency)
    if state not in STUCK_STATES:
        _let_expire(pipe, event, state, now)


def move(pipe: Pipeline, event: Event, before: State, after: State) -> None:
    """Move an event from one state's index to another's, and in or out of what waits for a person."""
    at = int(event.received_at.timestamp() * 1000)
    pipe.zrem(keys.events(before), event.ref)
    pipe.zadd(keys.events(after), {event.ref: at})
    lane = keys.open_events(LANE_OF_KIND[event.kind])
    if after in {State.KEPT, State.POSTPONED}:
        pipe.zadd(lane, {event.ref: at})
    else:
        pipe.zrem(lane, event.ref)
    if after in STUCK_STATES:
        pipe.zadd(keys.FAILURES, {f"event:{event.ref}": time.time()})
    elif before in STUCK_STATES:
        pipe.zrem(keys.FAILURES, f"event:{event.ref}")


def _let_expire(pipe: Pipeline, event: Event, state: State, now: float) -> None:
    oldest = int((now - keys.RETENTION_SECONDS) * 1000)
    pipe.expire(keys.event(event.ref), keys.RETENTION_SECONDS)
    pipe.expire(keys.trace(event.ref), keys.RETENTION_SECONDS)
    for index in (keys.EVENTS, keys.events(state), keys.person_events(event.person)):
        pipe.zremrangebyscore(index, "-inf", oldest)
