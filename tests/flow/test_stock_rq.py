"""The jobs are RQ's own: a plain ``rq worker`` that knows nothing of ours runs them."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT
from tests.flow.stage import Somebody, Stage

STOP_SECONDS_MAX = 20


@pytest.fixture
def stock(stage: Stage) -> Iterator[Stage]:
    """Give a stage whose people lane is worked on by RQ's own command and nobody else."""
    ours = [stage.workers["people"], stage.workers["people-2"]]
    for worker in ours:
        worker.stop()
    command = [sys.executable, "-m", "rq.cli", "worker", "-S", "rq.serializers.JSONSerializer"]
    command += ["-w", "rq.worker.SimpleWorker", "-u", stage.redis_server.url, "--disable-job-desc-logging", "people"]
    environment = {**os.environ, **stage.environment, "PYTHONPATH": str(ROOT)}
    with (stage.folder / "stock.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603 - ours
        yield stage
        process.terminate()
        process.wait(STOP_SECONDS_MAX)
    for worker in ours:
        worker.start()


def test_stock_worker_runs_our_jobs(stock: Stage, bo: Somebody) -> None:
    """A joiner and a mover that only a stock RQ worker could run end as told."""
    states = [stock.state(bo.joins()), stock.state(bo.moves(title="Agent"))]

    assert states == ["applied", "applied"]
    assert stock.account(bo)["title"] == "Agent"
    assert bo.email not in (stock.folder / "stock.log").read_text()
