"""Child processes: started with a lifeline, restarted when they die, ended cleanly and then for certain."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from lifecycle.lifeline import VARIABLE

EXIT_MISCONFIGURED = 2
POLL_SECONDS = 0.2
STOP_SECONDS_MAX = 60.0
RESTART_SECONDS_FIRST, RESTART_SECONDS_MAX = 0.2, 2.0
CALM_SECONDS = 5.0

log = structlog.get_logger()


@dataclass
class Child:
    """One process that should run, and when it last died."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    wait_seconds: float = RESTART_SECONDS_FIRST


@dataclass
class Supervisor:
    """Keeps children running until told to stop. A child with a wrong configuration ends them all."""

    children: Sequence[Child]
    environment: Mapping[str, str] = field(default_factory=dict)
    stopping: bool = False

    def run(self) -> int:
        """Run until a signal comes; return the exit code."""
        reader, self._writer = os.pipe()
        self._reader = reader
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        code = 0
        while not self.stopping and code == 0:
            code = next((found for child in self.children if (found := self._tend(child))), 0)
            time.sleep(POLL_SECONDS)
        self._stop()
        return code

    def _on_signal(self, _number: int, _frame: object) -> None:
        self.stopping = True

    def _tend(self, child: Child) -> int:
        """Start a child that is due, note one that died; return the exit code that ends everything, else 0."""
        now = time.monotonic()
        if child.process is None:
            if now >= child.start_at:
                child.process, child.started_at = self._start(child), now
            return 0
        code = child.process.poll()
        if code is None:
            return 0
        _signal_group(child.process, signal.SIGTERM)  # its scheduler, which lets go of its lock on the way out
        if code == EXIT_MISCONFIGURED:
            return EXIT_MISCONFIGURED
        calm = now - child.started_at > CALM_SECONDS
        child.wait_seconds = RESTART_SECONDS_FIRST if calm else min(child.wait_seconds * 2, RESTART_SECONDS_MAX)
        child.process, child.start_at = None, now + child.wait_seconds
        log.error("process.died", name=child.name, exit_code=code, restart_in_seconds=child.wait_seconds)
        return 0

    def _start(self, child: Child) -> subprocess.Popen[bytes]:
        return start(child.command, environment=self.environment, lifeline=self._reader)

    def _stop(self) -> None:
        running = [child.process for child in self.children if child.process is not None]
        for process in running:
            process.terminate()
        end_all(running)


def start(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    lifeline: int | None = None,
    output: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, so that what it forks can be ended with it."""
    variables = {**os.environ, **(environment or {})}
    if lifeline is not None:
        variables[VARIABLE] = str(lifeline)
    passed = (lifeline,) if lifeline is not None else ()
    return subprocess.Popen(  # noqa: S603 - commands of ours
        [*command],
        env=variables,
        pass_fds=passed,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
    )


def end_all(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait for processes that were told to end; kill what has not ended in a minute."""
    deadline = time.monotonic() + STOP_SECONDS_MAX
    for process in processes:
        try:
            process.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            log.warning("process.killed", pid=process.pid)
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # the group is gone already
        os.killpg(process.pid, number)


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with this interpreter."""
    return [sys.executable, "-m", module, *arguments]
