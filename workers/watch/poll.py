"""The poll: a directory is asked what changed, and whatever no notice told is kept as an event to be looked up.

An event that the poll and a notice both tell bears one id and is one event. All are re-read in the directory before
anything is done, so what is told twice, late or out of order does no harm.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from redis import Redis

from lifecycle import keys, metrics
from lifecycle.errors import Postponed
from lifecycle.event import EVENTS_MAX, Event, Kind, Profile
from lifecycle.queue import LOOKUPS, PUT, JobWriter, put_arguments
from lifecycle.watching import POLL, Watch
from workers.directories.base import NAMES
from workers.directories.changes import Change, Changes, TellsChanges
from workers.watch.base import Turn, next_at

# Of one turn; what is left comes with the next.
STEPS_MAX = 50
# Where it could not be asked from the beginning on it is asked from then, which no directory does for longer.
FIRST_SECONDS_MAX = 80 * 86_400.0
# A place that the directory named just now and does not take will not be taken at once either.
LOSSES_MAX = 1
# While so many jobs wait to be looked up, a catch-up with everybody waits too.
BACKLOG_MAX, BACKLOG_SECONDS = 1_000, 5.0
SHOWN_CHARS = 12

log = structlog.get_logger()


class Poll:
    """Asks one directory for one source."""

    name = POLL

    def __init__(self, redis: Redis, source: str, directory: TellsChanges, every: timedelta) -> None:
        """Keep whom to ask, and how often."""
        self._redis = redis
        self._source = source
        self._directory = directory
        self.every = every
        self._writer = JobWriter()

    def is_called(self) -> bool:
        """Wait for the interval alone."""
        return False

    def is_blind(self, watch: Watch, now: float) -> bool:  # noqa: ARG002 - as in Task
        """Tell that nobody knows what a notice did not tell."""
        return True

    def run(self, watch: Watch, turn: Turn) -> Watch:
        """Ask until nothing is left, or for as long as a turn may last."""
        losses = 0
        for _ in range(STEPS_MAX):
            turn.lease.renew()
            now = turn.clock()
            found = self._directory.changes(watch.position or None, _moment(watch, now))
            self._put(found.found, now)
            watch = self._after(watch, found, now)
            turn.keep(watch)
            losses += found.lost is not None
            if losses > LOSSES_MAX:
                raise Postponed("the directory does not take the places that it names", reason="position")
            if not found.more:
                return _done(watch, found, now, next_at(now, self.every))
            if turn.lease.is_long or self._is_behind():
                break
        return watch.model_copy(update={"due_at": turn.clock() + (BACKLOG_SECONDS if self._is_behind() else 0)})

    def _is_behind(self) -> bool:
        return self._redis.llen(f"rq:queue:{LOOKUPS}") > BACKLOG_MAX

    def _is_known(self, person: str) -> bool:
        """Tell whether anything was ever heard of somebody."""
        names = (keys.person(person), keys.link(person), keys.mailbox(person), keys.unread(person))
        return bool(self._redis.exists(*names))

    def _put(self, changes: Sequence[Change], now: float) -> None:
        """Keep what was found, before the position goes on."""
        received_at = datetime.fromtimestamp(now, UTC)
        told = [(change, _event(self._source, change, received_at)) for change in changes]
        events = [event for change, event in told if not change.gone or self._is_known(event.person)]
        new = 0
        for start in range(0, len(events), EVENTS_MAX):
            part = events[start : start + EVENTS_MAX]
            answers: Any = self._redis.eval(PUT, 0, *put_arguments(part, self._writer))
            new += sum(answers)
        if events:
            with self._redis.pipeline() as pipe:
                metrics.count(pipe, "gatepost_polled", self._source, "new", by=new)
                metrics.count(pipe, "gatepost_polled", self._source, "known", by=len(events) - new)
                pipe.execute()
            log.info("poll.found", source=self._source, events=len(events), new=new)

    def _after(self, watch: Watch, found: Changes, now: float) -> Watch:
        """Return how the poll stands after a step."""
        if found.lost:
            log.warning("poll.position_lost", source=self._source, reason=found.lost)
            watch = watch.blind()
        if found.missed:
            log.error("poll.missed", source=self._source, reason=found.missed)
            watch = watch.miss(found.missed, now)
        shown = f"...{found.position[-SHOWN_CHARS:]}"
        note = found.lost or found.note or (watch.note if found.more else None)
        return watch.model_copy(update={"position": found.position, "shown": shown, "note": note})


def _event(source: str, change: Change, now: datetime) -> Event:
    """Return a change as an event, to be looked up."""
    profile = Profile(**{name: value for name in NAMES if (value := getattr(change.subject, name))})
    return Event(
        id=change.id,
        source=source,
        kind=Kind.CHANGED,
        person=profile.key() or "",
        profile=profile,
        # A clock that is ahead must not outrank what is known from others.
        occurred_at=min(change.at, now),
        received_at=now,
        vendor_kind=change.word,
        hint=change.hint,
    )


def _moment(watch: Watch, now: float) -> datetime:
    """Return as of when a step is made: the first one as of when the watch began, for nobody asked since."""
    first = max(min(watch.begun_at, now), now - FIRST_SECONDS_MAX)
    return datetime.fromtimestamp(now if watch.position else first, UTC)


def _done(watch: Watch, found: Changes, now: float, due_at: float) -> Watch:
    """Return the poll done; as blind as before where a part of what happened meanwhile was refused."""
    done = watch.done(now, due_at)
    return done.model_copy(update={"blind_since": watch.blind().blind_since}) if found.partial else done
