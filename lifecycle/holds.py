"""Holds: what is kept from happening until a human rules of it, by the name of the event that is held.

What a safety limit holds can be released, which overrules the limit, and the event is planned again against the
present, with all that was held with it. What could be about somebody else can only be tried again. Either can be
dropped: the event is ignored then, and so is each that was held with it and says the same.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from redis import Redis
from redis.exceptions import WatchError

from lifecycle import keys
from lifecycle.errors import Malformed, Unavailable, Unknown
from lifecycle.event import STUCK_STATES, Event, Kind, State
from lifecycle.pages import PAGE_DEFAULT, Page, moment, page
from lifecycle.person import Hold, Person
from lifecycle.queue import CONVERGE, LANE_OF_KIND, LEAVERS, lanes, offer
from lifecycle.safety import DELETIONS, GROUP_REMOVALS, REASONS
from lifecycle.safety import LEAVERS as LEAVERS_LIMIT
from lifecycle.settlement import (
    DROPPED,
    KEPT_FIELDS,
    RELEASED,
    Kept,
    Ruling,
    Step,
    box_of,
    is_limited,
    kept_of,
    limit_of,
    move,
)
from lifecycle.signal import iso

RULE_TRIES_MAX = 10
TRIED_AGAIN = "tried_again"
STEPS = {RELEASED: "release", DROPPED: "drop"}
CHANGES = {LEAVERS_LIMIT: "suspend", DELETIONS: "delete", GROUP_REMOVALS: "remove"}
"""What a hold keeps from happening, by its limit."""

Found = dict[str, Any]


class Holds:
    """The holds in Redis; events and persons are read, and tried again, by the records that this belongs to."""

    def __init__(
        self,
        redis: Redis,
        event: Callable[[str], Found | None],
        person: Callable[[str], Person],
        retry: Callable[[str, str], None],
    ) -> None:
        """Keep the connection, the reads, and what offers an event again without a ruling."""
        self._redis = redis
        self._queues = lanes(redis)
        self._event = event
        self._person = person
        self._retry = retry

    def list(self, *, after: str | None = None, limit: int = PAGE_DEFAULT) -> Page:
        """List what waits for a ruling, newest first."""
        refs, cursor = page(self._redis, keys.HOLDS, after, limit, lambda _: True)
        return Page([item for ref in refs if (item := self._item(ref))], cursor)

    def _item(self, ref: str) -> Found | None:
        event, since = self._event(ref), self._redis.zscore(keys.HOLDS, ref)
        if event is None or since is None:
            return None
        wanted = ("source", "kind", "state", "person", "reason", "detail", "received_at")
        holds = [hold for hold in self._person(event["person"]).holds if hold.event == ref]
        return {
            "id": ref,
            "event": event["id"],
            **{name: event[name] for name in wanted},
            "since": moment(since / 1000),
            "holds": [shown(hold) for hold in holds],
        }

    def rule(self, ref: str, verdict: str, *, actor: str) -> str:
        """Release or drop a held event and offer its person; return what came of it.

        That is the verdict, or TRIED_AGAIN for a release of what no safety limit holds. Raises Unknown or Malformed.
        """
        for _ in range(RULE_TRIES_MAX):
            with suppress(WatchError):  # somebody else ruled of it, or an attempt ended: that is seen now
                return self._rule(ref, verdict, actor)
        raise Unavailable(f"{ref} is worked on at this moment", reason="busy")

    def _rule(self, ref: str, verdict: str, actor: str) -> str:
        with self._redis.pipeline() as pipe:
            kept, person = self._watched(pipe, ref)
            if pipe.zscore(keys.HOLDS, ref) is None:
                raise self._not_held(kept, person)
            if verdict == RELEASED and not any(map(is_limited, kept.deliveries.values())):
                self._retry(ref, actor)
                return TRIED_AGAIN
            ruled = [kept, *_held_with(pipe, kept, person, verdict)]
            pipe.multi()
            self._write(pipe, ruled, person.key, Ruling(verdict, actor, iso(datetime.now(UTC))))
            pipe.execute()
        return verdict

    def _watched(self, pipe: Any, ref: str) -> tuple[Kept, Person]:  # noqa: ANN401 - redis-py's Pipeline
        """Return an event and its person as they are from here to the end of the step."""
        pipe.watch(keys.event(ref))
        kept = kept_of(pipe.hmget(keys.event(ref), *KEPT_FIELDS))
        key = self._person(kept.event.person).key
        pipe.watch(keys.person(key))
        return kept, self._person(key)

    def _write(self, pipe: Any, ruled: Sequence[Kept], key: str, ruling: Ruling) -> None:  # noqa: ANN401 - redis-py's Pipeline
        """Write the ruling of what was named, which comes first, and of what is ruled with it, with a job."""
        named = ruled[0]
        for each in ruled:
            with_what = {} if each is named else {"with": named.event.ref}
            detail = {"by": ruling.by} | with_what
            _write(pipe, each, key, ruling._replace(limits=_limits(each)), detail)
        lane = LEAVERS if LEAVERS in map(_lane, ruled) else _lane(named)
        offer(pipe, self._queues[lane], CONVERGE, key, lane)

    @staticmethod
    def _not_held(kept: Kept, person: Person) -> Malformed | Unknown:
        """Say why there is nothing to rule of."""
        ref = kept.event.ref
        first = next((hold.event for hold in person.holds if ref in hold.others), None)
        if first is not None and kept.state is State.HELD:
            return Malformed(f"{ref} is held with {first}: rule of that one", reason="held_with_another")
        return Unknown(f"{ref} is not held: it is {kept.state.value}", reason="hold_unknown")


def shown(hold: Hold) -> Found:
    """Return a hold as people read it."""
    return {
        "target": hold.target,
        "limit": hold.limit,
        "scope": hold.scope,
        "change": CHANGES[hold.limit],
        "names": list(hold.names),
        "event": hold.event,
        "others": list(hold.others),
        "since": iso(hold.since),
        "detail": hold.detail,
    }


def _held_with(pipe: Any, kept: Kept, person: Person, verdict: str) -> list[Kept]:  # noqa: ANN401 - redis-py's Pipeline
    """Return what is ruled with an event, and watch it.

    A release is of the hold and so of all that is held with it. A drop takes back what the event said, and so whatever
    else said the same: that somebody left.
    """
    refs = sorted({ref for hold in person.holds if hold.event == kept.event.ref for ref in hold.others})
    if not refs:
        return []
    pipe.watch(*map(keys.event, refs))
    found = [pipe.hmget(keys.event(ref), *KEPT_FIELDS) for ref in refs]
    others = [each for each in map(kept_of, filter(itemgetter(0), found)) if _limits(each)]
    if verdict == RELEASED:
        return others
    return [each for each in others if _is_leave(kept.event) and _is_leave(each.event)]


def _is_leave(event: Event) -> bool:
    return event.kind is Kind.LEAVER and event.about is None


def _limits(kept: Kept) -> list[list[str]]:
    """Return target and limit of what is held of an event, and of what was released before."""
    before = kept.ruling.limits if kept.ruling else ()
    found = {(name, limit) for name, each in kept.deliveries.items() if (limit := limit_of(each))}
    return sorted(map(list, found | {(target, limit) for target, limit in before}))


def _write(pipe: Any, kept: Kept, key: str, ruling: Ruling, detail: dict[str, str]) -> None:  # noqa: ANN401 - redis-py's Pipeline
    """Write the ruling; an event that no worker reads any more goes back into the mailbox."""
    event, ref = kept.event.model_copy(update={"person": key}), kept.event.ref
    pipe.hset(keys.event(ref), "ruling", json.dumps(ruling))
    pipe.zrem(keys.HOLDS, ref)
    pipe.rpush(keys.trace(ref), Step(datetime.now(UTC), STEPS[ruling.verdict], detail).to_json())
    if kept.state in STUCK_STATES:
        pipe.hset(keys.event(ref), mapping={"person": key, "state": State.KEPT.value, "deaths": 0})
        move(pipe, event, kept.state, State.KEPT)
        pipe.rpush(box_of(event), ref)


def _lane(kept: Kept) -> str:
    """Return the leavers' lane for whoever is to be locked out, whatever event said so."""
    stays = {REASONS[GROUP_REMOVALS]}
    reasons = {each.reason for each in kept.deliveries.values() if is_limited(each)}
    return LEAVERS if reasons - stays else LANE_OF_KIND[kept.event.kind]
