"""How a source is watched besides being heard: what is asked of it, up to where, and since when we are blind.

The watcher in ``workers`` writes it; checks and metrics read it. A source is watched by tasks: its directory is polled
for what no notice told, its subscriptions and its stream are kept alive. Moments are seconds since the epoch.
"""

import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple, Self

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError
from redis import Redis

from lifecycle import keys
from lifecycle.hearing import heard

POLL, SUBSCRIPTIONS, STREAM = "poll", "subscriptions", "stream"
TASKS = (POLL, SUBSCRIPTIONS, STREAM)
SINCE, CONFIGURED = "since", "tasks"

# Whoever asks may wait for a rate limit or die; after so many times without anybody, nobody asks.
OVERDUE_TIMES, OVERDUE_SECONDS_MIN = 3, 180.0
# What the other side asks to wait for is obeyed up to this.
NAMED_SECONDS_MAX = 3_600.0
# The clocks of two processes may differ by so much; what is later than that is no time of anything.
AHEAD_SECONDS_MAX = 60.0
# How long it is told that something was missed for good: nothing that comes later makes it known.
MISSED_SECONDS = 7 * 86_400.0

log = structlog.get_logger()
_told: set[tuple[str, str]] = set()


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
    missed: str | None = None
    """What happened, or may have, and can be asked for no more."""
    missed_at: float = 0.0
    """When that was found."""

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

    def miss(self, what: str, at: float) -> Self:
        """Return it with something that nobody can make known any more, whatever goes well after it."""
        return self.model_copy(update={"missed": what, "missed_at": at})

    def missed_lately(self, now: float) -> str | None:
        """Return what was missed for good, as long as that is to be told."""
        return self.missed if now - self.missed_at < MISSED_SECONDS else None

    @property
    def is_partial(self) -> bool:
        """Tell whether it is done but for a part of a gap, which could not be asked for."""
        return self.blind_since is not None and (self.done_at or 0.0) > self.blind_since

    def is_ahead(self, now: float) -> bool:
        """Tell whether a clock that was ahead wrote it, so that it says nothing of when it was done, or is to be."""
        due_at_most = now + max(self.every_seconds, NAMED_SECONDS_MAX) + AHEAD_SECONDS_MAX
        return max(self.begun_at, self.done_at or 0.0) > now + AHEAD_SECONDS_MAX or self.due_at > due_at_most

    def as_of(self, now: float) -> Self:
        """Return it without moments that are yet to come."""
        past: dict[str, float | None] = {name: min(getattr(self, name), now) for name in ("begun_at", "missed_at")}
        for name in ("done_at", "blind_since"):
            found: float | None = getattr(self, name)
            past[name] = None if found is None else min(found, now)
        return self.model_copy(update=past)

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


def name_sources(redis: Redis, tasks: Mapping[str, Collection[str]]) -> None:
    """Say which sources there are, for the metrics, and since when; a task that none has any more is forgotten.

    A process of before may write it once more, so it is also said which count.
    """
    known: Any = redis.smembers(keys.SOURCES)
    gone = {each.decode() for each in known} - set(tasks)
    with redis.pipeline() as pipe:
        for name, wanted in tasks.items():
            pipe.hsetnx(keys.watch(name), SINCE, str(time.time()))
            pipe.hset(keys.watch(name), CONFIGURED, " ".join(wanted))
            if left := [task for task in TASKS if task not in wanted]:
                pipe.hdel(keys.watch(name), *left)
            pipe.sadd(keys.SOURCES, name)
        for name in gone:
            pipe.srem(keys.SOURCES, name)
        pipe.execute()


def watched(redis: Redis, source: str) -> Watched:
    """Return how a source is watched."""
    found: Any = redis.hgetall(keys.watch(source))
    fields = {name.decode(): value for name, value in found.items()}
    wanted = fields[CONFIGURED].decode().split() if CONFIGURED in fields else TASKS
    tasks = {name: watch for name in wanted if (watch := _read(source, name, fields.get(name)))}
    at = heard(redis, source).at
    since = fields.get(SINCE)
    return Watched(float(since) if since else None, at.timestamp() if at else None, tasks)


def watch_of(redis: Redis, source: str, task: str) -> Watch | None:
    """Return how one task of a source stands; None where it was never begun, or cannot be read."""
    found: Any = redis.hget(keys.watch(source), task)
    return _read(source, task, found)


def _read(source: str, task: str, found: bytes | None) -> Watch | None:
    """Return what was written; None for nothing, and, told once, for what is unreadable: it stops nothing else."""
    if not found:
        return None
    try:
        return Watch.model_validate_json(found)
    except ValidationError:
        if (source, task) not in _told:
            _told.add((source, task))
            log.error("watch.unreadable", source=source, task=task)  # noqa: TRY400 - its text may hold anything
        return None


def all_watched(redis: Redis) -> Iterator[tuple[str, Watched]]:
    """Yield every source by its name."""
    names: Any = redis.smembers(keys.SOURCES)
    for name in sorted(each.decode() for each in names):
        yield name, watched(redis, name)
