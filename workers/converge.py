"""One person: fold, decide, find, plan, apply, confirm, settle.

Level-triggered: the job does not replay an instruction, it makes every target agree with what is now known of the
person. So a repeat, a late arrival, a crash in the middle and five events in a row all end in the same state with the
fewest requests.
"""

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog
from rq.timeouts import JobTimeoutException

from lifecycle.errors import GatepostError, Held, Postponed
from lifecycle.event import Kind, State
from lifecycle.log import fault
from lifecycle.people import Kept, LeaseLost, Settlement
from lifecycle.person import Account, Person
from workers.fold import Folded, fold
from workers.outcome import Place, Result, World
from workers.policy import Ignored, Wanted, decide
from workers.scim.client import Conversation
from workers.settle import attempts, settle, still_open, waits
from workers.targets.base import Agreement, Task

ROUNDS_MAX = 10
# With the longest request after it, an attempt still ends before RQ's limit for a job.
ATTEMPT_SECONDS_MAX = 20.0
RETRY_BASE_SECONDS, RETRY_CAP_SECONDS = 1.0, 300.0
DOUBLINGS_MAX = 16
NO_ACCOUNT = "no_account"
# About a day of waits of two and a half minutes on average; a fault of our own is not hoped away that long.
TRIES_MAX, INTERNAL_TRIES_MAX = 500, 5

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
        other = people.namesake(key)
        if other is not None and people.hand_over(key, token, lane, other.key):
            return
        for _ in range(ROUNDS_MAX):
            if not attempt(world, key, token):
                return
        people.look_again(key, lane, datetime.now(UTC))
    except LeaseLost:
        # What was found is for a later attempt to find again; its events are still in the mailbox.
        people.look_again(key, lane, people.lease_ends_at(key))
        log.warning("person.lease_lost", lane=lane)
    finally:
        people.free(key, token)


def attempt(world: World, key: str, token: str) -> bool:
    """Make one attempt and settle it; return whether there is more to read. Raises LeaseLost."""
    people = world.people
    people.renew(key, token)
    mailbox = people.mailbox(key)
    if not mailbox:
        return not people.free(key, token, only_if_empty=True)
    folded = fold(people.get(key), [kept.event for kept in mailbox], datetime.now(UTC))
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


def backoff(tries: int) -> timedelta:
    """Return the wait before the next attempt: exponential with full jitter, from a second to five minutes."""
    longest = min(RETRY_CAP_SECONDS, RETRY_BASE_SECONDS * 2 ** min(tries, DOUBLINGS_MAX))
    return timedelta(seconds=random.uniform(0, longest))  # noqa: S311 - jitter, not a secret


def _agree_everywhere(
    world: World, folded: Folded, mailbox: Sequence[Kept], may_send: Callable[[], None], now: datetime
) -> list[Result]:
    """Bring each target to agree that is due; a slow target keeps nobody from the others."""
    counting = {event.ref for event in folded.counting}
    live = [kept for kept in mailbox if kept.event.ref in counting]
    tries = {name: [attempts(kept, name) for kept in live] for name in world.places if _due(live, name, now)}

    def one(name: str) -> Result:
        return _agree(world, folded.person, world.places[name], tries[name], Conversation(may_send))

    if len(tries) <= 1:
        return [one(name) for name in tries]
    with ThreadPoolExecutor(len(tries)) as pool:
        return list(pool.map(one, tries))


def _due(live: Sequence[Kept], name: str, now: datetime) -> bool:
    """Tell whether a target is to be asked: not while it wants to be left alone, unless somebody leaves."""
    waiting = any(waits(kept, name, now) for kept in live)
    leaving = any(kept.event.kind is Kind.LEAVER and name not in kept.deliveries for kept in live)
    return any(still_open(kept, name) for kept in live) and (leaving or not waiting)


def _agree(world: World, person: Person, place: Place, tried: Sequence[int], talk: Conversation) -> Result:
    """Make one attempt on one target; every error but a lost lease becomes an outcome here."""
    # The newest event decides how long there is hope; one that was tried before may have written.
    tries, cautious = min(tried), max(tried) > 0
    policy = world.config.policy
    account = person.accounts.get(place.name)
    try:
        wanted = decide(person, policy, place.mapping, account)
        if isinstance(wanted, Ignored):
            return Result(place.name, State.IGNORED, Agreement(), talk, wanted.reason)
        task = task_of(world, place, wanted, account, talk, cautious=cautious)
        return _result(place.name, place.adapter.agree(task), talk, tries)
    except LeaseLost:
        raise
    except JobTimeoutException:
        slow = Postponed("the target took longer than a job may", reason="slow")
        return _troubled(place.name, Agreement(), talk, slow, tries)
    except GatepostError as error:
        return _troubled(place.name, Agreement(), talk, error, tries)
    except Exception as error:  # noqa: BLE001 - a fault of ours must neither lose the event nor kill the lane
        log.error("target.fault", target=place.name, **fault(error))  # noqa: TRY400 - its text may hold what is personal
        ours = Postponed(f"a fault of ours: {type(error).__name__}", reason="internal")
        return _troubled(place.name, Agreement(), talk, ours, tries)


def task_of(
    world: World, place: Place, wanted: Wanted, account: Account | None, talk: Conversation, *, cautious: bool
) -> Task:
    """Return everything that one attempt on one target needs."""
    policy = world.config.policy
    return Task(
        wanted=wanted,
        account=account,
        cautious=cautious,
        protected=frozenset(name.lower() for name in policy.protected),
        managed=policy.groups,
        managed_roles=policy.roles,
        conflicts=place.section.conflicts,
        can=place.capabilities(),
        client=place.client,
        groups=place.groups,
        talk=talk,
        owner_of=partial(world.people.owner_of, place.name),
    )


def _result(name: str, agreement: Agreement, talk: Conversation, tries: int) -> Result:
    if agreement.ignored:
        return Result(name, State.IGNORED, agreement, talk, agreement.ignored)
    if agreement.trouble:
        return _troubled(name, agreement, talk, agreement.trouble, tries)
    state = State.APPLIED if agreement.change else State.UNCHANGED
    return Result(name, state, agreement, talk, NO_ACCOUNT if agreement.note else None, agreement.note)


def _troubled(name: str, agreement: Agreement, talk: Conversation, error: GatepostError, tries: int) -> Result:
    if isinstance(error, Held):
        return Result(name, State.HELD, agreement, talk, error.reason, error.message)
    tries_max = INTERNAL_TRIES_MAX if error.reason == "internal" else TRIES_MAX
    if isinstance(error, Postponed) and tries + 1 < tries_max:
        retry_at = error.retry_at or datetime.now(UTC) + backoff(tries)
        return Result(name, State.POSTPONED, agreement, talk, error.reason, error.message, retry_at)
    return Result(name, State.FAILED, agreement, talk, error.reason, error.message)


def _log(settlement: Settlement) -> None:
    event = settlement.kept.event
    log.info(
        "event.settled",
        event_id=event.id,
        source=event.source,
        kind=event.kind.value,
        state=settlement.state.value,
        reason=settlement.reason,
        requests=sum(delivery.requests for delivery in settlement.deliveries.values()),
    )
