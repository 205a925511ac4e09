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
    ("answer", "shown"),
    [
        (r"C:\[/x]", r"C:\[/x]"),
        (r"\[link=http://127.0.0.1]here[/link]", r"\[link=http://127.0.0.1]here[/link]"),
        ("a :bell: b", "a :bell: b"),
        ("山田\u3000\u200cx", "山田 \u200cx"),
        ("\x9b2J \u202exe.txt", "?2J ?xe.txt"),
    ],
)
def test_answer_is_shown_as_it_is(capsys: pytest.CaptureFixture[str], answer: str, shown: str) -> None:
    """Neither markup nor names of pictures, whatever is written before a bracket; what turns text round is marked."""
    line = {"number": 1, "at": "2026-03-02T09:00:01.000Z", "status": 500, "duration_ms": 3, "answer": answer}
    way = {"item": "sig_1", "subscriber": "siem", "state": "waiting", "attempts": 1, "reason": "500", "tried": [line]}

    show.signal({"id": "sig_1", "type": "person.suspended", "person": "E1", "made_at": None, "deliveries": [way]})

    assert capsys.readouterr().out.splitlines()[-1].rstrip().endswith(f"500     3   {shown}")


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
