"""A transmitter of Shared Signals for the tests: its keys, its section, and signals as they are kept."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lifecycle.secrets import Secret
from lifecycle.signal import Signal, Told, iso, make_signal
from lifecycle.ssf.section import Ssf
from lifecycle.subscriber import Subscriber

ISSUER, AUDIENCE = "https://gatepost.acme.example", "https://siem.acme.example/ssf"
AT = datetime(2026, 3, 6, 22, 0, 1, 250_000, tzinfo=UTC)
BO = {"external_id": "E1042", "user_name": "bo.ray"}
FACTS: Mapping[str, Any] = {"email": "bo.ray@acme.example", "user_name": "bo.ray"}
REASONS = {"provisioned": "joined", "updated": "moved", "suspended": "left", "restored": "returned", "deleted": "left"}


@cache
def pem(name: str = "first", bits: int = 2048) -> str:
    """Return a private key, the same for the same name."""
    key = rsa.generate_private_key(65_537, bits)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode().strip()


def ssf(*names: str) -> Ssf:
    """Return the section of a transmitter with these keys."""
    keys = [Secret(f"env:KEY_{name.upper()}", pem(name)) for name in names or ("first",)]
    return Ssf(issuer=ISSUER, signing_keys=keys)


def subscriber(**fields: Any) -> Subscriber:  # noqa: ANN401 - a section
    """Return a subscriber that gets tokens."""
    section = {"format": "ssf_push", "url": "https://siem.acme.example/events", "audience": AUDIENCE, **fields}
    return Subscriber.model_validate(section)


def signal(
    change: str = "suspended",
    *,
    event: str = "hris:evt-1",
    target: str = "crm",
    facts: Mapping[str, Any] = FACTS,
    person: str = "E1042",
    at: datetime = AT,
    **data: Any,  # noqa: ANN401 - contract section 6
) -> Signal:
    """Make the signal of a change; ``data`` in the place of what is usual."""
    source, _, event_id = event.partition(":")
    usual = {
        "event": event_id,
        "source": source,
        "target": target,
        "reason": REASONS[change],
        "person": BO,
        "account": {"id": "u-7", "active": change not in {"suspended", "deleted"}},
        "sessions_revoked": False,
        "groups_added": [],
        "groups_removed": [],
        "roles_added": [],
        "roles_removed": [],
        "applied_at": iso(at - timedelta(seconds=2)),
        "confirmed_at": None,
    }
    told_of = usual | data
    return make_signal(f"person.{change}", person=person, event=event, target=target, data=told_of, at=at, facts=facts)


def kept(made: Signal, at: datetime = AT) -> Told:
    """Return a signal as it is read after it was kept."""
    record = {**made._asdict(), "made_at": repr(at.timestamp())}
    return Told.of({name.encode(): str(value).encode() for name, value in record.items()})


def told(change: str = "suspended", **parts: Any) -> Told:  # noqa: ANN401 - parts of a signal
    """Return the signal of a change as it is read after it was kept."""
    return kept(signal(change, **parts), parts.get("at", AT))


def names(items: list[str]) -> list[str]:
    """Return the parts of items that are their events' own."""
    return [item.partition("~")[2] for item in items]
