"""Errors become answers by one table."""

import json
from collections.abc import Iterator

import pytest
from starlette.requests import Request

from lifecycle.errors import GatepostError, Refused, Rejected, Unavailable
from service import problems


def family(kind: type[GatepostError]) -> Iterator[type[GatepostError]]:
    """Walk an error and everything below it."""
    yield kind
    for below in kind.__subclasses__():
        yield from family(below)


@pytest.mark.parametrize("kind", [*family(Rejected), Unavailable])
async def test_every_error_for_a_sender_has_a_status(kind: type[GatepostError]) -> None:
    """Each Rejected is a 4xx of the table, and our own trouble is 503; the body is a whole problem document."""
    answer = await problems.on_error(Request({"type": "http"}), kind("what happened", reason="why"))

    document = json.loads(bytes(answer.body))
    assert kind in problems.STATUS
    assert answer.status_code == 503 if kind is Unavailable else 400 <= answer.status_code < 500
    assert answer.media_type == "application/problem+json"
    assert document == {
        "type": "urn:gatepost:problem:why",
        "title": document["title"],
        "status": answer.status_code,
        "detail": "what happened",
    }
    assert ("retry-after" in answer.headers) == (kind is Unavailable)


async def test_fault_that_nobody_foresaw_says_nothing_of_itself() -> None:
    """A bug of ours is 503, so that the sender tries again, and its text stays in our log."""
    answer = await problems.on_fault(Request({"type": "http"}), RuntimeError("Bo Ray's password"))

    assert answer.status_code == 503
    assert b"Bo Ray" not in bytes(answer.body)


async def test_error_that_nobody_meant_for_a_sender_is_ours() -> None:
    """503, so that it is tried again; never an error while an error is answered."""
    answer = await problems.on_error(Request({"type": "http"}), Refused("what happened", reason="why"))

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
