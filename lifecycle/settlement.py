"""What an attempt comes to: where each event stands, and how its record is read and written.

``lifecycle.people`` makes all of it true at once.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from redis.client import Pipeline

from lifecycle import keys, metrics
from lifecycle.event import OPEN_STATES, STUCK_STATES, Event, Kind, State
from lifecycle.person import Person
from lifecycle.queue import LANE_OF_KIND, LOOKUPS
from lifecycle.reading import Reading
from lifecycle.safety import LIMIT_OF
from lifecycle.signal import Signal, iso

TRACE_LINES_MAX = 200


@dataclass(frozen=True)
class Delivery:
    """What one event came to on one target, over all attempts."""

    outcome: State
    requests: int = 0
    attempts: int = 0
    reason: str | None = None
    retry_at: str | None = None
    """The earliest moment of the next attempt, while postponed."""
    confirm_by: str | None = None
    """Until when a suspension may still be confirmed that the target took and does not show."""


class Ruling(NamedTuple):
    """What a human decided of an event that was held: to release or to drop it."""

    verdict: str
    by: str
    at: str = ""
    limits: Sequence[Sequence[str]] = ()
    """Target and limit of each hold that a release overrules: of what was not held then, nobody decided."""

    def ends(self, target: str, limit: str) -> bool:
        """Tell whether a hold of this kind stands no longer in the way."""
        return self.verdict == DROPPED or [target, limit] in map(list, self.limits)


class Looked(NamedTuple):
    """How often a thin event was looked up in vain, and the earliest moment of the next look."""

    times: int = 0
    """In trouble that time mends; there is an end to it."""
    retry_at: datetime | None = None
    contradicted: int = 0
    """How often the directory showed the opposite of what the source says."""
    barred: int = 0
    """How often in a row the directory let us not in: somebody must mend that, and until then there is no end to it."""

    @property
    def in_trouble(self) -> bool:
        """Whether the last look failed, and so the next one waits until the directory is well."""
        return self.times > 0 or self.barred > 0

    def to_json(self) -> str:
        """Dump for Redis."""
        retry_at = self.retry_at.isoformat() if self.retry_at else None
        return json.dumps([self.times, retry_at, self.contradicted, self.barred])

    @classmethod
    def from_json(cls, text: str | bytes) -> "Looked":
        """Read what ``to_json`` wrote."""
        times, retry_at, *counts = json.loads(text)
        return cls(times, datetime.fromisoformat(retry_at) if retry_at else None, *counts)


NOT_LOOKED = Looked()
RELEASED, DROPPED = "released", "dropped"
HOLD_ENDED = "hold_ended"
COMPLETED, FAILED = "completed", "failed"
"""What a source is told that waits to hear of an event."""


@dataclass(frozen=True)
class Kept:
    """An unsettled event as it stands in its record."""

    event: Event
    """As it counts: a thin one that was looked up is what it turned out to be."""
    state: State
    deliveries: dict[str, Delivery]
    ruling: Ruling | None = None
    deaths: int = 0
    """How many workers in a row died while they worked on it."""
    reading: Reading | None = None
    looked: Looked = NOT_LOOKED
    due_at: datetime | None = None
    """When it takes effect, as it was last found; None where it has no date or was not looked at yet."""

    @property
    def kind(self) -> Kind:
        """What the source called it."""
        return Kind.CHANGED if self.reading else self.event.kind


KEPT_FIELDS = ("doc", "person", "state", "deliveries", "ruling", "deaths", "reading", "looked", "due_at")
"""What ``kept_of`` reads of an event's record, in this order."""


@dataclass(frozen=True)
class Step:
    """One line of an event's timeline; ``detail`` holds no secret and no personal value."""

    at: datetime
    step: str
    detail: dict[str, Any]

    def to_json(self) -> str:
        """Dump for Redis."""
        return json.dumps({"at": iso(self.at), "step": self.step, "detail": self.detail})


class Made(NamedTuple):
    """An event that we or an operator make, with the first line of its timeline, which says why or who."""

    event: Event
    step: Step


@dataclass(frozen=True)
class Settlement:
    """Where an event stands after an attempt."""

    kept: Kept
    state: State
    deliveries: dict[str, Delivery]
    steps: tuple[Step, ...]
    reason: str | None = None
    detail: str | None = None
    due_at: datetime | None = None
    """When an event with a date takes effect."""
    is_hold: bool = False
    """Whether a human has to rule of it, also while it is still tried on another target."""


