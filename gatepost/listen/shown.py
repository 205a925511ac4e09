"""What is shown of each delivery: a line for people, or a JSON object a line."""

import json
import sys
from collections import OrderedDict
from datetime import datetime
from typing import NamedTuple

from gatepost.listen.base import Heard
from lifecycle.errors import GatepostError
from lifecycle.signal import iso

SEEN_MAX = 10_000
"""Ids that are remembered, to tell a repeat."""
WORD_CHARS_MAX = 100
UNKNOWN = "-"


class Delivery(NamedTuple):
    """One delivery, and what came of it."""

    at: datetime
    format: str
    known_by: str
    claimed: str
    """The id that it claims; whoever sent it may claim anything."""
    answered: int
    heard: Heard | None = None
    seen: int = 0
    """How often one with its id came, this one included."""
    fault: GatepostError | None = None


class Repeats:
    """Counts what came, by its id; a forged one is never counted."""

    def __init__(self, number_max: int = SEEN_MAX) -> None:
        """Have seen nothing."""
        self._seen: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._number_max = number_max

    def count(self, kind: str, message_id: str) -> int:
        """Return how often this id came, this time included; the longest unseen is forgotten first."""
        number = self._seen.pop((kind, message_id), 0) + 1
        self._seen[kind, message_id] = number
        if len(self._seen) > self._number_max:
            self._seen.popitem(last=False)
        return number


def show(delivery: Delivery, *, as_json: bool) -> None:
    """Write one line at once: whoever reads it may be a program."""
    print(_json(delivery) if as_json else _line(delivery), flush=True)


def say(text: str) -> None:
    """Say something that is of no delivery, where it is in no program's way."""
    print(text, file=sys.stderr, flush=True)


def _json(delivery: Delivery) -> str:
    shown: dict[str, object] = {
        "at": iso(delivery.at),
        "verified": delivery.heard is not None,
        "format": delivery.format,
        "answered": delivery.answered,
    }
    if delivery.heard is not None:
        *facts, proof, said = delivery.heard
        named = dict(zip(("id", "type", "person", "target"), facts, strict=True))
        return json.dumps(shown | named | {"seen": delivery.seen, "proof": proof, "body": said})
    fault = {"reason": delivery.fault.reason, "detail": delivery.fault.message} if delivery.fault else {}
    return json.dumps(shown | {"id": delivery.claimed} | fault)


def _line(delivery: Delivery) -> str:
    at = delivery.at.astimezone().strftime("%H:%M:%S")
    if delivery.heard is None:
        fault = f"{delivery.fault.reason}: {delivery.fault.message}" if delivery.fault else ""
        return (
            f"{at}  NOT VERIFIED  {_word(delivery.claimed)}  {_word(fault, len(fault))}  answered {delivery.answered}"
        )
    heard = delivery.heard
    facts = (f"{_word(heard.type):20}", f"{_word(heard.person):8}", f"{_word(heard.target):8}", _word(heard.id))
    words = [f"verified by {_word(heard.proof)}", f"answered {delivery.answered}"]
    if delivery.seen > 1:
        words.append(f"a repeat: {delivery.known_by} came {delivery.seen} times")
    return f"{at}  {'  '.join(facts)}  {', '.join(words)}"


def _word(text: str, chars_max: int = WORD_CHARS_MAX) -> str:
    """Return what somebody sent so that it cannot move about on a terminal."""
    shown = "".join(each if each.isprintable() else "?" for each in text[:chars_max])
    return shown or UNKNOWN
