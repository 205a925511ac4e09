"""What a target module is made of.

**Add a target:** write ``workers/targets/NAME.py`` with ``ATTRIBUTES`` (the mapping where none is configured),
``PROFILE`` (what such a target can), ``REQUESTS_PER_MINUTE`` and ``agree``; add one line to ``TARGETS`` and
conversations as ``tests/workers/targets/fixtures/NAME/CASE.json``. The contract test then runs for it: applied twice it
writes once, and every fault becomes the right error.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from lifecycle.errors import GatepostError
from lifecycle.person import Account
from lifecycle.target import Profile, Rule
from workers.policy import Wanted
from workers.scim.capabilities import Capabilities
from workers.scim.client import Client, Conversation
from workers.scim.groups import Groups


@dataclass(frozen=True)
class Task:
    """Everything that one attempt to agree needs."""

    wanted: Wanted
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
    owner_of: Callable[[str], str | None]
    """Whose an account is by its id, as far as we settled it; None for nobody's."""


@dataclass
class Agreement:
    """What the target shows now. ``trouble`` came after the account itself agreed; what was done still counts."""

    account: Account | None = None
    change: str | None = None
    """The signal that tells of it: provisioned, updated, suspended or restored; None when nothing changed."""
    note: str | None = None
    ignored: str | None = None
    groups_added: list[str] = field(default_factory=list)
    groups_removed: list[str] = field(default_factory=list)
    groups_before: list[str] = field(default_factory=list)
    roles_removed: list[str] = field(default_factory=list)
    roles_before: list[str] = field(default_factory=list)
    sessions_revoked: bool = False
    applied_at: datetime | None = None
    confirmed_at: datetime | None = None
    trouble: GatepostError | None = None


class Target(Protocol):
    """The names that a target module has."""

    @property
    def ATTRIBUTES(self) -> Mapping[str, str]:  # noqa: N802 - a constant of the module
        """The mapping where the configuration has none: SCIM path to CEL."""

    @property
    def PROFILE(self) -> Profile:  # noqa: N802 - a constant of the module
        """What a target of this kind can, before it is asked."""

    @property
    def REQUESTS_PER_MINUTE(self) -> int | None:  # noqa: N802 - a constant of the module
        """The documented limit of one credential; None where there is none."""

    def agree(self, task: Task) -> Agreement:
        """Make the target show what is wanted, with the fewest requests.

        Raises Postponed, Held or Refused where the account itself could not be brought to agree.
        """
