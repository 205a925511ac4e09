"""The person store: who works on whom, what is known, and ``settle``, the one atomic step that ends an attempt.

One person is worked on by one job at a time. A job takes the lease, reads the mailbox, and settles; settling frees the
lease only when the mailbox holds nothing unread, so there is no moment at which an event arrives unseen.
"""

import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import WatchError
from rq import Queue

from lifecycle import keys, meanwhile, metrics, outbox
from lifecycle.event import OPEN_STATES, State
from lifecycle.leases import LeaseLost, Leases
from lifecycle.made import keep
from lifecycle.person import Person
from lifecycle.queue import CONVERGE, PEOPLE, JobWriter, offer
from lifecycle.settlement import KEPT_FIELDS, Kept, Parked, Settled, kept_of, write_event, write_revived

MAILBOX_READ_MAX = 200
SETTLE_TRIES_MAX = 20


class People:
    """The persons in Redis."""

    def __init__(self, redis: Redis, queues: dict[str, Queue], worker: str | None = None) -> None:
        """Keep the connection, which has to decode nothing, RQ's queues, and the name of this process."""
        self.redis = redis
        self.queues = queues
        self.leases = Leases(redis, worker or uuid4().hex)
        self.take, self.renew, self.free = self.leases.take, self.leases.renew, self.leases.free
        self.lease_ends_at = self.leases.ends_at
        self._writer = JobWriter()

    def leave_lines(self, key: str, targets: Iterable[str]) -> list[str]:
        """Take a person of whom nothing is left to do out of every line; return the targets that had let it in."""
        targets = list(targets)
        with self.redis.pipeline() as pipe:
            for target in targets:
                pipe.hexists(keys.granted(target), key)
            for target in targets:
                _leave_line(pipe, key, target)
            return [target for target, granted in zip(targets, pipe.execute(), strict=False) if granted]

    def look_again(self, key: str, lane: str, at: datetime) -> None:
        """Offer a later look at this person."""
        with self.redis.pipeline() as pipe:
            offer(pipe, self.queues[lane], CONVERGE, key, lane, at=at)
            pipe.execute()

    def get(self, key: str) -> Person:
        """Return what is known of a person; an empty one for a stranger."""
        found: Any = self.redis.get(keys.person(key))
        return Person.model_validate_json(found) if found else Person(key=key)

    def mailbox(self, key: str) -> list[Kept]:
        """Return the person's unsettled events, oldest arrival first, at most MAILBOX_READ_MAX.

        Of more than that first those that were never read, then those that wait for nothing but a target or their date.
        """
        return self.kept_in(keys.mailbox(key), MAILBOX_READ_MAX)

    def kept_in(self, name: str, number_max: int) -> list[Kept]:
        """Return so many events of a list of refs."""
        refs: Any = self.redis.lrange(name, 0, -1)
        if len(refs) > number_max:
            urgency = self._urgency(refs)
            refs = sorted(refs, key=urgency.__getitem__)[:number_max]
        with self.redis.pipeline(transaction=False) as pipe:
            for ref in refs:
                pipe.hmget(keys.event(ref.decode()), *KEPT_FIELDS)
            return [kept_of(found) for found in pipe.execute()]

    def _urgency(self, refs: Sequence[bytes]) -> dict[bytes, tuple[int, float]]:
        """Return by ref the less, the sooner it is to be read: what was never read, what was tried, what is ahead."""
        with self.redis.pipeline(transaction=False) as pipe:
            for ref in refs:
                pipe.hget(keys.event(ref.decode()), "state")
                pipe.zscore(keys.DUE, ref)
            answers = pipe.execute()
        states, due = answers[::2], answers[1::2]
        ranks = {State.KEPT.value.encode(): 0, State.POSTPONED.value.encode(): 1}
        return {
            ref: (ranks.get(state, 2), float(moment or 0)) for ref, state, moment in zip(refs, states, due, strict=True)
        }

    def owner_of(self, target: str, account_id: str) -> str | None:
        """Return the key of the person whose account this was settled to be; None for nobody's."""
        found: Any = self.redis.hget(keys.owners(target), account_id)
        return found.decode() if found else None

    def settle(self, token: str, settled: Settled) -> bool:
        """Make an attempt's results true, all or none; return whether unread events wait, for which the lease is kept.

        Raises LeaseLost when another job took the person meanwhile: then nothing is written.
        """
        key, before = settled.person.key, self.get(settled.person.key)
        read = {settlement.kept.event.ref for settlement in settled.settlements}
        progress = any(settlement.state not in OPEN_STATES for settlement in settled.settlements)
        watched = [keys.alias(name) for name in settled.person.claims()] + meanwhile.watched(before, settled)
        nonce = uuid4().hex
        for tries in range(SETTLE_TRIES_MAX):
            with self.redis.pipeline() as pipe:
                try:
                    pipe.watch(keys.lease(key), keys.mailbox(key), *watched)  # type: ignore[no-untyped-call]
                    if tries and pipe.get(keys.settled(key)) == nonce.encode():
                        # It was done, and Redis died before it said so.
                        return True
                    self.check_lease(pipe, key, token)
                    refs: Any = pipe.lrange(keys.mailbox(key), 0, -1)
                    now = meanwhile.look(pipe, before, settled)
                    more = self._unread(refs, read, progress=progress) or bool(now.revived) or now.ruled
                    names, kin = self.names_won(pipe, settled.person)
                    pipe.multi()
                    for target, account_id in settled.forgotten:
                        pipe.hdel(keys.owners(target), account_id)
                    self.write_person(pipe, settled.person, names, [before])
                    self._write(pipe, now.settled)
                    for kept in now.revived:
                        write_revived(pipe, kept, settled.person)
                    for each in kin if settled.links else ():
                        offer(pipe, self.queues[PEOPLE], CONVERGE, each, PEOPLE)
                    if more:
                        pipe.set(keys.settled(key), nonce, ex=keys.SETTLED_TTL_SECONDS)
                    else:
                        self.leases.free_in(pipe, key)
                    pipe.execute()
                except WatchError:
                    continue
                return more
        raise LeaseLost("the mailbox never stood still", reason="lease_lost")

    def _unread(self, refs: Sequence[bytes], read: set[str], *, progress: bool) -> bool:
        """Tell whether another read would bring something new; what lies beyond one waits until some is settled."""
        unread = [ref for ref in refs if ref.decode() not in read]
        if len(refs) <= MAILBOX_READ_MAX:
            return bool(unread)
        return progress or any(rank == 0 for rank, _ in self._urgency(unread).values())

    def check_lease(self, pipe: Pipeline, key: str, token: str) -> None:
        """Raise LeaseLost unless this is the lease's token, as a part of a step that watches it."""
        holder: Any = pipe.get(keys.lease(key))
        if holder is None or holder.decode() != token:
            raise LeaseLost("another job works on this person", reason="lease_lost")

    def names_won(self, pipe: Pipeline, person: Person, *, beside: str | None = None) -> tuple[list[str], set[str]]:
        """Return the names that mean this person, for nobody else has a better claim, and who is to look for kin.

        Whoever loses a name to another may be the same human, of whom two sources speak. As a part of a step that
        watches the aliases; ``beside`` is the key of somebody who is no rival.
        """
        claims = person.claims()
        holders: Any = pipe.mget([keys.alias(name) for name in claims]) if claims else []
        won, losers = [], set()
        for (name, claim), holder in zip(claims.items(), holders, strict=True):
            is_rival = holder and holder.decode() not in {person.key, beside}
            rival = self.get(holder.decode()).claims().get(name) if is_rival else None
            if rival is None or claim > rival:
                won.append(name)
            if rival is not None:
                losers.add(holder.decode() if claim > rival else person.key)
        return won, losers

    def write_person(self, pipe: Pipeline, person: Person, names: Sequence[str], before: Iterable[Person] = ()) -> None:
        """Write what is known of a person, by which names it is found, whose its accounts are, and where it counts.

        ``before`` is what was known until now: of one, or of the two that this person is.
        """
        for each in before:
            for target in each.known_in():
                pipe.srem(keys.known(target), each.key)
        for target in person.known_in():
            pipe.sadd(keys.known(target), person.key)
        pipe.set(keys.person(person.key), person.model_dump_json())
        for name in names:
            pipe.set(keys.alias(name), person.key)
        for target, account in person.accounts.items():
            pipe.hset(keys.owners(target), account.id, person.key)

    def _write(self, pipe: Pipeline, settled: Settled) -> None:
        person = settled.person
        for settlement in settled.settlements:
            write_event(pipe, settlement)
        keep(pipe, settled.made, self._writer)
        for signal in settled.signals:
            outbox.keep(pipe, signal)
        for lane, at in settled.again:
            offer(pipe, self.queues[lane], CONVERGE, person.key, lane, at=at)
        for parked in settled.parked:
            _park(pipe, person.key, parked)
        for target in settled.unparked:
            _leave_line(pipe, person.key, target)
        _count(pipe, settled)


def _count(pipe: Pipeline, settled: Settled) -> None:
    """Count what the attempt did on the fleet's counters."""
    for target, method, status in settled.requests:
        metrics.count(pipe, "gatepost_scim_requests", target, method, status)
    for target, seconds in settled.revoked:
        metrics.observe(pipe, "gatepost_time_to_revoke_seconds", target, seconds=seconds)


def _park(pipe: Pipeline, key: str, parked: Parked) -> None:
    """Put a person in line, in the step that frees the lease: the job that lets it in never meets our own lease."""
    pipe.zadd(keys.waiting(parked.target), {key: parked.score}, lt=True)
    pipe.hset(keys.needs(parked.target), key, f"{parked.need}:{int(time.time() * 1000)}")


def _leave_line(pipe: Pipeline, key: str, target: str) -> None:
    """Take a person out of the line before a target."""
    pipe.zrem(keys.waiting(target), key)
    pipe.hdel(keys.needs(target), key)
