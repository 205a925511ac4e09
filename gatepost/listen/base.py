"""What a format of deliveries is to the endpoint."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from lifecycle.errors import Malformed, Rejected

JSON = "application/json"


class Letter(NamedTuple):
    """One delivery: names of headers in lower case, and the bytes of the body as they came."""

    headers: Mapping[str, str]
    body: bytes


class Heard(NamedTuple):
    """A delivery that is believed."""

    id: str
    """The same on every attempt."""
    type: str
    person: str
    target: str
    proof: str
    """By which secret or key it is believed."""
    said: Mapping[str, Any]


class Reply(NamedTuple):
    """What the sender is answered."""

    status: int
    body: bytes = b""
    media_type: str = JSON
    headers: Mapping[str, str] = {}


class Format(Protocol):
    """A way in which deliveries are written and signed."""

    NAME: str
    KNOWN_BY: str
    """What a repeat is known by."""
    TAKEN: int
    """The status that says that it was taken."""

    async def hear(self, letter: Letter, now: datetime) -> Heard:
        """Return what a delivery says. Raises Rejected where it is not believed, Unavailable where that is unknown."""

    def refuse(self, error: Rejected) -> Reply:
        """Return the answer to a delivery that is not believed."""


def json_object(found: bytes) -> dict[str, Any]:
    """Return the object that JSON holds. Raises Malformed for all else."""
    try:
        said = json.loads(found)
    except (ValueError, RecursionError) as error:
        raise Malformed("it is not JSON", reason="not_json") from error
    if not isinstance(said, dict):
        raise Malformed("it is no JSON object", reason="not_json")
    return said


def text_in(found: Any, *way: str) -> str:  # noqa: ANN401 - JSON
    """Return the text at the end of a way through objects; none where the way ends before."""
    for name in way:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""
