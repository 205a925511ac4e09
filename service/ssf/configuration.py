"""A stream's configuration as its receiver sees it, and what becomes of what the receiver asks to change."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from lifecycle.addresses import Forbidden, check_url
from lifecycle.errors import Malformed
from lifecycle.ssf.section import Receiver, Ssf
from lifecycle.ssf.streams import (
    FORMATS,
    LEGACY_POLL,
    LEGACY_PUSH,
    Stream,
    events_delivered,
    events_supported,
    new_id,
    poll_url,
)
from lifecycle.subscriber import SSF_POLL
from service.ssf.asked import DESCRIPTION_CHARS_MAX, OURS, Configuration, Delivery
from service.ssf.tokens import Client

VERIFICATION_SECONDS: Final = 60
"""At most one verification of a stream is asked for in so many."""
LEGACY: Final = "legacy"
# A legacy receiver repeats what it read of us elsewhere, which is our issuer only sometimes.
_LENIENT: Final = frozenset({"iss"})

Seal = Callable[[str, str], str]
"""Seals a text for an owner."""


class Terms(NamedTuple):
    """What decides what a receiver may have."""

    ssf: Ssf
    ports: list[int]
    seal: Seal

    def shown(self, stream: Stream, receiver: Receiver) -> dict[str, Any]:
        """Return a stream's configuration; what is pushed with it stays with us."""
        found: dict[str, Any] = {
            "stream_id": stream.id,
            "iss": self.ssf.issuer,
            "aud": receiver.audience,
            "events_supported": list(events_supported(receiver)),
            "events_delivered": list(events_delivered(receiver, stream)),
            "delivery": {
                "method": stream.method,
                "endpoint_url": poll_url(self.ssf, stream.id) if stream.is_polled else stream.endpoint_url,
            },
            "min_verification_interval": VERIFICATION_SECONDS,
        }
        optional = {
            "events_requested": stream.events_requested,
            "description": stream.description,
            "format": stream.format,
        }
        return found | {name: value for name, value in optional.items() if value is not None}

    def made(self, client: Client, asked: Configuration) -> Stream:
        """Return the new stream that is asked for. Raises Malformed."""
        stream = Stream(id=new_id(), receiver=client.name, made_at=datetime.now(UTC))
        told = asked.model_copy(update={"events_delivered": None})  # of a stream that is not there yet
        return self.changed(stream, client.receiver, told, whole=True)

    def changed(self, stream: Stream, receiver: Receiver, asked: Configuration, *, whole: bool) -> Stream:
        """Return a stream with what is asked for: all of it, or what is there. Raises Malformed."""
        self._check_ours(stream, receiver, asked)
        update: dict[str, Any] = {}
        if whole or "events_requested" in asked.model_fields_set:
            wanted = asked.events_requested
            update["events_requested"] = None if wanted is None else tuple(dict.fromkeys(wanted))
        if whole or "description" in asked.model_fields_set:
            update["description"] = asked.description and asked.description[:DESCRIPTION_CHARS_MAX]
        if whole or "delivery" in asked.model_fields_set:
            update |= self._delivered(stream, receiver, asked.delivery)
        if receiver.profile == LEGACY and asked.format is not None:
            update["format"] = asked.format
        return stream.model_copy(update=update)

    def _check_ours(self, stream: Stream, receiver: Receiver, asked: Configuration) -> None:
        ours = self.shown(stream, receiver) | {"format": receiver.subject}
        for name in OURS:
            told = getattr(asked, name)
            lenient = receiver.profile == LEGACY and name in _LENIENT
            if told is not None and not lenient and not _is_same(told, ours.get(name)):
                raise Malformed(f"{name}: ours to say, and it is another; leave it out", reason="not_yours")

    def _delivered(self, stream: Stream, receiver: Receiver, asked: Delivery | None) -> dict[str, Any]:
        """Return what a delivery changes; without one a stream is polled."""
        if asked is None:
            return {"method": Stream.model_fields["method"].default, "endpoint_url": "", "authorization": ""}
        allowed = [uri for uri in FORMATS if receiver.profile == LEGACY or uri not in {LEGACY_PUSH, LEGACY_POLL}]
        if asked.method not in allowed:
            raise Malformed(f"delivery.method: allowed: {', '.join(allowed)}", reason="delivery_method")
        if FORMATS[asked.method] == SSF_POLL:
            return {"method": asked.method, "endpoint_url": "", "authorization": ""}
        if asked.endpoint_url is None:
            raise Malformed("delivery.endpoint_url: required where events are pushed", reason="endpoint_missing")
        try:
            check_url(asked.endpoint_url, allow_private=receiver.allow_private, ports=self.ports)
        except Forbidden as error:
            raise Malformed(f"delivery.endpoint_url: {error}", reason=f"endpoint_{error.reason}") from error
        authorization = self._authorization(stream, asked)
        return {"method": asked.method, "endpoint_url": asked.endpoint_url, "authorization": authorization}

    def _authorization(self, stream: Stream, asked: Delivery) -> str:
        """Return what is pushed with the stream, sealed.

        It is not shown, so whoever repeats a delivery as it was read keeps it; for another address it has to be told
        again.
        """
        if asked.authorization_header is not None:
            return self.seal(asked.authorization_header, stream.id)
        is_kept = "authorization_header" not in asked.model_fields_set and asked.endpoint_url == stream.endpoint_url
        return stream.authorization if is_kept else ""


def _is_same(told: Any, ours: Any) -> bool:  # noqa: ANN401 - JSON
    """Compare what is told with ours, lists in any order; one value and a list of it are the same audience."""
    both = [[str(each) for each in (found if isinstance(found, list) else [found])] for found in (told, ours)]
    return sorted(both[0]) == sorted(both[1])
