"""Is anything lost that was acknowledged? Redis is killed under load, again and again, and started on what it left."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis

from bench.intake import gatepost, length
from bench.load import Load, Seen, Task
from bench.machine import Broken, Store
from bench.receivers import PATH
from lifecycle import keys
from lifecycle.queue import LANES

KILLS = 3
EVENTS_BETWEEN_KILLS = 800
AWAY_SECONDS = 0.2
LOAD_SECONDS = 6.0
LOOK_SECONDS, WAIT_SECONDS_MAX = 0.005, 10.0
CHUNK = 1_000
ALLOWED = {"202", "503"}


@dataclass(frozen=True)
class Survived:
    """What became of the events that were sent while Redis was killed."""

    kills: int
    acknowledged: int
    told_to_try_again: int
    lost: int
    without_job: int


def measure(folder: Path, connections: int) -> Survived:
    """Send, kill, start again; at the end count what is missing. Raises Broken for answers that are not in ALLOWED."""
    with Store(folder) as store, gatepost(folder, store.url) as port:
        load = Load(Task(port, PATH, "kept", connections, LOAD_SECONDS))
        for _ in range(KILLS):
            _kill_under_load(store, load)
        seen = load.finish()
        store.kill()
        store.start()
        with store.client() as redis:
            return _count(redis, seen)


def _kill_under_load(store: Store, load: Load) -> None:
    with store.client() as redis:
        enough = redis.zcard(keys.EVENTS) + EVENTS_BETWEEN_KILLS
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while redis.zcard(keys.EVENTS) < enough:
            if not load.is_running() or time.monotonic() > deadline:
                raise Broken("no load to kill Redis under")
            time.sleep(LOOK_SECONDS)
    store.kill()
    time.sleep(AWAY_SECONDS)
    store.start()


def _count(redis: Redis, seen: Seen) -> Survived:
    if not set(seen.statuses) <= ALLOWED:
        raise Broken(f"answers while Redis was killed: {seen.statuses}")
    found = 0
    for place in range(0, len(seen.acknowledged), CHUNK):
        names = [keys.event(f"hris:{name}") for name in seen.acknowledged[place : place + CHUNK]]
        present: Any = redis.exists(*names)
        found += present
    events: Any = redis.zcard(keys.EVENTS)
    return Survived(
        kills=KILLS + 1,
        acknowledged=len(seen.acknowledged),
        told_to_try_again=seen.statuses.get("503", 0),
        lost=len(seen.acknowledged) - found,
        without_job=events - sum(length(redis, lane) for lane in LANES),
    )
