"""From the results of an attempt to all that it changes. Pure; ``lifecycle.people`` makes it true in one step."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from lifecycle.config import Config
from lifecycle.event import Event, Kind, State
from lifecycle.person import Person
from lifecycle.queue import LANE_OF_KIND, LEAVERS, PEOPLE, lanes_of
from lifecycle.settlement import Delivery, Kept, Settled, Settlement, Step, still_open
from lifecycle.signal import Signal, iso
from workers.accounts import forgotten, with_accounts
from workers.alarms import alarms
from workers.deletions import with_deletions
from workers.dropped import dropped_after
from workers.fold import Folded
from workers.gate import WHY
from workers.holds import holds_after, is_hold, revived
from workers.outcome import Result
from workers.scim.client import Exchange
from workers.signals import given_up, signals_for

# The worst outcome of an event's targets is its own: what is still to come, then what needs a person, then what was
# done.
WORST_FIRST = (State.POSTPONED, State.FAILED, State.HELD, State.APPLIED, State.UNCHANGED, State.IGNORED)

# The reasons of whoever waits in line before a gate.
SHUT = frozenset(WHY)

CLOCKS_APART_MAX = timedelta(minutes=1)


def attempts(kept: Kept, target: str) -> int:
    """Return how often this event was tried on a target."""
    return kept.deliveries[target].attempts if target in kept.deliveries else 0


def waits(kept: Kept, target: str, now: datetime) -> bool:
    """Tell whether this event's next attempt on a target lies ahead; the look for it is scheduled already."""
    delivery = kept.deliveries.get(target)
    return bool(delivery and delivery.retry_at and datetime.fromisoformat(delivery.retry_at) > now)


def settle(
    config: Config, folded: Folded, mailbox: Sequence[Kept], results: Sequence[Result], now: datetime
) -> Settled:
    """Return what one attempt changes: the person, where each event stands, signals, and later looks."""
    cause = _cause(folded)
    found = [_settlement(config, kept, folded, results, cause, now) for kept in mailbox]
    holds = holds_after(config, folded, found, results, cause, now)
    settlements = [revived(each, holds) for each in found]
    known = with_accounts(folded.person, results).model_copy(
        update={"holds": holds, "dropped": dropped_after(config, folded.person, mailbox, results)}
    )
    person, made = with_deletions(config, known, folded.over, now)
    return Settled(
        person=person,
        settlements=[replace(each, is_hold=is_hold(each, holds)) for each in settlements],
        signals=[
            # A release comes before what it let through.
            *alarms(person, mailbox, results, cause, now),
            *_signals(folded, person, mailbox, cause, results, now, config=config),
        ],
        again=[*_at_once(found, settlements, now), *_again(settlements, folded.scheduled, now)],
        requests=[
            (result.place, each.method, str(each.status or "none"))
            for result in results
            for each in result.talk.exchanges
        ],
        revoked=_revoked(cause, folded, results),
        parked=[result.parked for result in results if result.parked],
        unparked=_unparked(mailbox, results),
        made=made,
        forgotten=forgotten(results),
        links=bool(config.policy.link_by),
    )


def _signals(  # noqa: PLR0913 - the parts of an attempt
    folded: Folded,
    person: Person,
    mailbox: Sequence[Kept],
    cause: Event | None,
    results: Sequence[Result],
    now: datetime,
    *,
    config: Config,
) -> list[Signal]:
    deletions = {event.about: event for event in folded.counting if event.about}
    found: list[Signal] = []
    if cause:
        found = signals_for(
            person,
            cause,
            results,
            now,
            deletions,
            folded.person,
            values=config.tells_values,
            targets=config.targets,
        )
    for kept in mailbox:
        left_out = folded.left_out.get(kept.event.ref)
        if left_out is not None and left_out.state is State.FAILED:
            found.append(given_up(person, kept.event, left_out, now))
    return found


def _cause(folded: Folded) -> Event | None:
    """Return the event that decides: the one that set the status, else the newest."""
    status = folded.person.status
    for event in folded.counting:
        if status and event.ref == status.event:
            return event
    return max(folded.counting, key=lambda event: (event.occurred_at, event.ref), default=None)


