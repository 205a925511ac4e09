"""``gatepost up`` and ``gatepost demo`` start many processes, keep them running, and leave none behind."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from lifecycle.queue import LANES
from tests.conftest import ROOT, free_port
from tests.flow.patience import eventually
from tests.gatepost.census import Census, needs_proc
from tests.notices import canonical, signed

STOP_SECONDS_MAX = 30
DEMO_SECONDS_MAX = 90

pytestmark = needs_proc


class Up:
    """A running ``gatepost up``."""

    def __init__(self, config: Path, log: Path) -> None:
        """Start it."""
        self.census = Census()
        self.port = free_port()
        self.log = log
        command = [sys.executable, "-m", "gatepost", "up", "--config", str(config), "--port", str(self.port)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **self.census.environment}
        with log.open("wb") as output:
            self.process = subprocess.Popen(  # noqa: S603 - our own
                command, env=environment, stdout=output, stderr=output, start_new_session=True
            )

    def answers(self, path: str) -> bool:
        """Tell whether the receiver answers 2xx."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}{path}").is_success
        except httpx.TransportError:
            return False

    def await_start(self) -> None:
        """Return when the receiver is ready and each lane's worker works."""
        eventually(lambda: self.answers("/health/ready"))
        eventually(lambda: self.log.read_text().count("worker.started") >= len(LANES))

    def end(self) -> None:
        """End whatever is left of it."""
        self.process.kill()
        self.process.wait()
        for pid in self.census.commands():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def up(config_file: Callable[..., Path], tmp_path: Path) -> Iterator[Up]:
    """Give a ``gatepost up`` that has started everything."""
    with ExitStack() as stack:
        running = Up(config_file(), tmp_path / "up.log")
        stack.callback(running.end)
        running.await_start()
        yield running


def test_up_restarts_what_dies_and_stops_cleanly(up: Up) -> None:
    """Receiver and every lane run; a worker killed by SIGKILL is replaced; SIGTERM ends all with exit 0."""
    (receiver,) = up.census.of("-m", "service", "--host", "127.0.0.1", "--port", str(up.port))
    workers = {lane: up.census.of("-m", "workers", "--lane", lane)[0] for lane in LANES}

    os.kill(workers["leavers"], signal.SIGKILL)
    os.kill(receiver, signal.SIGKILL)
    eventually(lambda: up.log.read_text().count("worker.started") == len(LANES) + 1)
    eventually(lambda: up.answers("/health/ready"))
    replaced = up.census.of("-m", "workers", "--lane", "leavers")
    body = canonical()
    answer = httpx.post(f"http://127.0.0.1:{up.port}/hooks/hris", content=body, headers=signed(body))
    up.process.terminate()
    code = up.process.wait(STOP_SECONDS_MAX)

    assert workers["leavers"] not in replaced
    assert answer.status_code == 202
    assert code == 0
    assert up.census.commands() == {}


def test_children_end_when_up_is_killed(up: Up) -> None:
    """When ``up`` itself is killed by SIGKILL, everything that it started ends by itself."""
    before = up.census.commands()

    up.process.kill()
    up.process.wait()

    eventually(lambda: not up.census.commands(), within=STOP_SECONDS_MAX)
    assert len(before) > len(LANES) + 1
    assert not up.answers("/health/live")


def test_up_ends_when_a_program_cannot_start(config_file: Callable[..., Path], tmp_path: Path) -> None:
    """A fault that only a program finds, such as an unknown adapter, ends ``up`` with exit 2 and no process left."""
    wrong = config_file(sources={"hr": {"adapter": "workday", "secrets": ["env:OKTA_HOOK_SECRET"]}})
    running = Up(wrong, tmp_path / "up.log")
    try:
        code = running.process.wait(STOP_SECONDS_MAX)
        left = running.census.commands()
    finally:
        running.end()

    assert code == 2
    assert left == {}
    assert "sources.hr.adapter: found 'workday'" in running.log.read_text()


def test_demo_ends_as_told_and_leaves_nothing() -> None:
    """``gatepost demo --once`` tells the story and exits 0; it leaves no process and no folder behind."""
    census = Census()
    with tempfile.TemporaryDirectory(prefix="gp-") as folder:
        done = subprocess.run(
            [sys.executable, "-m", "gatepost", "demo", "--once"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": folder, **census.environment},
            capture_output=True,
            text=True,
            timeout=DEMO_SECONDS_MAX,
            check=False,
        )
        left = list(Path(folder).iterdir())

    assert done.returncode == 0, done.stdout
    assert "The story ended as told" in done.stdout
    assert "revoked" in done.stdout
    assert done.stderr == ""
    assert left == []
    assert census.commands() == {}
