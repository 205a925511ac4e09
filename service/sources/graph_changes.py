"""A change of a user or a group as Microsoft Graph tells of it: one object, in its own envelope or in Event Grid's.

It is thin: an id, and of a group the ids of the members that came or went. What it means is read in the directory.

https://learn.microsoft.com/en-us/graph/api/resources/changenotification
https://learn.microsoft.com/en-us/azure/event-grid/microsoft-entra-events
"""

import re
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import Field

from lifecycle.errors import Unreadable
from lifecycle.event import Event, Kind
from service.sources.base import Reading, Setup
from service.sources.documents import Part, entry, event_id, in_zone, person_key, profile, source_time

USERS, GROUPS = "users", "groups"
MEMBERS_MAX = 1_000
"""Members of one change of a group. Graph was seen to send a few; what is not told is found by the poll."""

# Users/ID, Groups/ID; a subscription to the members of one group has more. Users/ID/messages is no change of a user.
RESOURCE = re.compile(r"/?(users|groups)(?:/|\(')([^/?#'()]+)(?:'\))?(?:/members)?", re.IGNORECASE)
SUBSCRIPTION = re.compile(r"[0-9A-Za-z-]{1,64}")


class _Member(Part):
    id: str
    type: str = Field("", alias="@odata.type")


class _Data(Part):
    id: str | None = None
    eventTime: datetime | None = None  # noqa: N815 - Graph's spelling
    sequenceNumber: str | None = None  # noqa: N815 - Graph's spelling
    members: list[Any] | None = Field(None, alias="members@delta")


class Change(Part):
    """What Graph says of a change, in either envelope."""

    changeType: str = ""  # noqa: N815 - Graph's spelling
    resource: str = ""
    subscriptionId: str = ""  # noqa: N815 - Graph's spelling
    resourceData: _Data | None = None  # noqa: N815 - Graph's spelling


class Told(NamedTuple):
    """What the envelope says of a change."""

    word: str
    """The vendor's."""
    kind: Kind
    id: str
    """Of the event."""
    at: datetime


def subject(change: Change) -> tuple[str, str] | None:
    """Return what changed, as ``users`` or ``groups`` and an id; None for anything else."""
    found = RESOURCE.fullmatch(change.resource)
    if found is None:
        return None
    told = change.resourceData.id if change.resourceData else None
    return found[1].lower(), told or found[2]


def moment(change: Change, setup: Setup, now: datetime) -> datetime:
    """Return when it changed; Graph does not always say. Raises Unreadable."""
    told = change.resourceData.eventTime if change.resourceData else None
    return source_time(in_zone(told, setup.timezone), now) if told else now


def upkeep(word: str, subscription: str) -> str:
    """Return what a subscription says of itself. Raises Unreadable for an id that may be in no address of Graph."""
    if not SUBSCRIPTION.fullmatch(subscription):
        raise Unreadable("a subscription is named by an id", reason="unreadable")
    return f"{word}:{subscription}"


def of_user(user: str, told: Told, setup: Setup, now: datetime) -> Event:
    """Return the event of one user. Raises Unreadable."""
    found = profile(external_id=user)
    return Event(
        id=event_id(told.id),
        source=setup.name,
        kind=told.kind,
        person=person_key(found),
        profile=found,
        occurred_at=told.at,
        received_at=now,
        vendor_kind=told.word,
    )


def of_group(change: Change, told: Told, setup: Setup, now: datetime) -> Reading:
    """Return an event for each user who came or went, each of whom is looked at; without one it says nothing to us.

    Raises Unreadable.
    """
    users = _users(change)
    if not users:
        return Reading((), (told.word,))
    return Reading(tuple(of_user(user, told._replace(id=f"{told.id}:{user}"), setup, now) for user in users))


def _users(change: Change) -> tuple[str, ...]:
    found = (change.resourceData.members if change.resourceData else None) or []
    if len(found) > MEMBERS_MAX:
        raise Unreadable(f"a change of a group has at most {MEMBERS_MAX} members", reason="too_many_events")
    members = [entry(_Member, each) for each in found]
    # A member may be a group or a device as well; where the type is not told, the directory knows.
    users = (member.id for member in members if not member.type or member.type.lower().endswith(".user"))
    return tuple(dict.fromkeys(users))
