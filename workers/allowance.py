"""What one attempt may take away on one target: nothing past a safety limit, and nothing on which a hold stands."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from lifecycle.config import Config
from lifecycle.errors import Held
from lifecycle.fields import UNITS
from lifecycle.person import Hold, Person
from lifecycle.safety import DELETIONS, GROUP_REMOVALS, LEAVERS, REASONS, Limit
from lifecycle.settlement import Kept, is_released, still_open
from lifecycle.windows import Full, Scope, Windows

# Whoever is not to be locked out is not to be deleted either.
ALSO_BY = {LEAVERS: (LEAVERS,), DELETIONS: (LEAVERS, DELETIONS), GROUP_REMOVALS: (GROUP_REMOVALS,)}


class Excess(NamedTuple):
    """A change that did not fit into a window."""

    limit: str
    full: Full
    window: timedelta
    names: frozenset[str]

    @property
    def detail(self) -> str:
        """Say what is full."""
        where = f"on {self.full.scope}" if self.full.scope else "over all targets"
        return f"{self.full.counted} of at most {self.full.most} within {_span(self.window)} {where}"


@dataclass
class Allowance:
    """The ``allow`` of one attempt's task; remembers what it refused."""

    config: Config
    windows: Windows
    person: Person
    target: str
    live: Sequence[Kept]
    excesses: list[Excess] = field(default_factory=list)
    moot: frozenset[str] = frozenset()
    """Limits that stand in nobody's way: there is nothing of the kind to be taken."""
    granted: frozenset[str] = frozenset()
    """The groups and roles that the policy gives."""

    def __call__(self, limit: str, names: Iterable[str] = ()) -> None:
        """Count the person; what was released of this very limit is not counted. Raises Held."""
        asked = frozenset(names)
        here = [kept for kept in self.live if kept.event.concerns(self.target) and still_open(kept, self.target)]
        if any(is_released(kept, self.target, limit) for kept in here):
            return
        # An event that is held leaves the mailbox: one that is here to be tried was asked for again.
        tried = {kept.event.ref for kept in here}
        for kind in ALSO_BY[limit]:
            hold = self.person.held(self.target, kind)
            if hold is not None and hold.event not in tried and _is_about(hold, asked):
                raise Held(f"held with {hold.event}: {hold.detail}", reason=REASONS[kind])
        self._count(limit, asked)

    def _count(self, limit: str, names: frozenset[str]) -> None:
        """Count the person, or keep what was refused; one attempt is refused all or nothing."""
        for place, excess in enumerate(self.excesses):
            if excess.limit == limit:
                self.excesses[place] = excess._replace(names=excess.names | names)
                raise Held(excess.detail, reason=REASONS[limit])
        limits = limits_of(self.config, limit, self.target)
        full = self.windows.ask(limit, self.person.key, limits)
        if full is None:
            return
        excess = Excess(limit, full, limits[full.scope].window, names)
        self.excesses.append(excess)
        raise Held(excess.detail, reason=REASONS[limit])

    def expect(self, *, active: bool | None, granted: frozenset[str]) -> None:
        """Note what the attempt is about: whoever stays is not locked out, and whoever leaves loses all."""
        self.granted = granted
        self.moot = frozenset({GROUP_REMOVALS} if active is False else {LEAVERS, DELETIONS})


def limits_of(config: Config, limit: str, target: str) -> dict[Scope, Limit]:
    """Return the limits of a kind that hold on a target: the one over all, and its own."""
    own = config.targets[target].safety if target in config.targets else None
    found: dict[Scope, Limit | None] = {None: config.safety.limit(limit), target: own.limit(limit) if own else None}
    return {scope: each for scope, each in found.items() if each is not None}


def _is_about(hold: Hold, names: frozenset[str]) -> bool:
    """Tell whether a hold is of any of this; of groups that are wanted again by now it is no more."""
    return not hold.names or not names or not names.isdisjoint(hold.names)


def _span(window: timedelta) -> str:
    seconds = int(window.total_seconds())
    unit = next(unit for unit in ("d", "h", "m", "s") if seconds % UNITS[unit] == 0)
    return f"{seconds // UNITS[unit]}{unit}"
