"""The programs as processes, kept running as a supervisor keeps them."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tests.conftest import ROOT
from tests.flow.patience import eventually

POLL_SECONDS = 0.1
STOP_SECONDS_MAX = 20


class Program:
    """One process; it is started again when it dies, until it is stopped."""

    def __init__(self, name: str, arguments: list[str], environment: Mapping[str, str], folder: Path) -> None:
        """Keep how to start it; nothing runs yet."""
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = [sys.executable, "-m", *arguments]
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start it."""
        with self._lock:
            self._start()

    def kill(self) -> None:
        """End it by SIGKILL; what it forked is told to end, as a supervisor does, and it is started again."""
        with self._lock:
            assert self._process is not None
            self._process.kill()
            self._process.wait()
            self._restart()

    def die(self, *, alone: bool) -> int:
        """End it by SIGKILL, alone or with all that it forked, and leave it to its keeper; return its number."""
        with self._lock:
            assert self._process is not None
            if not alone:
                self._signal_group(signal.SIGKILL)
            self._process.kill()
            return self._process.pid

    def stop(self) -> None:
        """End it by SIGTERM, for good."""
        with self._lock:
            if self._process is None:
                return
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS_MAX)
            finally:
                self._signal_group(signal.SIGKILL)
                self._process.wait()
                self._process = None

    @property
    def is_kept(self) -> bool:
        """Tell whether it was started and not stopped."""
        return self._process is not None

    def tend(self) -> None:
        """Start it again if it died."""
        with self._lock:
            if self._process is not None and self._process.poll() is not None:
                self._restart()

    def await_line(self, text: str) -> None:
        """Return when a text stands in its log."""
        eventually(lambda: text in self.log.read_text())

    def _restart(self) -> None:
        self._signal_group(signal.SIGTERM)
        self._start()

    def _start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own
                self._command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    def _signal_group(self, number: signal.Signals) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError, PermissionError):  # nobody of the group is left
            os.killpg(self._process.pid, number)


class Keeper:
    """Tends programs in a thread of its own."""

    def __init__(self, programs: list[Program]) -> None:
        """Keep them running from ``start`` on."""
        self._programs = programs
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._tend, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Tend no more, and stop them all at once, for each takes its time."""
        self._done.set()
        self._thread.join()
        with ThreadPoolExecutor(len(self._programs)) as pool:
            list(pool.map(Program.stop, self._programs))

    def _tend(self) -> None:
        while not self._done.wait(POLL_SECONDS):
            for program in self._programs:
                program.tend()
