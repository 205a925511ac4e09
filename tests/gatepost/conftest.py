"""The command as a user runs it: a process of its own, told apart by a mark in its environment."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

COMMAND_SECONDS_MAX = 60

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def toml(config_file: Callable[..., Path]) -> Path:
    """Write the default configuration, whose Redis runs, and return where."""
    return config_file()


@pytest.fixture
def gatepost(raw_config: Callable[..., dict[str, Any]], tmp_path: Path) -> Run:
    """Run ``gatepost`` in an empty folder and return what it said: ``gatepost("events", config=path)``."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()

    def run(
        *arguments: str, config: Path | None = None, folder: Path = folder, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        options = ["--config", str(config)] if config else []
        return subprocess.run(  # noqa: S603 - our own
            [sys.executable, "-m", "gatepost", *arguments, *options],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )

    return run
