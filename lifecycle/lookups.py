"""Thin events, and what was found out about them: a person's unread ones, and the one atomic step that ends a look.

They stand in a list of their own beside the mailbox, so that a look needs no lease: whoever works on the person does
not see an event before it was read, and one that was read arrives in the mailbox like any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from redis.client import Pipeline
from redis.exceptions import WatchError

from lifecycle import keys, outbox
from lifecycle.event import OPEN_STATES, Kind, State
from lifecycle.leases import LeaseLost
from lifecycle.links import rename
from lifecycle.people import People
from lifecycle.queue import CONVERGE, LANE_OF_KIND, LOOKUPS, offer
from lifecycle.reading import Reading
from lifecycle.settlement import NOT_LOOKED, Kept, Looked, Settlement, write_event
from lifecycle.signal import Signal

UNREAD_MAX = 200
SETTLE_TRIES_MAX = 20


@dataclass(frozen=True)
class Look:
    """What a look came to for one event."""

    settlement: Settlement
    reading: Reading | None = None
    person: str | None = None
    """Under which key the person of a reading is known."""
    looked: Looked = NOT_LOOKED
    signals: Sequence[Signal] = ()

    @property
    def again(self) -> datetime | None:
        """The moment of a later look."""
        return self.looked.retry_at or self.settlement.due_at

    @property
    def ref(self) -> str:
        """The event's name over all sources."""
        return self.settlement.kept.event.ref


class Lookups:
    """The thin events in Redis."""

    def __init__(self, people: People) -> None:
        """Keep the store."""
        self._people = people
        self._redis = people.redis

    def unread(self, key: str) -> list[Kept]:
        """Return the person's thin events that were not read yet, oldest arrival first, at most UNREAD_MAX."""
        return self._people.kept_in(keys.unread(key), UNREAD_MAX)

    def settle(self, key: str, looks: Sequence[Look]) -> None:
        """Make what was found true, all or none, and offer what follows from it.

        An event that another job settled meanwhile stays as it is. Raises LeaseLost where the list never stands still.
        """
        for _ in range(SETTLE_TRIES_MAX):
            with self._redis.pipeline() as pipe:
                try:
                    pipe.watch(keys.unread(key))  # type: ignore[no-untyped-call]
                    found: Any = pipe.lrange(keys.unread(key), 0, -1)
                    refs = {ref.decode() for ref in found}
                    pipe.multi()
                    self._write(pipe, key, [look for look in looks if look.ref in refs])
                    pipe.execute()
                except WatchError:
                    continue
                return
        raise LeaseLost("the unread events never stood still", reason="lease_lost")

    def _write(self, pipe: Pipeline, key: str, looks: Sequence[Look]) -> None:
        jobs = []
        for look in looks:
            pipe.hset(keys.event(look.ref), "looked", look.looked.to_json())
            if look.reading is not None:
                jobs.append((look.person or key, LANE_OF_KIND[look.reading.kind]))
                _pass_on(pipe, key, look, look.reading)
            else:
                write_event(pipe, look.settlement)
                if look.settlement.state not in OPEN_STATES:
                    pipe.lrem(keys.unread(key), 0, look.ref)
            for signal in look.signals:
                outbox.keep(pipe, signal)
        for person, lane in dict.fromkeys(jobs):
            offer(pipe, self._people.queues[lane], CONVERGE, person, lane)
        first = any(look.settlement.kept.event.hint is Kind.LEAVER for look in looks)
        for at in {look.again for look in looks if look.again}:
            offer(pipe, self._people.queues[LOOKUPS], CONVERGE, key, LOOKUPS, at=at, first=first)


def _pass_on(pipe: Pipeline, key: str, look: Look, reading: Reading) -> None:
    """Put an event into the mailbox of whom it is about, as what it turned out to be."""
    kept = look.settlement.kept
    event = reading.of(kept.event)
    pipe.hset(keys.event(look.ref), "reading", reading.to_json())
    pipe.lrem(keys.unread(key), 0, look.ref)
    pipe.zrem(keys.open_events(LOOKUPS), look.ref)
    pipe.rpush(keys.mailbox(key), look.ref)
    write_event(pipe, replace(look.settlement, kept=replace(kept, event=event, reading=reading), state=State.KEPT))
    if look.person and look.person != key:
        rename(pipe, event, key, look.person)
