"""What subscribers are told of safety limits: once that one holds changes, and each change that was released. Pure."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from lifecycle.event import Event, State
from lifecycle.person import Person
from lifecycle.safety import REASONS
from lifecycle.settlement import RELEASED, Kept, Ruling, is_limited
from lifecycle.signal import Signal, iso, make_signal
from workers.allowance import Excess
from workers.outcome import Result
from workers.signals import head

SAFETY_HELD, SAFETY_RELEASED = "safety.held", "safety.released"


def alarms(
    person: Person, mailbox: Sequence[Kept], results: Sequence[Result], cause: Event | None, now: datetime
) -> Iterator[Signal]:
    """Return the alarms; each may have been told of before."""
    for kept in mailbox:
        if kept.ruling is not None and kept.ruling.verdict == RELEASED:
            yield from _released(person, kept, kept.ruling)
    if cause is None:
        return
    for result in results:
        for excess in result.excesses if result.state is State.HELD else ():
            yield _held(person, cause, excess, now)


def _held(person: Person, cause: Event, excess: Excess, now: datetime) -> Signal:
    """Tell of the first change that a limit holds; all that follow for a while are of the same episode."""
    full, reason = excess.full, REASONS[excess.limit]
    data = head(person, cause, full.scope, reason) | {
        "kind": cause.kind.value,
        "limit": excess.limit,
        "counted": full.counted,
        "allowed": full.most,
        "known": full.known,
        "window_seconds": round(excess.window.total_seconds()),
        "detail": excess.detail,
        "since": iso(datetime.fromtimestamp(int(full.episode) / 1000, UTC)),
        "held_at": iso(now),
    }
    return make_signal(
        SAFETY_HELD,
        person=person.key,
        event=cause.ref,
        target=full.scope or "",
        data=data,
        at=now,
        nonce=full.episode,
        cause=excess.limit,
    )


def _released(person: Person, kept: Kept, ruling: Ruling) -> Iterator[Signal]:
    event = kept.event
    reasons = sorted({str(each.reason) for each in kept.deliveries.values() if is_limited(each)})
    if not reasons:
        return
    at = datetime.fromisoformat(ruling.at)
    data = head(person, event, None, reasons[0]) | {
        "kind": event.kind.value,
        "by": ruling.by,
        "received_at": iso(event.received_at),
        "released_at": iso(at),
    }
    yield make_signal(SAFETY_RELEASED, person=person.key, event=event.ref, target="", data=data, at=at, nonce=ruling.at)
