"""What changed in a tenant of Microsoft Entra ID, by Graph's delta queries of users and of the members of groups.

The first time only a token is asked for (``$deltatoken=latest``) and nobody is told. Then each round follows its link,
page by page, to the link of the next round. A link that is asked again tells the same again, so a round that was cut
off is made anew; one event more for the same change does no harm. Who is removed is ``@removed``: ``changed`` in the
recycle bin, ``deleted`` for good. Changes appear with some delay, in minutes. Only what ``$select`` names is tracked;
``accountEnabled`` and ``department`` are not among what Graph would choose by itself. Of a group that is deleted Graph
does not tell who was in it.

A token lives seven days, and Graph may end it sooner: 410, or 400 for one that it cannot read. Then nobody knows what
changed meanwhile, so everybody is told once, and who was deleted of late from the recycle bin, which keeps 30 days.

Permissions: ``User.Read.All`` and ``GroupMember.Read.All``; without the latter members of groups are not watched, and
each round asks whether it was given.

https://learn.microsoft.com/graph/delta-query-overview
https://learn.microsoft.com/graph/delta-query-users
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from lifecycle.errors import Postponed, Refused
from lifecycle.event import EVENT_ID_CHARS_MAX, Kind
from workers.directories.answers import objects, read
from workers.directories.api import Api
from workers.directories.base import Subject
from workers.directories.changes import Change, Changes

USERS, GROUPS, DELETED = "users", "groups", "deleted"
START = {
    USERS: "/users/delta?$select=",
    GROUPS: "/groups/delta?$select=id,members",
    DELETED: "/directory/deletedItems/microsoft.graph.user?$select=id",
}
LATEST = "&$deltatoken=latest"
NEXT, DELTA = "@odata.nextLink", "@odata.deltaLink"
MEMBERS, REMOVED, TYPE = "members@delta", "@removed", "@odata.type"
USER_TYPE = "#microsoft.graph.user"
UPDATED, GONE_WORD, MEMBERSHIP = "delta.updated", "delta.removed", "delta.members"

BAD_REQUEST, FORBIDDEN, NOT_FOUND, GONE = 400, 403, 404, 410
LOST = frozenset({BAD_REQUEST, NOT_FOUND, GONE})
NOTES = {
    GROUPS: "members of groups are not watched: that takes the permission GroupMember.Read.All",
    DELETED: "who was deleted meanwhile cannot be asked for: that takes the permission User.Read.All",
}


class Place(NamedTuple):
    """Up to where one list was read."""

    link: str
    quiet: bool = False
    """Whether nobody is told, for only the way from now on is looked for."""

    @property
    def is_first(self) -> bool:
        """Tell whether it is a link of ours, which Graph cannot have forgotten."""
        return self.link.startswith("/")


Places = dict[str, Place]


class Tracked(NamedTuple):
    """What is followed."""

    fields: Sequence[str]
    """Of a user, besides the id: those that a look reads."""
    groups: bool = True
    """Whether members of groups are."""

    def first(self, name: str) -> str:
        """Return where a list begins."""
        return START[name] + (",".join(dict.fromkeys(("id", *self.fields))) if name == USERS else "")

    def lists(self) -> list[str]:
        """Return the lists of a round."""
        return [USERS, GROUPS] if self.groups else [USERS]


def changes(api: Api, position: str | None, now: datetime, tracked: Tracked) -> Changes:
    """Make one step: one page of one list. Raises Postponed or Refused."""
    told: dict[str, Any] = json.loads(position) if position else {"queue": [], "places": {}, "of": None}
    if told["of"] not in {None, tracked.first(USERS)}:
        return _anew("other attributes are read than before", tracked)
    queue = told["queue"] or tracked.lists()
    places = {name: Place(*place) for name, place in told["places"].items()}
    name = queue[0]
    place = places.get(name) or Place(tracked.first(name) + LATEST, quiet=True)
    answer = api.talk().get(place.link, allow={FORBIDDEN} if place.is_first else LOST | {FORBIDDEN})
    if answer.status in LOST:
        return _anew(f"Graph does not know any more up to where we were ({answer.status})", tracked)
    if answer.status == FORBIDDEN:
        if name not in NOTES:
            raise Refused(f"{answer.status}: users cannot be read", reason="credentials")
        places.pop(name, None)
        return Changes((), _position(places, queue[1:], tracked), more=len(queue) > 1, note=NOTES[name])
    page = read(answer)
    found = () if place.quiet else tuple(_told(name, place.link, objects(page.get("value")), now))
    queue = queue if page.get(NEXT) else queue[1:]
    return Changes(found, _position(_moved(places, name, page, place), queue, tracked), more=bool(queue))


def _moved(places: Places, name: str, page: Mapping[str, Any], place: Place) -> Places:
    """Return where the lists are after a page. Raises Postponed where it leads nowhere: the list would begin anew."""
    following, done = page.get(NEXT), page.get(DELTA)
    left = {other: each for other, each in places.items() if other != name}
    if following:
        return left | {name: Place(str(following), place.quiet)}
    if done:
        return left | {name: Place(str(done))}
    if name != DELETED:
        raise Postponed(f"Graph gives no link to follow the changes of {name}", reason="broken")
    return left


def _anew(why: str, tracked: Tracked) -> Changes:
    """Tell everybody once, and before it who was deleted; what changes meanwhile is told by the links of then."""
    places = {name: Place(tracked.first(name)) for name in (USERS, DELETED)}
    # Members are in what is read of each user, so of groups only the way from now on is looked for, and first.
    queue = [*(name for name in tracked.lists() if name == GROUPS), DELETED, USERS]
    return Changes((), _position(places, queue, tracked), more=True, lost=f"{why}: everybody is looked up once")


def _position(places: Places, queue: Sequence[str], tracked: Tracked) -> str:
    return json.dumps({"queue": list(queue), "of": tracked.first(USERS), "places": places})


def _told(name: str, link: str, found: Sequence[Mapping[str, Any]], now: datetime) -> Iterator[Change]:
    """Yield whom a page is about."""
    for each in found:
        if name == GROUPS:
            for member in _members(each):
                yield from _change(link, member, MEMBERSHIP, None, now)
        elif name == DELETED or REMOVED in each:
            yield from _change(link, each, GONE_WORD, Kind.LEAVER, now)
        else:
            hint = Kind.LEAVER if each.get("accountEnabled") is False else None
            yield from _change(link, each, UPDATED, hint, now)


def _members(group: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the users among the members that came or went."""
    members = group.get(MEMBERS)
    for each in members if isinstance(members, list) else ():
        if isinstance(each, dict) and each.get(TYPE, USER_TYPE) == USER_TYPE:
            yield each


def _change(link: str, who: Mapping[str, Any], word: str, hint: Kind | None, now: datetime) -> Iterator[Change]:
    """Yield the change of somebody who has an id.

    Graph names no change: its moment does. What is told again later may be another change, back to what was before.
    """
    found = who.get("id")
    if isinstance(found, str) and 0 < len(found) <= EVENT_ID_CHARS_MAX:
        parts = (link, word, found, str(now.timestamp()))
        name = f"delta-{hashlib.sha256('|'.join(parts).encode()).hexdigest()}"
        yield Change(name, Subject(found), word, now, hint, gone=word == GONE_WORD)