def _settlement(
    config: Config, kept: Kept, folded: Folded, results: Sequence[Result], cause: Event | None, now: datetime
) -> Settlement:
    ref = kept.event.ref
    if ref in folded.superseded:
        step = Step(now, "fold", {"superseded_by": folded.superseded[ref]})
        detail = f"outranked by {folded.superseded[ref]}"
        due_at = folded.dated.get(ref)
        return Settlement(kept, State.SUPERSEDED, kept.deliveries, (step,), "superseded", detail, due_at)
    if (left_out := folded.left_out.get(ref)) is not None:
        step = Step(now, "fold", {"left_out": left_out.reason})
        return Settlement(kept, left_out.state, kept.deliveries, (step,), left_out.reason, left_out.detail)
    if (moment := folded.scheduled.get(ref)) is not None:
        return Settlement(kept, State.SCHEDULED, kept.deliveries, _moved(kept, moment, now), due_at=moment)
    return replace(_delivered(config, kept, results, cause, now), due_at=folded.dated.get(ref))


def _moved(kept: Kept, moment: datetime, now: datetime) -> tuple[Step, ...]:
    """Return the step that tells when an event takes effect; none where that was told before."""
    if kept.due_at == moment:
        return ()
    before = {"before": iso(kept.due_at)} if kept.due_at else {}
    return (Step(now, "fold", {"scheduled_for": iso(moment)} | before),)


def _delivered(config: Config, kept: Kept, results: Sequence[Result], cause: Event | None, now: datetime) -> Settlement:
    is_cause = cause is not None and cause.ref == kept.event.ref
    mine = [result for result in results if kept.event.concerns(result.place) and still_open(kept, result.place)]
    deliveries = {
        name: delivery if name in config.targets or not still_open(kept, name) else _of_no_target(delivery)
        for name, delivery in kept.deliveries.items()
    }
    for result in mine:
        deliveries[result.place] = _delivery(kept, result, is_cause=is_cause)
    for name in filter(kept.event.concerns, config.targets.keys() - deliveries.keys()):
        deliveries[name] = Delivery(State.POSTPONED, reason="waiting")
    outcomes = {delivery.outcome for delivery in deliveries.values()}
    state = next((state for state in WORST_FIRST if state in outcomes), State.IGNORED)
    worst = next((result for result in mine if result.state is state), None)
    steps = [
        Step(
            now,
            "fold",
            {"person": kept.event.person} | ({} if is_cause else {"with": cause.ref if cause else None}),
        )
    ]
    for result in mine:
        steps += _steps(result, now) if is_cause else [_outcome_step(result, now)]
    reason = (
        worst.reason if worst else next((each.reason for each in deliveries.values() if each.outcome is state), None)
    )
    reason = reason if deliveries else "no_target"
    return Settlement(kept, state, deliveries, tuple(steps), reason, worst.detail if worst else None)


def _delivery(kept: Kept, result: Result, *, is_cause: bool) -> Delivery:
    before = kept.deliveries.get(result.place, Delivery(State.KEPT))
    requests = before.requests + (len(result.talk.exchanges) if is_cause else 0)
    retry_at = iso(result.retry_at) if result.retry_at else None
    tried = before.attempts + _tried(before, result)
    confirm_by = iso(result.confirm_by) if result.confirm_by else before.confirm_by
    return Delivery(result.state, requests, tried, result.reason, retry_at, confirm_by)


def _tried(before: Delivery, result: Result) -> int:
    """Return 1 for an attempt. Whoever was turned away at the gate has tried nothing, and a probe is one for all.

    So are all looks whether a suspension is shown by now.
    """
    if result.parked and (not result.talk.exchanges or result.reason == "circuit"):
        return int(bool(result.talk.exchanges) and before.attempts == 0)
    return int(before.attempts == 0) if result.confirm_by else 1


def _unparked(mailbox: Sequence[Kept], results: Sequence[Result]) -> list[str]:
    """Return the targets that the person waited for and waits for no longer, whatever ended the wait."""
    waited = {
        name
        for kept in mailbox
        for name, delivery in kept.deliveries.items()
        if delivery.outcome is State.POSTPONED and delivery.reason in SHUT
    }
    going_on = {result.place for result in results if result.parked}
    return sorted(waited - going_on)


