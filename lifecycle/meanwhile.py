"""What came to pass between an attempt's reading and its end, and is looked at again in the step that settles it.

A human may rule of an event that is still tried elsewhere, and a hold may end of which other events wait. Both are
watched, so that none is lost and none comes twice.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from redis.client import Pipeline

from lifecycle import keys
from lifecycle.event import STUCK_STATES, State
from lifecycle.person import Person
from lifecycle.settlement import KEPT_FIELDS, Kept, Ruling, Settled, Settlement, kept_of


@dataclass(frozen=True)
class Meanwhile:
    """An attempt's results as they hold now."""

    settled: Settled
    revived: Sequence[Kept]
    """Events that were held with a hold that ends in this step: they go back into the mailbox."""
    ruled: bool
    """Whether a human ruled of an event since it was read, which has to be read again."""


def watched(before: Person, settled: Settled) -> list[str]:
    """Return the keys to watch."""
    refs = {*_ended(before, settled), *(each.kept.event.ref for each in settled.settlements if _may_be_ruled(each))}
    return [keys.event(ref) for ref in sorted(refs)]


def look(pipe: Pipeline, before: Person, settled: Settled) -> Meanwhile:
    """Look again, as a part of a step that watches these keys."""
    settlements = [_as_ruled(pipe, each) for each in settled.settlements]
    revived = [kept for ref in _ended(before, settled) if (kept := _stuck(pipe, ref)) is not None]
    now = replace(settled, settlements=settlements)
    return Meanwhile(now, revived, settlements != list(settled.settlements))


def _ended(before: Person, settled: Settled) -> list[str]:
    """Return the events that no hold keeps any more on some target."""
    return sorted({ref for _, ref in before.held_events() - settled.person.held_events()})


def _may_be_ruled(settlement: Settlement) -> bool:
    return any(each.outcome is State.HELD for each in settlement.kept.deliveries.values())


def _as_ruled(pipe: Pipeline, settlement: Settlement) -> Settlement:
    """Keep an event open of which a human ruled since it was read: the ruling is for the next look."""
    if not _may_be_ruled(settlement):
        return settlement
    found: Any = pipe.hget(keys.event(settlement.kept.event.ref), "ruling")
    if (Ruling(*json.loads(found)) if found else None) == settlement.kept.ruling:
        return settlement
    return replace(settlement, state=State.POSTPONED, is_hold=False)


def _stuck(pipe: Pipeline, ref: str) -> Kept | None:
    """Return a held event, unless it is on its way already, or was tried in this very attempt."""
    fields: Any = pipe.hmget(keys.event(ref), *KEPT_FIELDS)
    kept = kept_of(fields) if fields[0] is not None else None
    return kept if kept is not None and kept.state in STUCK_STATES else None
