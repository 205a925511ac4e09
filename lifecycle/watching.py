"""How a source is watched besides being heard: what is asked of it, up to where, and since when we are blind.

The watcher in ``workers`` writes it; checks and metrics read it. A source is watched by tasks: its directory is polled
for what no notice told, its subscriptions and its stream are kept alive. Moments are seconds since the epoch.
"""

import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict
from redis import Redis

from lifecycle import keys
from lifecycle.hearing import heard

POLL, SUBSCRIPTIONS, STREAM = "poll", "subscriptions", "stream"
TASKS = (POLL, SUBSCRIPTIONS, STREAM)
SINCE = "since"

# Whoever asks may wait for a rate limit or die; after so many times without anybody, nobody asks.
OVERDUE_TIMES, OVERDUE_SECONDS_MIN = 3, 180.0


class Watch(BaseModel):
    """How one task stands."""

    # Another release may know more of it.
    model_config = ConfigDict(frozen=True, extra="ignore")

    begun_at: float
    every_seconds: float
    """How often it is done."""
    position: str = ""
    """Up to where it is done, in the words of whoever is asked; for a machine."""
    shown: str = ""
    """What it found last, for people."""
    done_at: float | None = None
    """When all that could be asked had been asked; what happened before it is known."""
    due_at: float = 0.0
    """When it is done next."""
    blind_since: float | None = None
    """Since when something may have happened that nobody knows; None while all is known."""
    fault: str | None = None
    """Why it cannot be done."""
    tries: int = 0
    """How often in a row it could not be done."""
    note: str | None = None
    """What somebody should know though it works."""

    def done(self, at: float, next_at: float) -> Self:
        """Return it done: all that happened before is known."""
        done = {"done_at": at, "due_at": next_at, "blind_since": None, "fault": None, "tries": 0}
        return self.model_copy(update=done)

    def failed(self, fault: str, next_at: float, *, blind: bool) -> Self:
        """Return it undone."""
        update = {"fault": fault, "tries": self.tries + 1, "due_at": next_at}
        return (self.blind() if blind else self).model_copy(update=update)

    def blind(self) -> Self:
        """Return it with something unknown since it was done last."""
        return self.model_copy(update={"blind_since": self.blind_since or self.done_at or self.begun_at})

    def is_overdue(self, now: float) -> bool:
        """Tell whether nobody does it any more."""
        return now > self.due_at + max(OVERDUE_TIMES * self.every_seconds, OVERDUE_SECONDS_MIN)

    def unseen_since(self, now: float) -> float | None:
        """Return since when something may be unknown, whoever knows it; None while all is known."""
        return self.blind().blind_since if self.is_overdue(now) else self.blind_since


class Watched(NamedTuple):
    """All that is known of how one source is watched."""

    since: float | None
    """Since when the source is known to us."""
    heard_at: float | None
    """When its last authentic notice came."""
    tasks: Mapping[str, Watch]

    def silent_seconds(self, now: float) -> float:
        """Return how long nothing was heard of it."""
        return max(now - (self.heard_at or self.since or now), 0.0)

    def blind_seconds(self, now: float) -> float:
        """Return how long something may have happened unseen."""
        since = [found for task in self.tasks.values() if (found := task.unseen_since(now)) is not None]
        return max(now - min(since), 0.0) if since else 0.0


def name_sources(redis: Redis, names: Collection[str]) -> None:
    """Say which sources there are, for the metrics, and since when."""
    known: Any = redis.smembers(keys.SOURCES)
    gone = {each.decode() for each in known} - set(names)
    with redis.pipeline() as pipe:
        for name in names:
            pipe.hsetnx(keys.watch(name), SINCE, str(time.time()))
            pipe.sadd(keys.SOURCES, name)
        for name in gone:
            pipe.srem(keys.SOURCES, name)
        pipe.execute()


def watched(redis: Redis, source: str) -> Watched:
    """Return how a source is watched."""
    found: Any = redis.hgetall(keys.watch(source))
    fields = {name.decode(): value for name, value in found.items()}
    tasks = {name: Watch.model_validate_json(fields[name]) for name in TASKS if name in fields}
    at = heard(redis, source).at
    since = fields.get(SINCE)
    return Watched(float(since) if since else None, at.timestamp() if at else None, tasks)


def watch_of(redis: Redis, source: str, task: str) -> Watch | None:
    """Return how one task of a source stands; None where it was never begun."""
    found: Any = redis.hget(keys.watch(source), task)
    return Watch.model_validate_json(found) if found else None


def all_watched(redis: Redis) -> Iterator[tuple[str, Watched]]:
    """Yield every source by its name."""
    names: Any = redis.smembers(keys.SOURCES)
    for name in sorted(each.decode() for each in names):
        yield name, watched(redis, name)
