"""Logs: one JSON line a thing, without secrets."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import structlog
from lifecycle.log import fault, set_up_logs
set_up_logs("test")
log = structlog.get_logger()
log.info("thing.done", authorization="Bearer x", secret="x", email="bo@x", source="hris")
try:
    int("hunter2")
except ValueError as error:
    log.error("thing.failed", **fault(error))
"""


@pytest.fixture(scope="module")
def lines() -> list[dict[str, object]]:
    """Give what a program wrote to standard error."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True, text=True)  # noqa: S603 - our own
    return [json.loads(line) for line in ran.stderr.splitlines()]


def test_line_is_json_and_redacted(lines: list[dict[str, object]]) -> None:
    """What may hold a secret or a person's data is replaced; facts stay."""
    line = lines[0]

    assert (line["event"], line["program"], line["level"], line["source"]) == ("thing.done", "test", "info", "hris")
    assert {line["authorization"], line["secret"], line["email"]} == {"[redacted]"}


def test_fault_is_named_and_placed_without_its_text(lines: list[dict[str, object]]) -> None:
    """An error's own text may quote what somebody sent, so the line has its type and where it happened instead."""
    line = lines[1]

    assert line["error"] == "ValueError"
    assert "<module>" in str(line["where"])
    assert "hunter2" not in json.dumps(line)
