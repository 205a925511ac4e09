"""What one attempt came to on one target, and what lives as long as a worker."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from lifecycle.config import Config
from lifecycle.event import State
from lifecycle.links import Links
from lifecycle.people import People
from lifecycle.settlement import Parked
from lifecycle.target import Target as Section
from lifecycle.windows import Windows
from workers.allowance import Excess
from workers.directories.base import Directory
from workers.gate import Gate
from workers.policy import Mapped
from workers.scim.capabilities import Capabilities
from workers.scim.client import Client, Conversation
from workers.scim.discovery import Discovery
from workers.scim.groups import Groups
from workers.scim.proof import Proof
from workers.targets.base import Target
from workers.task import Agreement


@dataclass(frozen=True)
class Place:
    """A configured target with everything warm that it takes to speak to it."""

    name: str
    section: Section
    adapter: Target
    mapping: Mapped
    client: Client
    groups: Groups
    gate: Gate
    capabilities: Callable[[], Capabilities]
    """What the target can, as far as it is known now; asks nobody."""
    discovery: Discovery
    """Asks the target what it can, once an hour for the whole fleet."""
    proof: Proof

    @contextmanager
    def aside(self) -> Iterator[Conversation]:
        """Speak to the target for nobody in particular: within its limit, and after whoever waits."""
        permit = self.gate.permit()
        try:
            yield Conversation(permit.use, heard=permit.heard, can=self.capabilities())
        finally:
            permit.close(verdict="nothing")


@dataclass(frozen=True)
class World:
    """What lives as long as the worker process."""

    config: Config
    people: People
    places: Mapping[str, Place]
    directories: Mapping[str, Directory] = field(default_factory=dict)

    @cached_property
    def links(self) -> Links:
        """Return the ways from keys to persons."""
        return Links(self.people)

    @cached_property
    def windows(self) -> Windows:
        """Return the windows of the safety limits."""
        return Windows(self.people.redis)


@dataclass(frozen=True)
class Result:
    """What one attempt came to on one target; ``retry_at`` or ``parked`` is set when it is postponed.

    ``confirm_by`` is until when a suspension may still be confirmed that the target does not show.
    """

    place: str
    state: State
    agreement: Agreement
    talk: Conversation
    reason: str | None = None
    detail: str | None = None
    retry_at: datetime | None = None
    parked: Parked | None = None
    confirm_by: datetime | None = None
    excesses: Sequence[Excess] = ()
    """What was not taken away, for safety's sake."""
    known_at: datetime | None = None
    """When the account was settled before."""
    moot: frozenset[str] = frozenset()
    """The safety limits of which the attempt had nothing to ask."""
    granted: frozenset[str] = frozenset()
    """The groups and roles that the policy gives."""
