"""How each source is heard and watched, as the watcher notes it: since when it is silent, since when we are blind."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from redis import Redis

from lifecycle.check import Line
from lifecycle.config import Config, Source
from lifecycle.watching import Watch, watched
from workers.watch.base import Task
from workers.watch.sources import Watching

TELL = "see that the vendor still sends to its hook; what it did not send is not known here{polled}"
RUN = "run a worker of the lane lookups"
ACT = "mend that; what happened since then is asked for when it works"
CLOCKS = "set the clocks of all workers; it is asked for all the same"
GIVE = "give the permission; what happened since then is asked for when it is given"
MISSED = "look in the directory who left or changed then, and see that every target agrees; no poll will tell"
UNITS = ((86_400, "days"), (3_600, "hours"), (60, "minutes"))


def look_at(redis: Redis, config: Config, watching: Watching) -> Iterator[Line]:
    """Yield what is known of each source."""
    now = time.time()
    for name, section in config.sources.items():
        found = watched(redis, name)
        yield _silence(name, section, found.heard_at, found.since, now)
        for task in watching.tasks[name]:
            yield from _task(name, task, found.tasks.get(task.name), now)


def _silence(name: str, section: Source, heard_at: float | None, since: float | None, now: float) -> Line:
    """Tell when a source was heard last; silence is a fault where it was said after how long."""
    what = f"sources.{name} heard"
    last = heard_at or since
    if last is None:
        return Line(what, None, "never; the watch has not begun", RUN)
    limit = section.silent_after.total_seconds() if section.silent_after else 0
    text = f"{_ago(now - last)} ago" if heard_at else f"never, in {_ago(now - last)}"
    if limit and now - last > limit:
        polled = "" if section.poll is None or section.poll else ", for poll is off"
        return Line(what, False, f"{text}; silent_after is {_ago(limit)}", TELL.format(polled=polled))
    if heard_at is None:
        return Line(what, None, text, "let the vendor send a test, or wait for the first change")
    return Line(what, True, text)


def _task(name: str, task: Task, watch: Watch | None, now: float) -> Iterator[Line]:
    what = f"sources.{name} {task.name}"
    if watch is None:
        yield Line(what, None, "not begun", RUN)
        return
    if missed := watch.missed_lately(now):
        yield Line(f"{what} missed", None, f"found {_moment(watch.missed_at)}: {missed}", MISSED)
    if watch.is_ahead(now):
        at = _moment(max(watch.done_at or watch.begun_at, watch.due_at))
        yield Line(what, False, f"noted for {at}, which is too far ahead: a clock of ours is, or was, wrong", CLOCKS)
    else:
        yield _standing(what, task, watch, now)


def _standing(what: str, task: Task, watch: Watch, now: float) -> Line:
    unseen = watch.unseen_since(now)
    blind = f"blind since {_moment(unseen)}" if unseen is not None else "nothing unseen"
    if watch.fault:
        return Line(what, False, f"{blind}, {watch.tries} tries: {watch.fault}", ACT)
    if watch.is_overdue(now):
        return Line(what, False, f"{blind}: nobody asks any more", RUN)
    if watch.is_partial:
        return Line(what, False, f"{blind}: {watch.note or 'a part may not be read'}", GIVE)
    if unseen is not None:
        return Line(what, None, f"{blind}: {watch.note or 'catching up'}", "look again in a while")
    text = f"done {_ago(now - (watch.done_at or now))} ago, every {_ago(task.every.total_seconds())}"
    text += f", at {watch.shown}" if watch.shown else ""
    if watch.note:
        return Line(what, None, f"{text}: {watch.note}", "give the permission, if it is wanted")
    return Line(what, True, text)


def _ago(seconds: float) -> str:
    """Return a time in words."""
    for size, unit in UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%SZ}"
