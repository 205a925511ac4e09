"""A signal: what a subscriber is told of an outcome. Its body is made once and sent byte for byte at every attempt."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

SIGNAL_ID_CHARS = 26
# What may be subscribed to; "drift.found" and "review.completed" are reserved for what is still to come.
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
    "subscriber.disabled",
)
# What is told to one subscriber alone, whatever it subscribes to.
OWN_TYPES = ("subscriber.test", "ssf.verification", "ssf.stream-updated")
ALL_TYPES = (*TYPES, *OWN_TYPES)

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
    facts: str = "{}"
    """A JSON object of what formats other than the body tell of it; see ``Told``."""
    only: str = ""
    """The one subscriber that it is for, whatever else it wants; of no interest to the others."""
    besides: str = ""
    """The one subscriber that it is not for."""


@dataclass(frozen=True)
class Told:
    """A signal as it is kept."""

    id: str
    type: str
    body: bytes
    person: str
    event: str
    target: str
    facts: Mapping[str, Any]
    """``email``; ``user_name``, the account's; ``attributes``, the SCIM names of what changed; ``values``, what those
    are now, where somebody is told; ``old`` with ``user_name`` and ``email`` where those changed; ``elsewhere``, on
    which other targets the person has ``accounts``, and ``suspended`` ones; ``returned``, where an account is there
    again. Any may be missing.
    """
    made_at: datetime
    only: str
    besides: str

    @property
    def data(self) -> dict[str, Any]:
        """The body's ``data``."""
        found: dict[str, Any] = json.loads(self.body)["data"]
        return found

    @classmethod
    def of(cls, record: Mapping[bytes, bytes]) -> "Told":
        """Read a signal's record."""
        texts = {name.decode(): value.decode() for name, value in record.items() if name != b"body"}
        return cls(
            id=texts["id"],
            type=texts["type"],
            body=record[b"body"],
            person=texts["person"],
            event=texts["event"],
            target=texts["target"],
            facts=json.loads(texts.get("facts", "{}")),
            made_at=datetime.fromtimestamp(float(texts["made_at"]), UTC),
            only=texts.get("only", ""),
            besides=texts.get("besides", ""),
        )


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
    facts: Mapping[str, Any] | None = None,
) -> Signal:
    """Make the signal of one outcome of one event (``source:id``); a nonce lets an outcome be told again.

    A cause stands for the event where many have the same and one of them is told of.
    """
    known_by = json.dumps([signal_type, event if cause is None else cause, target, nonce]).encode()
    digest = base64.b32encode(hashlib.sha256(known_by).digest()).decode().lower()[:SIGNAL_ID_CHARS]
    body = {"type": signal_type, "timestamp": iso(at), "data": data}
    text = json.dumps(body, separators=(",", ":"))
    return Signal(f"sig_{digest}", signal_type, text, person, event, target, json.dumps(facts or {}))


def iso(moment: datetime) -> str:
    """Write a moment in UTC with milliseconds and a Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
