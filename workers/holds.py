"""What is held of a person after an attempt, and what a drop takes back. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from lifecycle.config import Config
from lifecycle.event import STUCK_STATES, Event, State
from lifecycle.person import Hold
from lifecycle.safety import OVERRULED
from lifecycle.settlement import HOLD_ENDED, Settlement, is_limited, still_open
from workers.fold import Folded
from workers.outcome import Result

# After these nothing is left that a hold could stand in the way of.
AGREED = frozenset({State.APPLIED, State.UNCHANGED, State.IGNORED})


def holds_after(
    config: Config,
    folded: Folded,
    settlements: Sequence[Settlement],
    results: Sequence[Result],
    cause: Event | None,
    now: datetime,
) -> tuple[Hold, ...]:
    """Return what is held: what was and still is wanted, and what an attempt was refused."""
    live = {event.ref for event in folded.counting}
    mailbox = [each.kept for each in settlements]
    by_target = {result.place: result for result in results}
    found = {}
    for hold in folded.person.holds:
        result = by_target.get(hold.target)
        if hold.target in config.targets and (result is None or _stands(hold, result)):
            found[hold.target, hold.limit] = hold
    for result in results:
        held = [
            each.event
            for each in mailbox
            if each.event.ref in live and each.event.concerns(result.place) and still_open(each, result.place)
        ]
        for hold in _met(found, result, held, cause, now):
            refs = {*hold.others, *(event.ref for event in held)} - {hold.event}
            found[hold.target, hold.limit] = hold.model_copy(update={"others": tuple(sorted(refs))})
    return tuple(named for _, hold in sorted(found.items()) if (named := _named(hold, settlements, cause)))


def revived(settlement: Settlement, holds: Iterable[Hold]) -> Settlement:
    """Return an event as it is to be tried again where no hold holds it any more; unchanged where there is no such."""
    ref = settlement.kept.event.ref
    held_on = {hold.target for hold in holds if ref in {hold.event, *hold.others}}
    free = {
        name: replace(each, outcome=State.POSTPONED, reason=HOLD_ENDED)
        for name, each in settlement.deliveries.items()
        if _waits(settlement, name) and name not in held_on
    }
    if not free:
        return settlement
    deliveries = {**settlement.deliveries, **free}
    return replace(settlement, state=State.POSTPONED, deliveries=deliveries, reason=HOLD_ENDED, detail=None)


def is_hold(settlement: Settlement, holds: Iterable[Hold]) -> bool:
    """Tell whether a human has to rule of an event: it has a hold of its own, or could be about somebody else.

    What is only tried again, and not ruled of, is tried again by itself while it is open elsewhere.
    """
    if settlement.state is State.HELD and not settlement.deliveries:
        # Before any target was asked: a directory has another one of this name.
        return True
    is_stuck = settlement.state in STUCK_STATES
    has_own = settlement.kept.event.ref in {hold.event for hold in holds}
    if not is_stuck and settlement.state is not State.POSTPONED:
        return False
    return any(
        has_own if is_limited(each) else is_stuck and each.outcome is State.HELD
        for each in settlement.deliveries.values()
    )


def _named(hold: Hold, settlements: Sequence[Settlement], cause: Event | None) -> Hold | None:
    """Return a hold by the name of an event of which a human can rule; None where there is none.

    The one that named it may be outranked by now, or be tried again. Then one that met the hold in this attempt names
    it; else it ends, and what was held with it is tried again.
    """
    here = {each.kept.event.ref: each for each in settlements}
    waiting = {ref for ref, each in here.items() if _waits(each, hold.target)}
    others = {ref for ref in hold.others if ref in waiting or ref not in here}
    if hold.event in waiting or hold.event not in here:
        return hold.model_copy(update={"others": tuple(sorted(others))})
    first = _first([here[ref].kept.event for ref in others & waiting], cause)
    if first is None:
        return None
    return hold.model_copy(update={"event": first.ref, "others": tuple(sorted(others - {first.ref}))})


def _waits(settlement: Settlement, target: str) -> bool:
    """Tell whether a safety limit holds this on a target, so that a human can rule of it."""
    delivery = settlement.deliveries.get(target)
    is_open = settlement.state in STUCK_STATES or settlement.state is State.POSTPONED
    return is_open and delivery is not None and is_limited(delivery)


def _stands(hold: Hold, result: Result) -> bool:
    return result.state not in AGREED and hold.limit not in result.moot


def _met(
    found: Mapping[tuple[str, str], Hold], result: Result, held: Sequence[Event], cause: Event | None, now: datetime
) -> Iterator[Hold]:
    """Return the holds that an attempt met, new ones with what was refused."""
    first = _first(held, cause)
    if result.state is not State.HELD or result.reason not in OVERRULED or first is None:
        return
    refused = {excess.limit for excess in result.excesses}
    yield from [hold for (target, limit), hold in found.items() if target == result.place and limit not in refused]
    for excess in result.excesses:
        before = found.get((result.place, excess.limit))
        # Whoever asked again for what is held has the same hold as before; else that one is moot.
        is_same = before is not None and before.event in {event.ref for event in held}
        yield Hold(
            target=result.place,
            limit=excess.limit,
            scope=excess.full.scope,
            event=before.event if before and is_same else first.ref,
            others=before.others if before and is_same else (),
            since=now,
            detail=excess.detail,
            names=tuple(sorted(excess.names)),
        )


def _first(held: Sequence[Event], cause: Event | None) -> Event | None:
    """Return the event by whose name a hold is known: the one that decides, else the newest that is held."""
    if cause is not None and cause.ref in {event.ref for event in held}:
        return cause
    return max(held, key=lambda event: (event.occurred_at, event.ref), default=None)