def _of_no_target(delivery: Delivery) -> Delivery:
    """Fail what waits for a target that the configuration no longer has: nobody would try it again."""
    return replace(delivery, outcome=State.FAILED, reason="target_unknown", retry_at=None)


def _steps(result: Result, now: datetime) -> list[Step]:
    requests = [_request_step(result.place, exchange) for exchange in result.talk.exchanges]
    return [*requests, _outcome_step(result, now)]


def _request_step(target: str, exchange: Exchange) -> Step:
    fields = exchange._asdict()
    if not exchange.correlation:
        del fields["correlation"]
    return Step(fields.pop("at"), "request", {"target": target, **fields})


def _outcome_step(result: Result, now: datetime) -> Step:
    agreement = result.agreement
    detail: dict[str, Any] = {
        "target": result.place,
        "outcome": result.state.value,
        "reason": result.reason,
        "detail": result.detail,
        "change": agreement.change,
        "account": agreement.account.id if agreement.account else None,
        "groups_added": agreement.groups_added,
        "groups_removed": agreement.groups_removed,
        "deleted": agreement.deleted_at is not None or None,
        "confirmed_inactive": agreement.confirmed_at is not None or None,
        "retry_at": str(result.retry_at) if result.retry_at else None,
    }
    return Step(now, "settle", {name: value for name, value in detail.items() if value})


def _at_once(
    found: Sequence[Settlement], settlements: Sequence[Settlement], now: datetime
) -> list[tuple[str, datetime]]:
    """Return the looks at what was held with a hold that ends in this attempt."""
    pairs = zip(found, settlements, strict=True)
    return [(LANE_OF_KIND[after.kept.event.kind], now) for before, after in pairs if after is not before]


def _again(
    settlements: Sequence[Settlement], scheduled: Mapping[str, datetime], now: datetime
) -> list[tuple[str, datetime]]:
    """Return the later looks at this person: when a target may be asked again, and when an event falls due."""
    looks: list[tuple[str, datetime | None]] = [
        (lanes_of([each.kept.event.kind]), moment)
        for each in settlements
        if (moment := scheduled.get(each.kept.event.ref))
        and (each.kept.due_at != moment or moment - now < CLOCKS_APART_MAX)
    ]
    before = _looks((each.kept.event, each.kept.deliveries) for each in settlements)
    after = _looks((each.kept.event, each.deliveries) for each in settlements if each.state is State.POSTPONED)
    for lane, moment in after.items():
        if before.get(lane) != moment:
            looks.append((lane, moment))
        elif moment - now < CLOCKS_APART_MAX:
            # By a clock that is behind, this was that look; by this one, it comes as much later.
            looks.append((lane, moment + max(moment - now, timedelta())))
    return [(lane, moment) for lane, moment in looks if moment]


def _looks(standings: Iterable[tuple[Event, Mapping[str, Delivery]]]) -> dict[str, datetime]:
    """Return when a person is looked at next, by lane: at the first moment that a target named for an event there.

    A look is at all that is due, so nobody is looked at among others where leavers come as early.
    """
    found: dict[str, datetime] = {}
    for event, deliveries in standings:
        lane = LANE_OF_KIND[event.kind]
        for delivery in deliveries.values():
            if delivery.outcome is State.POSTPONED and delivery.retry_at:
                moment = datetime.fromisoformat(delivery.retry_at)
                found[lane] = min(moment, found.get(lane, moment))
    if LEAVERS in found and found.get(PEOPLE, found[LEAVERS]) >= found[LEAVERS]:
        found.pop(PEOPLE, None)
    return found


def _revoked(cause: Event | None, folded: Folded, results: Sequence[Result]) -> list[tuple[str, float]]:
    """Return how long it took to lock out a leaver, from the receipt on, or from the date that it was told of."""
    if cause is None or cause.kind is not Kind.LEAVER:
        return []
    since = max(cause.received_at, folded.dated.get(cause.ref, cause.received_at))
    return [
        (result.place, (result.agreement.confirmed_at - since).total_seconds())
        for result in results
        if result.agreement.change == "suspended" and result.agreement.confirmed_at
    ]
