"""One person: fold, decide, find, plan, apply, confirm, settle.

Level-triggered: the job does not replay an instruction, it makes every target agree with what is now known of the
person. So a repeat, a late arrival, a crash in the middle and five events in a row all end in the same state with the
fewest requests.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import structlog

from lifecycle.errors import Postponed
from lifecycle.event import Kind
from lifecycle.leases import LeaseLost
from lifecycle.person import Person
from lifecycle.settlement import Kept, Settlement, is_overruled, still_open
from workers.agree import agree
from workers.fold import Folded, fold
from workers.kinship import twin, united
from workers.outcome import Place, Result, World
from workers.settle import settle, waits
from workers.told import with_told

ROUNDS_MAX = 10
# With the longest request after it, an attempt still ends before RQ's limit for a job.
ATTEMPT_SECONDS_MAX = 20.0

log = structlog.get_logger()


def converge(world: World, key: str, lane: str) -> None:
    """Work on one person until the mailbox holds nothing unread; somebody else's lease is waited for by a later job."""
    people = world.people
    token = people.take(key)
    if token is None:
        # The holder drains the mailbox before it lets go; this later look is for a holder that dies meanwhile.
        people.look_again(key, lane, people.lease_ends_at(key))
        return
    try:
        if _is_anothers(world, key, token, lane):
            return
        for _ in range(ROUNDS_MAX):
            if not attempt(world, key, token, lane):
                return
        people.look_again(key, lane, datetime.now(UTC))
    except LeaseLost:
        # What was found is for a later attempt to find again; its events are still in the mailbox.
        people.look_again(key, lane, people.lease_ends_at(key))
        log.warning("person.lease_lost", lane=lane)
    finally:
        people.free(key, token)


def _is_anothers(world: World, key: str, token: str, lane: str) -> bool:
    """Hand over what is about somebody whom we know by another key; return whether nothing is left to do here."""
    links = world.links
    if other := links.linked(key):
        _leave_lines(world, key)
        return links.hand_over(key, token, lane, other, joiners=True)
    if owner := _owner(world, key):
        return links.hand_over(key, token, lane, owner, joiners=True)
    namesake = links.namesake(key)
    return namesake is not None and links.hand_over(key, token, lane, namesake.key, joiners=False)


def _owner(world: World, key: str) -> str | None:
    """Return whose account this key is, where it is a target that tells of somebody by the account's id."""
    reporters: dict[str, set[str]] = {}
    for name, source in world.config.sources.items():
        if source.target:
            reporters.setdefault(source.target, set()).add(name)
    for target, sources in reporters.items():
        owner = world.people.owner_of(target, key)
        if owner not in {None, key} and {kept.event.source for kept in world.people.mailbox(key)} <= sources:
            return owner
    return None


def _join(world: World, key: str, token: str, lane: str, other: Person) -> None:
    """Make one person of two that are one human, under the leases of both; later, while the other is worked on."""
    people, links = world.people, world.links
    other_token = people.take(other.key)
    if other_token is None:
        links.look_again(key, lane, other.key)
        return
    try:
        merged = united(world.config, people.get(key), people.get(other.key))
        links.merge(key, token, lane, other_token, merged)
        log.info("person.linked", lane=lane)
    finally:
        people.free(other.key, other_token)


def _leave_lines(world: World, key: str) -> None:
    for name in world.people.leave_lines(key, world.places):
        world.places[name].gate.give_up(key)


def attempt(world: World, key: str, token: str, lane: str) -> bool:
    """Make one attempt and settle it; return whether there is more to read. Raises LeaseLost."""
    people = world.people
    people.renew(key, token)
    mailbox = people.mailbox(key)
    folded = fold(world.config, with_told(people.get(key)), mailbox, datetime.now(UTC))
    if (other := twin(world.config, world.links, folded.person)) is not None:
        _join(world, key, token, lane, other)
        return False
    if not mailbox:
        _leave_lines(world, key)
        return not people.free(key, token, only_if_empty=True)
    deadline = time.monotonic() + ATTEMPT_SECONDS_MAX

    def may_send() -> None:
        if time.monotonic() > deadline:
            raise Postponed("the target is too slow for one attempt", reason="slow")
        people.renew(key, token)

    results = _agree_everywhere(world, folded, mailbox, may_send, datetime.now(UTC))
    settled = settle(world.config, folded, mailbox, results, datetime.now(UTC))
    more = people.settle(token, settled)
    for settlement in settled.settlements:
        _log(settlement)
    return more


def _agree_everywhere(
    world: World, folded: Folded, mailbox: Sequence[Kept], may_send: Callable[[], None], now: datetime
) -> list[Result]:
    """Bring each target to agree that is due; a slow target keeps nobody from the others."""
    counting = {event.ref for event in folded.counting}
    live = [kept for kept in mailbox if kept.event.ref in counting]
    by_target = {name: [kept for kept in live if kept.event.concerns(name)] for name in world.places}
    due = [place for name, place in world.places.items() if _due(by_target[name], name, now)]

    def one(place: Place) -> Result:
        return agree(world, folded.person, place, by_target[place.name], may_send)

    if len(due) <= 1:
        return [one(place) for place in due]
    with ThreadPoolExecutor(len(due)) as pool:
        return list(pool.map(one, due))


def _due(live: Sequence[Kept], name: str, now: datetime) -> bool:
    """Tell whether a target is to be asked: not while it wants to be left alone, but for who leaves or is released."""
    waiting = any(waits(kept, name, now) for kept in live)
    leaving = any(
        is_overruled(kept, name)
        or (kept.event.kind is Kind.LEAVER and not kept.event.about and name not in kept.deliveries)
        for kept in live
    )
    return any(still_open(kept, name) for kept in live) and (leaving or not waiting)


def _log(settlement: Settlement) -> None:
    event = settlement.kept.event
    log.info(
        "event.settled",
        event_id=event.id,
        source=event.source,
        kind=settlement.kept.kind.value,
        state=settlement.state.value,
        reason=settlement.reason,
        requests=sum(delivery.requests for delivery in settlement.deliveries.values()),
    )
