"""How things look where a table has to say more than the JSON beside it."""

from typing import Any

import pytest

from gatepost import show

STEP = {"target": "genesys", "method": "PATCH", "path": "/Users/u1", "status": 403, "milliseconds": 12}


def explained(**detail: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return an event with one request."""
    event = dict.fromkeys(("occurred_at", "effective_at", "received_at", "settled_at", "state", "reason", "detail"))
    step = {"at": "2026-03-02T09:00:01.000Z", "step": "request", "detail": STEP | detail}
    return event | {"source": "hris", "id": "evt-1", "kind": "mover", "person": "E1042", "timeline": [step]}


def test_no_id_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """What is listed is typed again: release, drop and retry want it whole."""
    name = f"hris:employment-termination-{'0c7c1' * 12}"
    failure = {"failed_at": None, "id": name, "type": "event", "state": "failed", "reason": "r", "detail": "d" * 200}

    show.failures([failure])

    assert name in capsys.readouterr().out


@pytest.mark.parametrize(
    ("detail", "said"),
    [
        ({}, "genesys: PATCH /Users/u1 -> 403 (12 ms)"),
        ({"correlation": "c-77"}, "genesys: PATCH /Users/u1 -> 403 (12 ms) [c-77]"),
        ({"status": 0}, "genesys: PATCH /Users/u1 -> no answer (12 ms)"),
    ],
    ids=["plain", "with the vendor's id", "no answer"],
)
def test_request_is_shown_with_the_vendors_id(
    capsys: pytest.CaptureFixture[str], detail: dict[str, Any], said: str
) -> None:
    """The id by which the vendor's support finds a request stands beside it, where the vendor gives one."""
    show.why(explained(**detail))

    last = capsys.readouterr().out.splitlines()[-1]
    assert last.rstrip().endswith(said)
