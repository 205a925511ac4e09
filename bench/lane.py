"""The lane of signals as it is measured: the real process, its subscribers, and what it costs."""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.machine import Broken, Store, python, running

SECRET_VARIABLE, SECRET = "BENCH_WHSEC", "whsec_c2lnbmFscy1zZWNyZXQtb2YtdGhlLWJlbmNo"
STARTED = "worker.started"
START_SECONDS_MAX, LOOK_SECONDS = 20.0, 0.02
# What is on its way when the lane is told to end is waited for.
STOP_SECONDS_MAX = 30.0
Section = Mapping[str, object]
"""What the configuration says of a subscriber, but for its secret."""
TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def lane(folder: Path, store: Store, subscribers: Mapping[str, Section]) -> Iterator[subprocess.Popen[bytes]]:
    """Run the lane with these subscribers by name, and end it with all that is on its way."""
    config, log = folder / "gatepost.toml", folder / "signals.log"
    sections = "".join(_section(name, section) for name, section in subscribers.items())
    config.write_text(f'[redis]\nurl = "{store.url}"\n{sections}')
    log.unlink(missing_ok=True)
    command = python("workers", "--config", str(config), "--lane", "signals")
    with running(command, log, environment={SECRET_VARIABLE: SECRET}) as process:
        _await_line(process, log)
        yield process
        process.terminate()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired as error:
            raise Broken("the lane does not end") from error


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """Return the processor time that a process took until now."""
    _, _, fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")
    user, system = fields.split()[11:13]
    return (int(user) + int(system)) / TICKS


def _section(name: str, section: Section) -> str:
    values = {"secrets": [f"env:{SECRET_VARIABLE}"], "allow_private": True, **section}
    return "\n".join([f"[subscribers.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""])


def _await_line(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while STARTED not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            raise Broken(f"the lane does not start:\n{log.read_text()}")
        time.sleep(LOOK_SECONDS)
