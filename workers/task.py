"""One attempt to make one target agree: all that it needs, and what it came to."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from lifecycle.errors import GatepostError, Held, Postponed
from lifecycle.person import Account, Entitlements
from lifecycle.target import Rule
from workers.policy import Wanted
from workers.scim.capabilities import Capabilities
from workers.scim.client import Client, Conversation
from workers.scim.groups import Groups


class Allow(Protocol):
    """Leave to take something away."""

    def __call__(self, limit: str, names: Iterable[str] = (), /) -> None:
        """Ask by the name of the safety limit, with the groups or roles. Raises Held past the limit."""


@dataclass(frozen=True)
class Task:
    """Everything that one attempt to agree needs."""

    person: str
    """The person's key."""
    wanted: Wanted
    ids: frozenset[str]
    """Every id that a source has for the person: the account may bear any of them."""
    account: Account | None
    """The account as last settled; None for a first meeting."""
    cautious: bool
    """An earlier attempt may have written: look by every key before anything is created."""
    protected: frozenset[str]
    managed: frozenset[str]
    """Every group that the policy names: others are never touched."""
    managed_roles: frozenset[str]
    """Every role that the policy names, likewise."""
    conflicts: Mapping[str, Rule]
    """What holds where source and target differ, by path; source_wins where nothing is said."""
    can: Capabilities
    client: Client
    groups: Groups
    talk: Conversation
    believes_nobody: Callable[[], bool]
    """Whether a look-up that finds nobody is to be believed; may ask the target."""
    owner_of: Callable[[str], str | None]
    """Whose an account is by its id, as far as we settled it; None for nobody's."""
    allow: Allow = lambda _limit, _names=(): None
    """Asked before a change that takes something away."""
    deletes: bool = False
    """Whether the account of somebody who left is deleted once it is out."""


def worse(first: GatepostError | None, second: GatepostError | None) -> GatepostError | None:
    """Return the trouble to tell: first what time can mend, for that is tried; then what a human has to rule of."""
    if first is None or second is None:
        return first or second
    return first if isinstance(first, Postponed) or _rank(first) > _rank(second) else second


def _rank(error: GatepostError) -> int:
    return 2 * isinstance(error, Postponed) + isinstance(error, Held)


@dataclass
class Agreement:
    """What the target shows now. ``trouble`` came after the account itself agreed; what was done still counts."""

    account: Account | None = None
    change: str | None = None
    """The signal that tells of it: provisioned, updated, suspended or restored; None when nothing changed."""
    before: Entitlements | None = None
    """What a leaver's account had before its suspension."""
    note: str | None = None
    ignored: str | None = None
    groups_added: list[str] = field(default_factory=list)
    groups_removed: list[str] = field(default_factory=list)
    groups_before: list[str] = field(default_factory=list)
    roles_added: list[str] = field(default_factory=list)
    roles_removed: list[str] = field(default_factory=list)
    roles_before: list[str] = field(default_factory=list)
    sessions_revoked: bool = False
    attributes: list[str] = field(default_factory=list)
    """The SCIM names of what was written of the account."""
    values: Any = field(default=None, repr=False)
    """What that is now: of a new account all of it, else the operations of a PATCH; None where not all was taken."""
    suspended_at: datetime | None = None
    """When the target took the suspension, if this attempt asked for it."""
    deleted_at: datetime | None = None
    """When it was clear that the account is no more; it has a signal of its own."""
    applied_at: datetime | None = None
    confirmed_at: datetime | None = None
    trouble: GatepostError | None = None
