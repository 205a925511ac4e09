"""Replay: deliveries to one subscriber begin anew, with all attempts before them, oldest first."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import structlog
from redis import Redis

from lifecycle import keys, outbox
from lifecycle.config import Config
from lifecycle.errors import Conflict, Unknown
from lifecycle.forgetting import forget
from lifecycle.outbox import Enlisted, Way
from lifecycle.roster import roster
from lifecycle.signal import Told
from lifecycle.subscriber import STANDARD_WEBHOOKS, Subscriber, is_for, ways_of
from lifecycle.subscribers import DELETED

PAGE = 500
SIGNALS_MAX = 100_000
"""Signals, or failed items, that one replay looks at; the next goes on where it ended."""

log = structlog.get_logger()


class Replayed(NamedTuple):
    """What a replay came to."""

    enlisted: int
    """Deliveries that wait now and did not before."""
    next: datetime | None
    """Since when the next replay is to go on; None where nothing is left, or nothing that has a moment."""
    is_full: bool = False
    """Whether it ended since so much waits for the subscriber already: what has its room is kept for what happens."""


class Replay:
    """Replays to one subscriber, as it subscribes now."""

    def __init__(self, redis: Redis, config: Config, name: str) -> None:
        """Find the subscriber. Raises Unknown, or Conflict where nothing that is kept would wait for it."""
        self._redis, self._config, self._name = redis, config, name
        self._subscriber = self._found()
        disabled = redis.hexists(keys.subscriber(name), "disabled_at")
        if self._subscriber.format != STANDARD_WEBHOOKS and disabled:
            raise Conflict(f"{name!r} is disabled: enable it first", reason="subscriber_disabled")

    def _found(self) -> Subscriber:
        found = roster(self._redis, self._config).everybody.get(self._name)
        if found is None:
            raise Unknown(f"no subscriber {self._name!r}", reason="subscriber_unknown")
        return found

    def since(self, moment: datetime, *, actor: str) -> Replayed:
        """Enlist every signal since then that the subscriber wants."""
        enlisted, looked_at = 0, 0
        # What comes in meanwhile is new, and no part of a replay.
        for page in outbox.since(self._redis, moment, datetime.now(UTC)):
            if looked_at >= SIGNALS_MAX and page:
                return self._done(Replayed(enlisted, _just_before(page[0])), actor)
            looked_at += len(page)
            pairs = [(signal, way) for signal in page for way in self._wanted_ways(signal)]
            found = self._enlist([way for _, way in pairs])
            enlisted += found.number
            if found.looked_at < len(pairs):
                following = _just_before(pairs[found.looked_at][0])
                return self._done(Replayed(enlisted, following, is_full=True), actor)
        return self._done(Replayed(enlisted, None), actor)

    def all_since(self, moment: datetime, *, actor: str) -> Replayed:
        """Do the same until nothing is left or there is no room, for whoever has the time."""
        enlisted, following = 0, moment
        while True:
            found = self.since(following, actor=actor)
            enlisted += found.enlisted
            if found.next is None or found.is_full:
                return found._replace(enlisted=enlisted)
            following = found.next

    def one(self, signal_id: str, *, actor: str) -> Replayed:
        """Enlist one signal, whatever the subscriber's filters say, but not of a subject that its receiver removed.

        Raises Unknown where it is none, or another's.
        """
        signal = outbox.told(self._redis, signal_id)
        if signal is None or not is_for(self._name, signal):
            raise Unknown(f"no signal {signal_id!r} for {self._name!r}", reason="signal_unknown")
        ways = self._ways(signal) if self._subscriber.may_hear(signal) else []
        found = self._enlist(ways)
        return self._done(Replayed(found.number, None, found.looked_at < len(ways)), actor)

    def failed(self, *, actor: str) -> Replayed:
        """Enlist everything that the subscriber never took."""
        enlisted, items = 0, outbox.failed(self._redis, self._name, SIGNALS_MAX)
        for start in range(0, len(items), PAGE):
            ways = self._ways_of(items[start : start + PAGE])
            found = self._enlist(ways)
            enlisted += found.number
            if found.looked_at < len(ways):
                return self._done(Replayed(enlisted, None, is_full=True), actor)
        return self._done(Replayed(enlisted, None), actor)

    def _wanted_ways(self, signal: Told) -> list[Way]:
        # What was for one subscriber alone, a test or a change of its stream, was of that moment.
        return [] if signal.only else ways_of(self._name, self._subscriber, signal)

    def _ways(self, signal: Told) -> list[Way]:
        return self._subscriber.ways(self._name, signal)

    def _ways_of(self, items: list[str]) -> list[Way]:
        """Return the ways of items whose signals are still kept; the others are forgotten."""
        ways = []
        signals = outbox.told_all(self._redis, map(outbox.signal_of, items))
        for item, signal in zip(items, signals, strict=True):
            if signal is None:
                outbox.forget_failed(self._redis, self._name, [item])
            elif self._subscriber.may_hear(signal):
                ways.append(self._subscriber.way(self._name, item, outbox.line_of(signal, item)))
        return ways

    def _enlist(self, ways: list[Way]) -> Enlisted:
        return outbox.enlist_again(self._redis, ways)

    def _done(self, replayed: Replayed, actor: str) -> Replayed:
        """Tell of it; whoever was deleted meanwhile leaves nothing behind for one of the same name."""
        try:
            self._found()
        except Unknown:
            forget(self._redis, self._name, DELETED)
            raise
        log.info(
            "subscriber.replayed",
            subscriber=self._name,
            by=actor,
            enlisted=replayed.enlisted,
            is_full=replayed.is_full,
        )
        return replayed


def _just_before(signal: Told) -> datetime:
    return signal.made_at - timedelta(microseconds=1)
