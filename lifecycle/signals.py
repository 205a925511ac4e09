"""Signals as people read them: what was told, to whom it went, and what came of each attempt."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from redis import Redis

from lifecycle import keys, outbox
from lifecycle.errors import Malformed, Unknown
from lifecycle.pages import Page, moment, page
from lifecycle.signal import ALL_TYPES

STATES = (outbox.WAITING, outbox.DELIVERED, outbox.FAILED, outbox.DROPPED)
CHOICES = {"type": ALL_TYPES, "state": STATES}
"""What a filter can be, where not everything can."""
# Not the body: a list may look at many.
_FILTERED = ("type", "person", *outbox.DELIVERIES)


class Signals:
    """Reads of signals and their deliveries."""

    def __init__(self, redis: Redis) -> None:
        """Keep the connection."""
        self._redis = redis

    def list(self, wanted: Mapping[str, str], *, after: str | None, limit: int) -> Page:
        """List signals, newest first, that fit ``type``, ``person``, ``subscriber`` and ``state`` of a delivery.

        Raises Malformed for a type, state or cursor that is none.
        """
        for name, choices in CHOICES.items():
            if name in wanted and wanted[name] not in choices:
                words = f"no {name} {wanted[name]!r}; there are: {', '.join(choices)}"
                raise Malformed(words, reason=f"{name}_unknown")
        ids, cursor = page(self._redis, keys.SIGNALS, after, limit, lambda name: self._fits(name, wanted))
        return Page([item for name in ids if (item := self._signal(name))], cursor)

    def one(self, signal_id: str) -> dict[str, Any]:
        """Return one signal. Raises Unknown."""
        found = self._signal(signal_id)
        if found is None:
            raise Unknown(f"no signal {signal_id!r}", reason="signal_unknown")
        return found

    def delivery(self, item: str, subscriber: str) -> dict[str, Any]:
        """Return one item's way to one subscriber, with every attempt."""
        return self._deliveries([(item, subscriber)])[0]

    def _fits(self, signal_id: str, wanted: Mapping[str, str]) -> bool:
        if not wanted:
            return True
        found: Any = self._redis.hmget(keys.signal(signal_id), *_FILTERED)
        fields = {name: value.decode() for name, value in zip(_FILTERED, found, strict=True) if value}
        if any(wanted.get(name, fields.get(name)) != fields.get(name) for name in ("type", "person")):
            return False
        ways = outbox.deliveries_of(fields)
        if "subscriber" in wanted:
            ways = [way for way in ways if way[1] == wanted["subscriber"]]
        if "state" in wanted:
            return self._any_is(wanted["state"], ways)
        return bool(ways) or "subscriber" not in wanted

    def _any_is(self, state: str, ways: Sequence[tuple[str, str]]) -> bool:
        with self._redis.pipeline(transaction=False) as pipe:
            for way in ways:
                pipe.hget(keys.delivery(*way), "state")
            return state.encode() in pipe.execute()

    def _signal(self, signal_id: str) -> dict[str, Any] | None:
        found: Any = self._redis.hgetall(keys.signal(signal_id))
        if not found:
            return None
        fields = {name.decode(): value.decode() for name, value in found.items()}
        source, _, event = fields["event"].partition(":")
        return {
            "id": fields["id"],
            "type": fields["type"],
            "source": source,
            "event": event,
            "target": fields["target"],
            "person": fields["person"],
            "made_at": moment(fields["made_at"]),
            "body": json.loads(fields["body"]),
            "deliveries": self._deliveries(outbox.deliveries_of(fields)),
        }

    def _deliveries(self, ways: Sequence[tuple[str, str]]) -> Sequence[dict[str, Any]]:
        with self._redis.pipeline(transaction=False) as pipe:
            for way in ways:
                pipe.hgetall(keys.delivery(*way))
                pipe.lrange(keys.attempts(*way), 0, -1)
            answers = pipe.execute()
        records = zip(ways, answers[::2], answers[1::2], strict=True)
        return [_delivery(way, record, lines) for way, record, lines in records]


def _delivery(way: tuple[str, str], record: Mapping[bytes, bytes], lines: Sequence[bytes]) -> dict[str, Any]:
    item, subscriber = way
    fields = {name.decode(): value.decode() for name, value in record.items()}
    return {
        "item": item,
        "subscriber": subscriber,
        "state": fields.get("state", outbox.WAITING),
        "reason": fields.get("reason") or None,
        "attempts": int(fields.get("attempts", 0)),
        "next_attempt_at": fields.get("next_attempt_at") or None,
        "tried": [json.loads(line) for line in lines],
    }
