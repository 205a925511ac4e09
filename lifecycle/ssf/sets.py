"""From a signal to Security Event Tokens: which are sent of it, and the token of each. Pure.

One token has one event; all of one cause have the same ``txn``, and each its own ``jti``. Nothing in it is of the
moment at which it is sent: however often that is, the same key signs the same bytes.

https://www.rfc-editor.org/rfc/rfc8417 and https://openid.net/specs/openid-sharedsignals-framework-1_0-final.html
"""

import base64
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from lifecycle.errors import Refused
from lifecycle.outbox import ITEM_PARTS
from lifecycle.signal import Signal, Told, make_signal
from lifecycle.ssf.events import (
    FULL,
    LEGACY,
    NOTICE,
    OF_SIGNALS,
    PROV,
    STREAM_UPDATED,
    STREAM_VERIFICATION,
    SecurityEvent,
)
from lifecycle.ssf.section import Shape
from lifecycle.ssf.signing import Signing
from lifecycle.ssf.subjects import Naming

if TYPE_CHECKING:
    from lifecycle.subscriber import Subscriber

DIGEST_CHARS = 26

_BY_NAME: Final[Mapping[str, SecurityEvent]] = {each.name: each for found in OF_SIGNALS.values() for each in found}
EVENTS_SUPPORTED: Final = tuple(dict.fromkeys(each.uri for each in _BY_NAME.values() if not each.of_stream))
"""Every event that some receiver may get, by its URI."""


def events_for(shape: Shape) -> tuple[str, ...]:
    """Return the events that a receiver of tokens of this shape may get, by their URIs."""
    absent = {"none": (PROV,), NOTICE: (":full",), FULL: ()}[shape.provisioning]
    absent = (PROV,) if shape.profile == LEGACY else absent
    return tuple(uri for uri in EVENTS_SUPPORTED if not any(part in uri for part in absent))


def items(signal: Told, shape: Shape, wanted: Sequence[str] | None) -> list[str]:
    """Return the items of a signal: one for each event of it that is wanted, in the order in which they are sent."""
    found = (each for each in OF_SIGNALS.get(signal.type, ()) if each.applies(signal, shape))
    return [
        f"{signal.id}{ITEM_PARTS}{each.name}"
        for each in found
        if each.of_stream or wanted is None or each.uri in wanted
    ]


def token(signing: Signing, issuer: str, signal: Told, item: str, subscriber: "Subscriber") -> str:
    """Return the token of an item for a subscriber. Raises Refused for an item that is no event."""
    return signing.sign(claims(issuer, signal, item, subscriber))


def claims(issuer: str, signal: Told, item: str, subscriber: "Subscriber") -> dict[str, Any]:
    """Return what the token of an item says to a subscriber. Raises Refused."""
    event = _event(item)
    audience = str(subscriber.audience)
    subject = event.subject(Naming(issuer, audience, subscriber.subject), signal)
    said = event.says(signal)
    found: dict[str, Any] = {
        "iss": issuer,
        "aud": audience,
        "iat": int(signal.made_at.timestamp()),
        "jti": jti(item, audience),
    }
    if subscriber.profile == LEGACY and event.is_caep:
        # Receivers of before the final specifications, Apple's the first, know neither ``sub_id`` nor ``txn`` of CAEP.
        return found | {"events": {event.uri: said | {"subject": {"user": subject}}}}
    found |= {"txn": txn(signal)} if signal.event else {}
    return found | {"sub_id": subject, "events": {event.uri: said}}


def _event(item: str) -> SecurityEvent:
    name = item.partition(ITEM_PARTS)[2]
    if name not in _BY_NAME:
        # What waited for a subscriber when it was one of another format.
        raise Refused("this is no Security Event", reason="no_security_event")
    return _BY_NAME[name]


def jti(item: str, audience: str) -> str:
    """Return the id of an item's token, which it has in every attempt: two receivers' tokens are not the same one."""
    return f"{item}{ITEM_PARTS}{_digest(audience)}"


def item_of(found: str) -> str:
    """Return the item of which this is the id of a token."""
    return found.rpartition(ITEM_PARTS)[0]


def txn(signal: Told) -> str:
    """Return what all tokens of one cause have in common, on whatever target and for whatever receiver."""
    return _digest(signal.event)


def verification(stream_id: str, state: str | None, now: datetime) -> Signal:
    """Return the signal that lets a receiver see that its stream works."""
    return _of_stream(STREAM_VERIFICATION, stream_id, {"state": state}, now)


def stream_updated(stream_id: str, status: str, reason: str | None, now: datetime) -> Signal:
    """Return the signal that tells a receiver that we changed the status of its stream."""
    return _of_stream(STREAM_UPDATED, stream_id, {"status": status, "reason": reason}, now)


def _of_stream(signal_type: str, stream_id: str, data: dict[str, Any], now: datetime) -> Signal:
    made = make_signal(signal_type, person="", event="", target="", data=data, at=now, nonce=uuid.uuid4().hex)
    return made._replace(only=stream_id)


def _digest(text: str) -> str:
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()[:DIGEST_CHARS]
