"""Holds: what is kept from happening until a human rules of it, by the name of the event that is held.

What a safety limit holds can be released, which overrules the limit, and the event is planned again against the
present. What could be about somebody else can only be tried again. Either can be dropped: the event is ignored then.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from redis import Redis
from redis.exceptions import WatchError

from lifecycle import keys
from lifecycle.errors import Malformed, Unavailable, Unknown
from lifecycle.event import STUCK_STATES, State
from lifecycle.pages import PAGE_DEFAULT, Page, moment, page
from lifecycle.person import Hold, Person
from lifecycle.queue import CONVERGE, LANE_OF_KIND, LEAVERS, lanes, offer
from lifecycle.safety import DELETIONS, GROUP_REMOVALS, REASONS
from lifecycle.safety import LEAVERS as LEAVERS_LIMIT
from lifecycle.settlement import DROPPED, KEPT_FIELDS, RELEASED, Kept, Ruling, Step, box_of, is_limited, kept_of, move
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
            pipe.watch(keys.event(ref))  # type: ignore[no-untyped-call]
            fields: Any = pipe.hmget(keys.event(ref), *KEPT_FIELDS)
            kept = kept_of(fields)
            if pipe.zscore(keys.HOLDS, ref) is None:
                raise self._not_held(kept)
            if verdict == RELEASED and not any(map(is_limited, kept.deliveries.values())):
                self._retry(ref, actor)
                return TRIED_AGAIN
            pipe.multi()
            self._write(pipe, kept, Ruling(verdict, actor, iso(datetime.now(UTC))))
            pipe.execute()
        return verdict

    def _write(self, pipe: Any, kept: Kept, ruling: Ruling) -> None:  # noqa: ANN401 - redis-py's Pipeline
        """Write the ruling, with a job: an event that no worker reads any more goes back into the mailbox."""
        event, ref = kept.event, kept.event.ref
        pipe.hset(keys.event(ref), "ruling", json.dumps(ruling))
        pipe.zrem(keys.HOLDS, ref)
        pipe.rpush(keys.trace(ref), Step(datetime.now(UTC), STEPS[ruling.verdict], {"by": ruling.by}).to_json())
        if kept.state in STUCK_STATES:
            pipe.hset(keys.event(ref), mapping={"state": State.KEPT.value, "deaths": 0})
            move(pipe, event, kept.state, State.KEPT)
            pipe.rpush(box_of(event), ref)
        lane = _lane(kept)
        offer(pipe, self._queues[lane], CONVERGE, event.person, lane)

    def _not_held(self, kept: Kept) -> Malformed | Unknown:
        """Say why there is nothing to rule of."""
        ref = kept.event.ref
        first = next((hold.event for hold in self._person(kept.event.person).holds if ref in hold.others), None)
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


def _lane(kept: Kept) -> str:
    """Return the leavers' lane for whoever is to be locked out, whatever event said so."""
    stays = {REASONS[GROUP_REMOVALS]}
    reasons = {each.reason for each in kept.deliveries.values() if is_limited(each)}
    return LEAVERS if reasons - stays else LANE_OF_KIND[kept.event.kind]
