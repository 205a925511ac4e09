"""Signals as letters, made and signed by the code that sends them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from lifecycle.config import Config
from lifecycle.secrets import Secret
from lifecycle.signal import Signal, Told, make_signal
from lifecycle.subscriber import Subscriber
from workers.subscribers import standard_webhooks

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
PRIVATE = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
PUBLIC = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
"""The pair of RFC 8032 section 7.1, test 1."""
DATA: Mapping[str, Any] = {
    "event": "evt-1",
    "source": "hris",
    "target": "genesys",
    "reason": "left",
    "person": {"external_id": "E1042", "user_name": "bo.ray@acme.example", "name": "Bo Røy 界"},
}


class Letter(NamedTuple):
    """What one attempt sends."""

    headers: dict[str, str]
    body: bytes


def signal(event: str = "evt-1", kind: str = "person.suspended") -> Signal:
    """Make a signal; each event has one of its own."""
    data = {**DATA, "event": event}
    return make_signal(kind, person="E1042", event=f"hris:{event}", target="genesys", data=data, at=datetime.now(UTC))


def letter(*secrets: str, of: Signal | None = None, at: datetime | None = None) -> Letter:
    """Return one attempt of a signal, signed with each secret: SECRET alone, now, unless said otherwise."""
    found, now = of or signal(), at or datetime.now(UTC)
    held = [Secret(f"env:SECRET_{place}", secret) for place, secret in enumerate(secrets or (SECRET,))]
    subscriber = Subscriber(url="https://siem.acme.example/hooks", secrets=held)
    record = {name.encode(): value.encode() for name, value in found._asdict().items()}
    told = Told.of({**record, b"made_at": b"0"})
    sent = standard_webhooks.letter(Config(), told, found.id, subscriber, now)
    return Letter(dict(sent.headers), sent.body)
