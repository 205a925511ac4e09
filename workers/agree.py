"""One attempt to bring one target to agree, behind its gate; every error but a lost lease becomes an outcome here."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog
from rq.timeouts import JobTimeoutException

from lifecycle.errors import GatepostError, Held, Postponed, Waiting
from lifecycle.event import Event, State
from lifecycle.leases import LeaseLost
from lifecycle.log import fault
from lifecycle.person import Account, Person
from lifecycle.safety import DELETIONS, LEAVERS
from lifecycle.settlement import DROPPED, Kept, Parked, still_open
from workers.allowance import Allowance
from workers.confirmation import next_look
from workers.dropped import is_spared, with_spared
from workers.gate import AT_ONCE, Permit, Rank
from workers.outcome import Place, Result, World
from workers.pauses import TOO_MANY, UNAVAILABLE
from workers.policy import Ignored, Wanted, decide, with_entitlements, with_manager
from workers.scim.answers import SUCCESS
from workers.scim.capabilities import Capabilities
from workers.scim.client import Conversation
from workers.scim.lockout import Unconfirmed
from workers.settle import attempts
from workers.task import Agreement, Task

RETRY_BASE_SECONDS, RETRY_CAP_SECONDS = 1.0, 300.0
DOUBLINGS_MAX = 16
NO_ACCOUNT = "no_account"
# About a day of waits of two and a half minutes on average; a fault of our own is not hoped away that long.
TRIES_MAX, FEW_TRIES_MAX = 500, 5
# Whoever told first of a person may have told less than comes in a moment.
FEW_TRIES = AT_ONCE | {"internal", "user_name_missing", "not_in_directory"}
# A target that answers an attempt and is too busy for its end each time means this person, and all others pause for it.
BUSY_TRIES_MAX = 50
# Look, write; a suspension is confirmed too.
REQUESTS, LEAVER_REQUESTS = 2, 3

log = structlog.get_logger()


def agree(world: World, person: Person, place: Place, live: Sequence[Kept], may_send: Callable[[], None]) -> Result:
    """Make one attempt on one target. Raises LeaseLost."""
    permit = place.gate.permit(person.key)

    def may() -> None:
        may_send()
        permit.use()

    talk = Conversation(may, heard=permit.heard, can=place.capabilities())
    allowance = Allowance(world.config, world.windows, person, place.name, live)
    agreement, error = Agreement(), None
    try:
        agreement = _attempt(world, person, place, permit, talk, allowance)
        error = agreement.trouble
    except LeaseLost:
        permit.close(verdict="nothing")
        raise
    except Unconfirmed as found:
        # The account itself does not agree yet; what it had, and that its sessions ended, is known all the same.
        agreement, error = Agreement(found.account), found
    except JobTimeoutException:
        error = Postponed("the target took longer than a job may", reason="slow")
    except GatepostError as found:
        error = found
    except Exception as found:  # noqa: BLE001 - a fault of ours must neither lose the event nor kill the lane
        log.error("target.fault", target=place.name, **fault(found))  # noqa: TRY400 - its text may hold what is personal
        error = Postponed(f"a fault of ours: {type(found).__name__}", reason="internal")
    # Trouble of a group alone is none of the target.
    permit.close(None if error is agreement.trouble else error)
    meant = permit.outcome(error) if error else None
    result = _concluded(place, agreement, talk, meant, permit.rank, live)
    return replace(result, excesses=tuple(allowance.excesses), moot=allowance.moot, granted=allowance.granted)


def backoff(tries: int) -> timedelta:
    """Return the wait before the next attempt: exponential with full jitter, from a second to five minutes."""
    longest = min(RETRY_CAP_SECONDS, RETRY_BASE_SECONDS * 2 ** min(tries, DOUBLINGS_MAX))
    return timedelta(seconds=random.uniform(0, longest))  # noqa: S311 - jitter, not a secret


def task_of(  # noqa: PLR0913 - the parts of a task
    world: World,
    place: Place,
    person: Person,
    wanted: Wanted,
    talk: Conversation,
    *,
    cautious: bool,
    deletes: bool = False,
) -> Task:
    """Return everything that one attempt on one target needs."""
    policy = world.config.policy
    return Task(
        person=person.key,
        wanted=with_manager(wanted, partial(world.links.account_of, place.name)),
        ids=person.external_ids(),
        account=person.accounts.get(place.name),
        cautious=cautious,
        protected=frozenset(name.lower() for name in policy.protected),
        managed=policy.groups,
        managed_roles=policy.roles,
        conflicts=place.section.rules,
        can=place.capabilities(),
        client=place.client,
        groups=place.groups,
        talk=talk,
        believes_nobody=partial(place.proof.holds, talk),
        owner_of=partial(world.people.owner_of, place.name),
        deletes=deletes,
    )


def requests_of(
    wanted: Wanted, account: Account | None, can: Capabilities, *, cautious: bool, deletes: bool = False
) -> int:
    """Return how many requests an attempt will most likely make; what is not used is given back."""
    known = set(account.groups) if account else set()
    if deletes and account is not None and account.active is False:
        return REQUESTS
    if wanted.active is False:
        return LEAVER_REQUESTS + len(known - wanted.groups) + can.revoke_sessions + cautious + deletes
    return REQUESTS + len(known ^ wanted.groups) + cautious


def _attempt(
    world: World, person: Person, place: Place, permit: Permit, talk: Conversation, allowance: Allowance
) -> Agreement:
    live = allowance.live
    account = person.accounts.get(place.name)
    wanted = decide(person, world.config.policy, place.mapping, account)
    if isinstance(wanted, Ignored):
        return Agreement(ignored=wanted.reason)
    if wanted.active is False and account is None and place.name in person.deleted:
        # Whoever has the name there by now is somebody else.
        return Agreement(note="the account was deleted")
    mine = [kept.event for kept in live if still_open(kept, place.name)]
    if wanted.active is False and is_spared(person, place.name, LEAVERS, mine):
        return Agreement(ignored=DROPPED)
    allowance.expect(active=wanted.active, granted=wanted.groups | wanted.roles)
    wanted = with_spared(wanted, person, place.name, account)
    if any(event.restores for event in mine):
        wanted = with_entitlements(wanted, person.had(place.name))
    # One that was tried before may have written.
    cautious = any(attempts(kept, place.name) for kept in live)
    deletes = person.has_left and (place.section.leaver == "delete" or any(event.about for event in mine))
    deletes = deletes and not is_spared(person, place.name, DELETIONS, mine)
    permit.rank = _rank(wanted, mine)
    permit.wish = requests_of(wanted, account, talk.can, cautious=cautious, deletes=deletes)
    task = task_of(world, place, person, wanted, talk, cautious=cautious, deletes=deletes)
    return place.adapter.agree(replace(task, allow=allowance))


def _rank(wanted: Wanted, mine: Sequence[Event]) -> Rank:
    """Return the place in the line: whoever shall be locked out comes first, whatever event said so.

    A deletion that comes later is of somebody who is out.
    """
    is_leaver = wanted.active is False and not all(event.about for event in mine)
    return Rank(is_leaver, min(event.begins_at for event in mine))


def _concluded(
    place: Place,
    agreement: Agreement,
    talk: Conversation,
    error: GatepostError | None,
    rank: Rank,
    live: Sequence[Kept],
) -> Result:
    if isinstance(error, Unconfirmed):
        return _unconfirmed(place, agreement, talk, error, live)
    # The newest event decides how long there is hope.
    tries = min(attempts(kept, place.name) for kept in live)
    return _result(place.name, agreement, talk, error, rank, tries)


def _result(
    name: str, agreement: Agreement, talk: Conversation, error: GatepostError | None, rank: Rank, tries: int
) -> Result:
    if agreement.ignored:
        return Result(name, State.IGNORED, agreement, talk, agreement.ignored)
    if error:
        return _troubled(name, agreement, talk, error, rank, tries)
    state = State.APPLIED if agreement.change or agreement.deleted_at else State.UNCHANGED
    return Result(name, state, agreement, talk, NO_ACCOUNT if agreement.note else None, agreement.note)


def _unconfirmed(
    place: Place, agreement: Agreement, talk: Conversation, error: Unconfirmed, live: Sequence[Kept]
) -> Result:
    """Let it be looked again whether a leaver is out, until the target had its time for it."""
    look = next_look(live, place.name, place.section.confirm_within, datetime.now(UTC))
    if look is None:
        return Result(place.name, State.FAILED, agreement, talk, error.reason, error.message)
    return Result(
        place.name,
        State.POSTPONED,
        agreement,
        talk,
        error.reason,
        error.message,
        look.at,
        confirm_by=look.confirm_by,
    )


def _troubled(
    name: str, agreement: Agreement, talk: Conversation, error: GatepostError, rank: Rank, tries: int
) -> Result:
    if isinstance(error, Held):
        return Result(name, State.HELD, agreement, talk, error.reason, error.message)
    if not isinstance(error, Postponed) or not _is_hope(error, talk, tries):
        return Result(name, State.FAILED, agreement, talk, error.reason, error.message)
    if isinstance(error, Waiting):
        parked = Parked(name, rank.score, error.need)
        return Result(name, State.POSTPONED, agreement, talk, error.reason, error.message, parked=parked)
    retry_at = error.retry_at or datetime.now(UTC) + backoff(tries)
    return Result(name, State.POSTPONED, agreement, talk, error.reason, error.message, retry_at)


def _is_hope(error: Postponed, talk: Conversation, tries: int) -> bool:
    """Tell whether it is tried again; whoever waits for its turn has not tried in vain."""
    if isinstance(error, Waiting) and not _is_own_pause(error, talk):
        return True
    return tries + 1 < _tries_max(error, talk)


def _is_own_pause(error: Waiting, talk: Conversation) -> bool:
    return error.reason == "paused" and bool(talk.exchanges) and talk.exchanges[-1].status in {TOO_MANY, UNAVAILABLE}


def _tries_max(error: Postponed, talk: Conversation) -> int:
    if error.reason in FEW_TRIES:
        return FEW_TRIES_MAX
    worked = any(each.status in SUCCESS for each in talk.exchanges)
    return BUSY_TRIES_MAX if isinstance(error, Waiting) and worked else TRIES_MAX
