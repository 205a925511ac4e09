"""A signal: what a subscriber is told of an outcome. Its body is made once and sent byte for byte at every attempt."""

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

SIGNAL_ID_CHARS = 26
# What may be subscribed to; the last four are reserved for what is still to come.
TYPES = (
    "person.provisioned",
    "person.updated",
    "person.suspended",
    "person.restored",
    "person.deleted",
    "delivery.failed",
    "safety.held",
    "safety.released",
    "drift.found",
    "review.completed",
)

# Standard Webhooks' example schedule; each wait is moved by up to 20 % at random.
RETRY_SECONDS = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
RETRY_JITTER = 0.2
RETRY_AFTER_SECONDS_MAX = 86_400


class Signal(NamedTuple):
    """A signal ready to be kept: its id is made from its cause, so the same cause never makes two."""

    id: str
    type: str
    body: str
    person: str
    event: str
    target: str


def make_signal(  # noqa: PLR0913 - the parts of a signal
    signal_type: str,
    *,
    person: str,
    event: str,
    target: str,
    data: dict[str, Any],
    at: datetime,
    nonce: str = "",
    cause: str | None = None,
) -> Signal:
    """Make the signal of one outcome of one event (``source:id``); a nonce lets an outcome be told again.

    A cause stands for the event where many have the same and one of them is told of.
    """
    known_by = json.dumps([signal_type, event if cause is None else cause, target, nonce]).encode()
    digest = base64.b32encode(hashlib.sha256(known_by).digest()).decode().lower()[:SIGNAL_ID_CHARS]
    body = {"type": signal_type, "timestamp": iso(at), "data": data}
    return Signal(f"sig_{digest}", signal_type, json.dumps(body, separators=(",", ":")), person, event, target)


def iso(moment: datetime) -> str:
    """Write a moment in UTC with milliseconds and a Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
