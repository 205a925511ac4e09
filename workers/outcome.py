"""What one attempt came to on one target, and what lives as long as a worker."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from lifecycle.config import Config
from lifecycle.event import State
from lifecycle.people import People
from lifecycle.target import Target as Section
from workers.policy import Mapped
from workers.scim.capabilities import Capabilities
from workers.scim.client import Client, Conversation
from workers.scim.groups import Groups
from workers.targets.base import Agreement, Target


@dataclass(frozen=True)
class Place:
    """A configured target with everything warm that it takes to speak to it."""

    name: str
    section: Section
    adapter: Target
    mapping: Mapped
    client: Client
    groups: Groups
    capabilities: Callable[[], Capabilities]
    """What the target can, as far as it is known now; asks nobody."""


@dataclass(frozen=True)
class World:
    """What lives as long as the worker process."""

    config: Config
    people: People
    places: Mapping[str, Place]


@dataclass(frozen=True)
class Result:
    """What one attempt came to on one target; ``retry_at`` is set when it is postponed."""

    place: str
    state: State
    agreement: Agreement
    talk: Conversation
    reason: str | None = None
    detail: str | None = None
    retry_at: datetime | None = None