@dataclass(frozen=True)
class Parked:
    """A person's place in the line before a target's gate, from where it is let in."""

    target: str
    score: int
    """The lower, the sooner."""
    need: int
    """How many requests the next attempt asks for."""


@dataclass(frozen=True)
class Settled:
    """Everything that one attempt changes; all of it becomes true at once."""

    person: Person
    settlements: Sequence[Settlement]
    signals: Sequence[Signal] = ()
    """Of each id the first is kept, whichever attempt makes it: the cause of an alarm is one for many."""
    again: Sequence[tuple[str, datetime]] = ()
    """Lanes and moments of later looks at this person."""
    requests: Sequence[tuple[str, str, str]] = ()
    """Target, method and status of each request made."""
    revoked: Sequence[tuple[str, float]] = ()
    """Target and seconds from received to confirmed inactive."""
    parked: Sequence[Parked] = ()
    unparked: Sequence[str] = ()
    """Targets for which the person waits no longer."""
    made: Sequence[Made] = ()
    """Events of ours that follow from it."""
    forgotten: Sequence[tuple[str, str]] = ()
    """Target and id of each account that is nobody's any more."""
    links: bool = False
    """Whether persons who have a name in common may be one human."""


def still_open(kept: Kept, target: str) -> bool:
    """Tell whether this event is not yet settled on a target."""
    is_new = target not in kept.deliveries
    return is_new or kept.deliveries[target].outcome is State.POSTPONED or is_overruled(kept, target)


def is_overruled(kept: Kept, target: str) -> bool:
    """Tell whether a human released what a safety limit holds of this event on a target."""
    limit = limit_of(kept.deliveries[target]) if target in kept.deliveries else None
    return limit is not None and is_released(kept, target, limit)


def is_released(kept: Kept, target: str, limit: str) -> bool:
    """Tell whether a human released what this limit held of the event on a target."""
    return kept.ruling is not None and kept.ruling.verdict == RELEASED and kept.ruling.ends(target, limit)


def is_limited(delivery: Delivery) -> bool:
    """Tell whether a safety limit holds this."""
    return limit_of(delivery) is not None


def limit_of(delivery: Delivery) -> str | None:
    """Return the safety limit that holds this; None where none does."""
    return LIMIT_OF.get(delivery.reason or "") if delivery.outcome is State.HELD else None


def event_of(doc: bytes | str, person: bytes | str | None) -> Event:
    """Read an event's record: its person is whom it was kept for, or to whom it was handed over."""
    event = Event.model_validate_json(doc)
    if not person:
        return event
    return event.model_copy(update={"person": person.decode() if isinstance(person, bytes) else person})


def kept_of(fields: Sequence[bytes | None]) -> Kept:
    """Read what the KEPT_FIELDS of an event's record say of where it stands."""
    doc, person, state, deliveries, ruling, deaths, read, looked, due_at = fields
    if doc is None or state is None:
        msg = "an event in a mailbox has a record"
        raise TypeError(msg)
    found = {
        name: Delivery(**fields | {"outcome": State(fields["outcome"])})
        for name, fields in json.loads(deliveries or b"{}").items()
    }
    ruled = Ruling(*json.loads(ruling)) if ruling else None
    reading = Reading.model_validate_json(read) if read else None
    told = event_of(doc, person)
    event = reading.of(told) if reading else told
    looks = Looked.from_json(looked) if looked else NOT_LOOKED
    due = datetime.fromisoformat(due_at.decode()) if due_at else None
    return Kept(event, State(state.decode()), found, ruled, int(deaths or 0), reading, looks, due)


def box_of(event: Event) -> str:
    """Return the list in which an open event waits: a thin one first to be looked up."""
    return keys.unread(event.person) if LANE_OF_KIND[event.kind] == LOOKUPS else keys.mailbox(event.person)


def dump_deliveries(deliveries: dict[str, Delivery]) -> str:
    """Dump for Redis and for people."""
    return json.dumps({name: delivery.__dict__ for name, delivery in deliveries.items()})


