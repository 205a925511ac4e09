"""What a human dropped stays undone: it is not done later on the ground of what was known then. Pure.

The facts of a dropped event stay, so the person's next event would do what was dropped. It does not, until what is
wanted is another thing by itself: the person is to have again what was to be taken, or a leaver says that they left.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from lifecycle.config import Config
from lifecycle.event import Event, Kind, State
from lifecycle.person import Account, Hold, Person
from lifecycle.safety import DELETIONS, GROUP_REMOVALS, LEAVERS
from lifecycle.settlement import Kept
from workers.outcome import Result
from workers.policy import Wanted

# After these the person has lost what was dropped once, by a newer word.
DONE = frozenset({State.APPLIED, State.UNCHANGED})


def is_spared(person: Person, target: str, limit: str, live: Iterable[Event]) -> bool:
    """Tell whether this is not to be done to the person, for a human dropped it and no leaver came since.

    Of what is held a human has still to rule.
    """
    is_dropped = any((each.target, each.limit) == (target, limit) for each in person.dropped)
    leaves = any(event.kind is Kind.LEAVER for event in live)
    return is_dropped and not leaves and person.held(target, limit) is None


def with_spared(wanted: Wanted, person: Person, target: str, account: Account | None) -> Wanted:
    """Return what is wanted with the groups and roles whose removal a human dropped, as far as there are any."""
    names = {name for each in _removals(person.dropped, target) for name in each.names}
    if account is None or wanted.active is False or not names:
        return wanted
    return replace(
        wanted, groups=wanted.groups | (names & account.groups.keys()), roles=wanted.roles | (names & {*account.roles})
    )


def dropped_after(
    config: Config, person: Person, mailbox: Sequence[Kept], results: Sequence[Result]
) -> tuple[Hold, ...]:
    """Return what stays dropped after an attempt; a leave that was taken back left no fact to be minded."""
    by_target = {result.place: result for result in results}
    moot = set() if person.has_left else {kept.event.ref for kept in mailbox if kept.event.kind is Kind.LEAVER}
    return tuple(
        left
        for each in person.dropped
        if each.target in config.targets
        and each.event not in moot
        and (left := _left(each, by_target.get(each.target))) is not None
    )


def _left(dropped: Hold, result: Result | None) -> Hold | None:
    """Return what is left of a drop; None where nothing is."""
    if result is None:
        return dropped
    is_done = dropped.limit == LEAVERS and result.state in DONE
    is_gone = dropped.limit == DELETIONS and result.agreement.deleted_at is not None
    if dropped.limit in result.moot or is_done or is_gone:
        return None
    if dropped.limit != GROUP_REMOVALS:
        return dropped
    names = tuple(name for name in dropped.names if name not in result.granted)
    return dropped.model_copy(update={"names": names}) if names else None


def _removals(dropped: Iterable[Hold], target: str) -> Iterable[Hold]:
    return (each for each in dropped if (each.target, each.limit) == (target, GROUP_REMOVALS))
