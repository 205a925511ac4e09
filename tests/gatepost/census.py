"""Counting the processes that one command started: all of them inherit a mark in their environment."""

import sys
from pathlib import Path
from uuid import uuid4

import pytest

MARK = "GATEPOST_TEST_MARK"
PROC = Path("/proc")

needs_proc = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the processes of a command are counted in /proc, which only Linux has"
)


class Census:
    """Everything that a command started, by a mark that forks and children inherit."""

    def __init__(self) -> None:
        """Choose a mark."""
        self.environment = {MARK: uuid4().hex}
        self._mark = f"{MARK}={self.environment[MARK]}".encode()

    def commands(self) -> dict[int, str]:
        """Return the command line of each marked process that runs, by its id."""
        return {int(path.name): command for path in PROC.glob("[0-9]*") if (command := self._command(path))}

    def of(self, *words: str) -> list[int]:
        """Return the ids of the processes whose command line ends in these words, the oldest first."""
        text = " ".join(words)
        return sorted(pid for pid, command in self.commands().items() if command.endswith(text))

    def _command(self, path: Path) -> str:
        try:
            if self._mark not in (path / "environ").read_bytes().split(b"\0"):
                return ""
            return (path / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:  # it ended, or it is somebody else's
            return ""