def write_event(pipe: Pipeline, settlement: Settlement) -> None:
    """Write where an event stands now, in its record, its timeline and the indexes, in the caller's atomic step."""
    event, state = settlement.kept.event, settlement.state
    now = time.time()
    record: dict[Any, Any] = {
        "state": state.value,
        "deliveries": dump_deliveries(settlement.deliveries),
        "reason": settlement.reason or "",
        "detail": settlement.detail or "",
        "settled_at": "" if state in OPEN_STATES else str(now),
        # Whoever writes this lives.
        "deaths": 0,
    }
    if settlement.due_at is not None:
        record["due_at"] = settlement.due_at.isoformat()
    pipe.hset(keys.event(event.ref), mapping=record)
    move(pipe, event, settlement.kept.state, state)
    if settlement.due_at is not None and state is State.SCHEDULED:
        pipe.zadd(keys.DUE, {event.ref: settlement.due_at.timestamp() * 1000})
    else:
        pipe.zrem(keys.DUE, event.ref)
    if settlement.is_hold:
        pipe.zadd(keys.HOLDS, {event.ref: now * 1000}, nx=True)
    else:
        pipe.zrem(keys.HOLDS, event.ref)
    if settlement.steps:
        pipe.rpush(keys.trace(event.ref), *(step.to_json() for step in settlement.steps))
        pipe.ltrim(keys.trace(event.ref), -TRACE_LINES_MAX, -1)
    if state in OPEN_STATES:
        return
    pipe.lrem(keys.mailbox(event.person), 0, event.ref)
    if event.reply_to is not None and state is not State.HELD:
        note_reply(pipe, settlement, now)
    kind = settlement.kept.kind.value
    metrics.count(pipe, "gatepost_events", event.source, kind, state.value)
    latency = now - max(event.begins_at, settlement.due_at or event.begins_at).timestamp()
    metrics.observe(pipe, "gatepost_event_latency_seconds", kind, seconds=latency)
    if state not in STUCK_STATES:
        _let_expire(pipe, event, state, now)


def note_reply(pipe: Pipeline, settlement: Settlement, now: float) -> None:
    """Note that the source is to be told what became of the event, at once; what was noted before counts no more."""
    event = settlement.kept.event
    # A leaver whom the directory shows at work was locked out nowhere, however well the event ended.
    denied = event.hint is Kind.LEAVER and event.kind is not Kind.LEAVER
    undone = denied or settlement.state is State.FAILED or settlement.reason == DROPPED
    reply: dict[Any, Any] = {"reply": FAILED if undone else COMPLETED, "reply_noted": str(now), "reply_tries": 0}
    pipe.hset(keys.event(event.ref), mapping=reply)
    pipe.zadd(keys.REPLIES, {event.ref: now * 1000})


def write_revived(pipe: Pipeline, kept: Kept, person: Person) -> None:
    """Put back into a mailbox what was held with a hold that ended, in the caller's atomic step.

    Where another hold keeps it, it stays held.
    """
    ref, held = kept.event.ref, person.held_events()
    ended = {name for name, each in kept.deliveries.items() if is_limited(each) and (name, ref) not in held}
    deliveries = {
        name: replace(each, outcome=State.POSTPONED, reason=HOLD_ENDED) if name in ended else each
        for name, each in kept.deliveries.items()
    }
    record: dict[Any, Any] = {
        "person": person.key,
        "state": State.KEPT.value,
        "deliveries": dump_deliveries(deliveries),
    }
    pipe.hset(keys.event(ref), mapping=record)
    move(pipe, kept.event, kept.state, State.KEPT)
    if ref not in {hold.event for hold in person.holds}:
        pipe.zrem(keys.HOLDS, ref)
    pipe.rpush(keys.trace(ref), Step(datetime.now(UTC), "hold", {"ended": True}).to_json())
    pipe.rpush(keys.mailbox(person.key), ref)


def move(pipe: Pipeline, event: Event, before: State, after: State) -> None:
    """Move an event from one state's index to another's, and in or out of what waits for a person."""
    at = int(event.received_at.timestamp() * 1000)
    pipe.zrem(keys.events(before), event.ref)
    pipe.zadd(keys.events(after), {event.ref: at})
    lane = keys.open_events(LANE_OF_KIND[event.kind])
    if after in {State.KEPT, State.POSTPONED}:
        pipe.zadd(lane, {event.ref: int(event.begins_at.timestamp() * 1000)})
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
