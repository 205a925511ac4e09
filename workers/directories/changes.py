"""What a directory is made of that can tell what changed: it is asked again and again, each time from where it came to.

It fills the gaps of notices. What it tells is a reason to look a person up and no more; nobody acts on it alone.

A position is JSON. In each stands where it is one (``at``: the adapter and whom it asked), for at another address, or
by another adapter, it leads nowhere, and the moment (``since``) before which all was told.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol, runtime_checkable

from lifecycle.event import Kind
from workers.directories.base import Subject


class Change(NamedTuple):
    """One thing that happened to one person, as the directory tells it."""

    id: str
    """Its own id, the same that its notice bears where there is one; the same again when it is told again."""
    subject: Subject
    word: str
    """What the directory calls it."""
    at: datetime
    """When it happened, or when it was asked where that is not told."""
    hint: Kind | None = None
    """What it may turn out to be: who may have left is looked up before all others."""
    gone: bool = False
    """Whether the directory has them no more: of somebody whom we do not know there is nothing to be done."""


class Changes(NamedTuple):
    """What one step found: at most a page."""

    found: Sequence[Change]
    position: str
    """Where the next step begins. What was found may be told again from before it, and nothing is missing after it."""
    more: bool = False
    """Whether the next step has something to ask at once."""
    lost: str | None = None
    """Why the position was none any more: what happened since then is asked for another way, until nothing is left."""
    note: str | None = None
    """What cannot be told, though the rest can."""
    missed: str | None = None
    """What happened, or may have, since the position was lost and can be asked for no more."""
    partial: bool = False
    """Whether a part of what happened since the position was lost was refused; each round asks for it again."""


class Mark(NamedTuple):
    """What is read of a position."""

    since: datetime | None
    """Before when all was told; None where that cannot be read."""
    told: Mapping[str, Any] | None
    """All that stands there; None where it is the position of another place."""


ELSEWHERE = "the directory is asked by another adapter, or at another address, than before"


def mark_of(position: str, at: str) -> Mark:
    """Read a position."""
    try:
        told = json.loads(position)
        since = datetime.fromisoformat(told["since"]).astimezone(UTC)
    except (ValueError, KeyError, TypeError):
        return Mark(None, None)
    return Mark(since, told if told.get("at") == at else None)


@runtime_checkable
class TellsChanges(Protocol):
    """A directory that can tell what changed."""

    def changes(self, position: str | None, now: datetime) -> Changes:
        """Make one step from a position, or from about now where there is none.

        Raises Postponed where the directory cannot be read now, Refused where it does not allow to be asked.
        """
