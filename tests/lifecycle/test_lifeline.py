"""A lifeline ends whatever was started, and what that has forked, when its holder is gone."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from lifecycle.lifeline import VARIABLE

SECONDS_MAX = 10.0
# It forks and is killed at once: what it forked has nobody left who would end it.
FORKS = """
import os, signal, sys, time
from lifecycle.lifeline import hold_lifeline
hold_lifeline()
child = os.fork()
if child:
    print(child, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(60)
"""


def runs(pid: int) -> bool:
    """Tell whether a process is there; one that ended and that nobody has asked for is not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_what_was_forked_ends_with_the_holder_too() -> None:
    """A worker that is ended while it starts leaves RQ's scheduler behind, which looks for no parent."""
    reader, writer = os.pipe()
    environment = {**os.environ, VARIABLE: str(reader), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "ignore", "-c", FORKS]
    with subprocess.Popen(command, env=environment, pass_fds=(reader,), stdout=subprocess.PIPE) as process:  # noqa: S603 - ours
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.wait()
        ran = runs(child)

        os.close(writer)

        deadline = time.monotonic() + SECONDS_MAX
        while runs(child) and time.monotonic() < deadline:
            time.sleep(0.02)
        left = runs(child)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.close(reader)

    assert ran
    assert not left
