"""``gatepost check``: configuration and Redis are looked at here, the rest by the programs themselves."""

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from gatepost import audience, rotation
from gatepost.processes import EXIT_MISCONFIGURED, python
from lifecycle.check import Line
from lifecycle.config import Config, load
from lifecycle.errors import Misconfigured
from lifecycle.queue import connect

# The workers' part asks each target for 40 s at the most, 16 targets at once, and ends with the request that it is in.
TARGETS_SECONDS_MAX, SOURCES_SECONDS_MAX = 180.0, 30.0
WORDS_MAX = 300
VERSION_MIN = (6, 2)
LEAST = ".".join(map(str, VERSION_MIN))

CORRECT = "correct the file"
# What keeps what was accepted; each with what is lost where it is set otherwise.
DURABLE = {
    "appendonly": ("yes", "what was accepted is gone after a crash"),
    "appendfsync": ("always", "the last second of what was accepted is gone after a crash"),
    "maxmemory-policy": ("noeviction", "what was accepted may be thrown away when memory runs out"),
}


def look(path: Path) -> Iterator[Line]:
    """Yield a line for each thing looked at; what needs another thing that fails is left out."""
    try:
        config = load(path)
        sources = _sources(path)
    except Misconfigured as error:
        yield from (Line("configuration", False, line, CORRECT) for line in error.lines)
        return
    sizes = f"{len(config.sources)} sources, {len(config.targets)} targets, {len(config.subscribers)} subscribers"
    yield Line("configuration", True, f"{path}: {sizes}")
    yield from sources
    redis = connect(config.redis.url, patient=False)
    lines = list(_redis(redis))
    yield from lines
    if lines[0].ok is False:
        yield Line("targets", None, "not asked: that takes Redis", "look again when Redis answers")
        return
    yield from rotation.lines(redis, config.sources)
    yield from audience.lines(redis, config, datetime.now(UTC))
    yield from _targets(path, config)


def _redis(redis: Redis) -> Iterator[Line]:
    try:
        info: dict[str, Any] = redis.info()
    except ResponseError as error:
        yield Line("redis", None, f"INFO is refused: {error}", f"make sure that it is {LEAST} or newer")
        info = {}
    except (RedisError, OSError) as error:
        yield Line("redis", False, f"does not answer: {error}", "see that redis.url is right and that Redis runs")
        return
    if info:
        yield _version(str(info.get("redis_version", "0")))
        yield from _state(info)
    for name, (wanted, loss) in DURABLE.items():
        yield _setting(redis, name, wanted, loss)


def _version(found: str) -> Line:
    parts = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if parts < VERSION_MIN:
        return Line("redis", False, f"version {found}", f"take {LEAST} or newer")
    return Line("redis", True, f"answers, version {found}")


def _state(info: dict[str, Any]) -> Iterator[Line]:
    """Tell of a Redis that takes no writes."""
    if info.get("role") == "slave":
        yield Line("redis role", False, "a replica, which takes no writes", "name the primary in redis.url")
    if info.get("aof_last_write_status", "ok") != "ok":
        yield Line("redis disk", False, "its last write to the append-only file failed", "see its log and its disk")


def _setting(redis: Redis, name: str, wanted: str, loss: str) -> Line:
    what = f"redis {name}"
    try:
        found = str(redis.config_get(name).get(name, ""))
    except RedisError:
        # Managed ones refuse CONFIG.
        found = ""
    if not found:
        return Line(what, None, "cannot be read", f"make sure that it is {wanted}: else {loss}")
    return Line(what, found == wanted, found, "" if found == wanted else f"set it to {wanted}: {loss}")


def _sources(path: Path) -> list[Line]:
    """Let the programs check what only they know of the file, all of it at once. Raises Misconfigured."""
    commands = {
        "sources": python("service", "--config", str(path), "--check"),
        "directories, targets": python("workers.check", "--config", str(path), "--sections"),
    }
    with ThreadPoolExecutor(len(commands)) as pool:
        runs = dict(
            zip(commands, pool.map(lambda each: _run(each, SOURCES_SECONDS_MAX), commands.values()), strict=True)
        )
    faults: list[str] = []
    for what, done in runs.items():
        if done.returncode:
            faults += _words(done) if done.returncode == EXIT_MISCONFIGURED else [f"{what}: {_fault(done)}"]
    if faults:
        raise Misconfigured(faults)
    done = runs["sources"]
    return [Line.from_json(text) for text in done.stdout.splitlines()]


def _targets(path: Path, config: Config) -> Iterator[Line]:
    """Let the workers look at the targets."""
    done = _run(python("workers.check", "--config", str(path)), TARGETS_SECONDS_MAX)
    yield from (Line.from_json(text) for text in done.stdout.splitlines())
    if done.returncode:
        text = f"{len(config.targets)} could not all be looked at: {_fault(done)}"
        yield Line("targets", False, text, "look again; if it stays so, it is a fault of ours")


def _run(command: list[str], seconds_max: float) -> "subprocess.CompletedProcess[bytes]":
    """Run a program of ours; one that takes too long is ended, and what it said so far counts."""
    try:
        return subprocess.run(command, capture_output=True, timeout=seconds_max, check=False)  # noqa: S603 - ours
    except subprocess.TimeoutExpired as error:
        lines = (error.stdout or b"").splitlines(keepends=True)
        whole = b"".join(line for line in lines if line.endswith(b"\n"))
        return subprocess.CompletedProcess(command, 1, whole, f"more than {seconds_max:.0f} s".encode())


def _words(done: "subprocess.CompletedProcess[bytes]") -> list[str]:
    return done.stderr.decode("utf-8", "replace").strip().splitlines()


def _fault(done: "subprocess.CompletedProcess[bytes]") -> str:
    """Return the kind of a fault without its text, which may hold what somebody sent."""
    return (_words(done) or ["ended without a word"])[-1].partition(":")[0][:WORDS_MAX]
