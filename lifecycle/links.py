"""Which keys name one human: a name that a person has, an id that was found to be another person's.

A key that is linked has no person of its own any more: what is told of it goes to the other one's mailbox, under the
other one's lease. So two sources that speak of one human are never worked on at once.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from redis.client import Pipeline
from redis.exceptions import WatchError

from lifecycle import keys, windows
from lifecycle.event import OURSELVES, Event, Kind, Profile
from lifecycle.leases import LeaseLost
from lifecycle.made import keep
from lifecycle.people import MAILBOX_READ_MAX, People
from lifecycle.person import Person
from lifecycle.queue import CONVERGE, LANE_OF_KIND, LEAVERS, JobWriter, offer
from lifecycle.safety import LEAVERS as LEAVERS_LIMIT
from lifecycle.settlement import Kept, Made, Step

# Two jobs that each want the other's person do not try again in the same moment.
APART_SECONDS_MAX = 2.0
HOPS_MAX = 10
LINKED = "linked"


class Links:
    """The ways from keys to persons."""

    def __init__(self, people: People) -> None:
        """Keep the store."""
        self._people = people
        self._redis = people.redis
        self._writer = JobWriter()

    def linked(self, key: str) -> str | None:
        """Return the key of the person that this key was found to be, by way of others; None where it is its own."""
        last = None
        for _ in range(HOPS_MAX):
            found: Any = self._redis.get(keys.link(last or key))
            if found is None:
                break
            last = found.decode()
        return last

    def namesake(self, key: str) -> Person | None:
        """Return the person whose user name or address this key is now; None where the key is a person of its own."""
        alias: Any = self._redis.get(keys.alias(key))
        if alias is None or alias.decode() == key or self._redis.exists(keys.person(key)):
            return None
        other = self._people.get(alias.decode())
        return other if key.lower() in other.names() else None

    def account_of(self, target: str, name: str) -> str | None:
        """Return the id of the account of the person with this key, user name or address; None where there is none."""
        account = self.known(name).accounts.get(target)
        return account.id if account else None

    def known(self, name: str) -> Person:
        """Return whom a key, user name or address means now; an empty person where that is nobody."""
        key = self.linked(name) or name
        return self.namesake(key) or self._people.get(key)

    def is_key(self, key: str) -> bool:
        """Tell whether a person is, or was, known by this key."""
        return bool(self._redis.exists(keys.person(key), keys.link(key)))

    def holders(self, names: Sequence[str]) -> Mapping[str, Person]:
        """Return who has each of these names now; one that nobody has is left out."""
        found: Any = self._redis.mget([keys.alias(name) for name in names]) if names else []
        persons = {name: self._people.get(holder.decode()) for name, holder in zip(names, found, strict=True) if holder}
        return {name: person for name, person in persons.items() if name in person.claims()}

    def hand_over(self, key: str, token: str, lane: str, other: str, *, joiners: bool) -> bool:
        """Move what waits for a key to another person, with a job for each lane; return False where nothing was moved.

        By a mere name a joiner is not handed over: the address may be another's by now. Raises LeaseLost.
        """
        waiting = self._people.mailbox(key)
        if not joiners and (not waiting or any(kept.event.kind is Kind.JOINER for kept in waiting)):
            return False
        with self._redis.pipeline() as pipe:
            try:
                pipe.watch(keys.lease(key), keys.mailbox(key))  # type: ignore[no-untyped-call]
                self._people.check_lease(pipe, key, token)
                pipe.multi()
                self._move(pipe, waiting, key, other, lane)
                pipe.execute()
            except WatchError as error:
                raise LeaseLost("the mailbox did not stand still", reason="lease_lost") from error
        return True

    def merge(self, key: str, token: str, lane: str, other_token: str, merged: Person) -> None:
        """Make two persons one, under the leases of both: what is known of this key becomes the other's.

        ``merged`` is both, under the other's key. Raises LeaseLost, and then nothing has changed.
        """
        other, waiting, made = merged.key, self._people.mailbox(key), _follow_up(merged, key)
        names = [keys.alias(name) for name in merged.claims()]
        before = [self._people.get(key), self._people.get(other)]
        with self._redis.pipeline() as pipe:
            try:
                pipe.watch(keys.lease(key), keys.lease(other), keys.mailbox(key), *names)  # type: ignore[no-untyped-call]
                self._people.check_lease(pipe, key, token)
                self._people.check_lease(pipe, other, other_token)
                won, _ = self._people.names_won(pipe, merged, beside=key)
                targets: Any = pipe.smembers(keys.TARGETS)
                names_of = {*(each.decode() for each in targets), *before[0].accounts}
                counted = windows.counted(pipe, key, names_of)
                pipe.multi()
                self._people.write_person(pipe, merged, won, before)
                windows.rename(pipe, counted, key, other)
                for ref in _names(before) - _names([merged]):
                    pipe.zrem(keys.HOLDS, ref)
                pipe.delete(keys.person(key))
                pipe.set(keys.link(key), other)
                events = keys.person_events(other)
                pipe.zunionstore(events, [events, keys.person_events(key)], aggregate="MAX")
                pipe.delete(keys.person_events(key))
                self._move(pipe, waiting, key, other, lane)
                keep(pipe, made, self._writer)
                if merged.has_left:
                    offer(pipe, self._people.queues[LEAVERS], CONVERGE, other, LEAVERS)
                pipe.execute()
            except WatchError as error:
                raise LeaseLost("the mailboxes did not stand still", reason="lease_lost") from error

    def look_again(self, key: str, lane: str, other: str) -> None:
        """Offer a later look at a key whose other person is being worked on."""
        apart = timedelta(seconds=random.uniform(0, APART_SECONDS_MAX))  # noqa: S311 - jitter, not a secret
        self._people.look_again(key, lane, max(self._people.lease_ends_at(other), datetime.now(UTC)) + apart)

    def _move(self, pipe: Pipeline, waiting: Sequence[Kept], key: str, other: str, lane: str) -> None:
        for kept in waiting:
            rename(pipe, kept.event, key, other)
        # What a mailbox holds beyond one read is for the next job; and one for the other, even where nothing waits: it
        # may be for this very look that its own was given up.
        for each in {lane, *(LANE_OF_KIND[kept.event.kind] for kept in waiting)}:
            offer(pipe, self._people.queues[each], CONVERGE, other, each)
            if len(waiting) >= MAILBOX_READ_MAX:
                offer(pipe, self._people.queues[each], CONVERGE, key, each)


def _follow_up(merged: Person, key: str) -> list[Made]:
    """Return an event of ours where the accounts of two do not show what is known of the one: whoever said it is done.

    Of one the account was made after the other had left, and neither was known to be the other. What is held waits.
    """
    accounts = merged.accounts.items()
    shown = {account.active for target, account in accounts if merged.held(target, LEAVERS_LIMIT) is None}
    if merged.status is None or (merged.has_left if True not in shown else not merged.has_left and False not in shown):
        return []
    now = datetime.now(UTC)
    event = Event(
        id=f"linked-{uuid4().hex}",
        source=OURSELVES,
        kind=Kind.MOVER,
        person=merged.key,
        profile=Profile(),
        occurred_at=now,
        received_at=now,
        vendor_kind=LINKED,
    )
    return [Made(event, Step(now, "link", {"with": key}))]


def _names(persons: Iterable[Person]) -> set[str]:
    """Return the events by whose names holds are known."""
    return {hold.event for person in persons for hold in person.holds}


def rename(pipe: Pipeline, event: Event, key: str, other: str) -> None:
    """Make an event of one person's mailbox another's, in the caller's atomic step."""
    at = int(event.received_at.timestamp() * 1000)
    pipe.hset(keys.event(event.ref), "person", other)
    pipe.lrem(keys.mailbox(key), 0, event.ref)
    pipe.rpush(keys.mailbox(other), event.ref)
    pipe.zrem(keys.person_events(key), event.ref)
    pipe.zadd(keys.person_events(other), {event.ref: at})
    pipe.rpush(keys.trace(event.ref), Step(datetime.now(UTC), "link", {"person": other}).to_json())
