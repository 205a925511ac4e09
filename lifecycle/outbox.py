"""The outbox: what is to be told, and who has still to hear it.

A signal is kept in the step that settles its event, whoever subscribes: to that step one signal is one entry. The
workers fan it out to one delivery a subscriber. The deliveries of one person to one subscriber stand in a line, of
which only the first is on its way; whatever becomes of one subscriber, the lines of the others go on.

A subscriber that takes several messages for one signal, as Security Event Tokens are, has several items of it:
``sig_...``, or ``sig_...~name``.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from redis import Redis
from redis.client import Pipeline

from lifecycle import keys
from lifecycle.outbox_scripts import END_ALL, ENLIST_AGAIN, KEEP, POLLED
from lifecycle.signal import Signal, Told

ITEM_PARTS = "~"
WAITING, DELIVERED, FAILED, DROPPED = "waiting", "delivered", "failed", "dropped"
BATCH_MAX = 500
DELIVERIES = ("deliveries", "replayed")
"""Where a signal has the names of its deliveries: those that it was fanned out to, and whoever asked for it since."""


class Way(NamedTuple):
    """One item's way to one subscriber."""

    item: str
    subscriber: str
    line: str
    polled: bool = False
    """Whether the subscriber comes for it."""
    drops: bool = False
    """Whether nothing is kept for the subscriber while it is disabled."""

    def arguments(self) -> list[Any]:
        """Return what the scripts take."""
        return [self.item, self.subscriber, self.line, int(self.polled) + 2 * int(self.drops)]


class Enlisted(NamedTuple):
    """What came of deliveries that were to begin anew."""

    number: int
    """Those that wait now and did not before."""
    looked_at: int
    """How many there was room for, from the first on, whether or not they waited already."""


def keep(pipe: Pipeline, signal: Signal) -> None:
    """Keep a signal and let it be fanned out, in the caller's atomic step; the first with its id counts."""
    pipe.eval(KEEP, 0, *keep_arguments(signal, time.time()))


def keep_arguments(signal: Signal, now: float) -> list[Any]:
    """Return what the script takes that keeps a signal; ``now`` is in seconds."""
    fields = signal._asdict()
    first = [fields.pop("id"), repr(now), fields.pop("body")]
    return first + [part for pair in fields.items() for part in pair]


def told(redis: Redis, signal_id: str) -> Told | None:
    """Return a signal as it is kept; None for one that is not, or no longer."""
    found: Any = redis.hgetall(keys.signal(signal_id))
    return Told.of(found) if found else None


def told_all(redis: Redis, signal_ids: Iterable[str]) -> list[Told | None]:
    """Return many signals at once, None for each that is not kept."""
    with redis.pipeline(transaction=False) as pipe:
        for signal_id in signal_ids:
            pipe.hgetall(keys.signal(signal_id))
        return [Told.of(found) if found else None for found in pipe.execute()]


def signal_of(item: str) -> str:
    """Return the id of the signal that an item is of."""
    return item.partition(ITEM_PARTS)[0]


def line_of(signal: Told, item: str) -> str:
    """Return the line in which an item waits: its person's, or one of its own."""
    return signal.person or item


def enlist_again(redis: Redis, ways: Iterable[Way]) -> Enlisted:
    """Let deliveries to a subscriber begin anew, or for the first time, as far as there is room."""
    todo = list(ways)
    number = 0
    for start in range(0, len(todo), BATCH_MAX):
        batch = todo[start : start + BATCH_MAX]
        found: Any = redis.eval(ENLIST_AGAIN, 0, *(part for way in batch for part in way.arguments()))
        number += int(found[0])
        if int(found[1]) < len(batch):
            return Enlisted(number, start + int(found[1]))
    return Enlisted(number, len(todo))


def drop_all(redis: Redis, subscriber: str, reason: str) -> int:
    """End everything that waits for a subscriber; return how many deliveries did."""
    count = 0
    while True:
        found: Any = redis.eval(END_ALL, 0, subscriber, DROPPED, reason, BATCH_MAX)
        count += int(found)
        if int(found) < BATCH_MAX:
            return count


def failed(redis: Redis, subscriber: str, number_max: int) -> list[str]:
    """Return the items that a subscriber never took, oldest first."""
    found: Any = redis.zrange(keys.failed(subscriber), 0, number_max - 1)
    return [item.decode() for item in found]


def forget_failed(redis: Redis, subscriber: str, items: Sequence[str]) -> None:
    """Let nobody see any more that a subscriber never took these items."""
    with redis.pipeline() as pipe:
        pipe.zrem(keys.FAILURES, *(f"signal:{item}:{subscriber}" for item in items))
        pipe.zrem(keys.failed(subscriber), *items)
        pipe.execute()


def since(redis: Redis, moment: datetime, until: datetime) -> Iterator[list[Told]]:
    """Walk the signals that were made in a time, oldest first, a bounded page at a time."""
    lowest, seen = moment.timestamp(), 0
    while True:
        found: Any = redis.zrange(
            keys.SIGNALS, lowest, until.timestamp(), byscore=True, offset=seen, num=BATCH_MAX, withscores=True
        )
        if not found:
            return
        yield [signal for signal in told_all(redis, [name.decode() for name, _ in found]) if signal]
        # From the last moment on again: some of the same moment may be left.
        last = found[-1][1]
        same = sum(score == last for _, score in found)
        lowest, seen = (last, seen + same) if last == lowest else (last, same)


def polled(redis: Redis, subscriber: str, number_max: int) -> tuple[list[str], bool]:
    """Return the first items that wait for a subscriber to come for them, and whether there are more."""
    found: Any = redis.lrange(keys.polled(subscriber), 0, number_max)
    return [item.decode() for item in found[:number_max]], len(found) > number_max


def announced(redis: Redis, subscriber: str) -> list[str]:
    """Return the item that says how a stream stands, where it waits for its receiver to come for it."""
    found: Any = redis.hget(keys.subscriber(subscriber), "announced")
    item = found.decode() if found else ""
    return [item] if item and redis.hget(keys.delivery(item, subscriber), "state") == WAITING.encode() else []


def end_polled(redis: Redis, subscriber: str, results: Sequence[tuple[str, str, str]], *, seen: bool = False) -> int:
    """End what a subscriber came for: item, state, reason; return how many waited until now.

    ``seen`` are items that were just found waiting, and end whatever is still known of them.
    """
    arguments = [part for result in results for part in result]
    found: Any = redis.eval(POLLED, 0, subscriber, int(seen), *arguments)
    return int(found)


def deliveries_of(record: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return item and subscriber of each delivery of a signal; none while it is neither fanned out nor replayed."""
    pairs = [pair for field in DELIVERIES for pair in json.loads(record.get(field) or "[]")]
    return list(dict.fromkeys((item, name) for item, name in pairs))
