"""What changed in a tenant of Microsoft Entra ID, by Graph's delta queries of users and of the members of groups.

The first time only a token is asked for (``$deltatoken=latest``) and nobody is told. Then each round follows its link,
page by page, to the link of the next round. A link that is asked again tells the same again, so a round that was cut
off is made anew; one event more for the same change does no harm. Who is removed is ``@removed``: ``changed`` in the
recycle bin, ``deleted`` for good. Changes appear with some delay, in minutes. Only what ``$select`` names is tracked;
``accountEnabled`` and ``department`` are not among what Graph would choose by itself. Of a group that is deleted Graph
does not tell who was in it.

A token lives seven days, and Graph may end it sooner: 410, or 400 for one that it cannot read. Then nobody knows what
changed meanwhile, so everybody is told once, and who was deleted of late from the recycle bin, which keeps 30 days.
Where the bin may not be read each round asks for it again, and until it is read we are blind.

These queries wait for the limit that all who ask this tenant share, and what they use up keeps nobody else waiting.

Permissions: ``User.Read.All`` and ``GroupMember.Read.All``; without the latter members of groups are not watched, and
each round asks whether it was given.

https://learn.microsoft.com/graph/delta-query-overview
https://learn.microsoft.com/graph/delta-query-users
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from lifecycle.errors import Postponed, Refused
from lifecycle.event import EVENT_ID_CHARS_MAX, Kind
from workers.directories.answers import BAD_REQUEST, FORBIDDEN, GONE, NOT_FOUND, objects, read
from workers.directories.api import Api, Page
from workers.directories.base import Subject
from workers.directories.changes import ELSEWHERE, Change, Changes, mark_of
from workers.http import Answer

DELTAS = "delta"
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

# The recycle bin keeps people for 30 days.
BIN = timedelta(days=29)
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


class Round(NamedTuple):
    """How far a round has come."""

    at: str
    """Whom it asks."""
    since: str
    """Before when all was told."""
    of: str = ""
    """What the link of users was made for."""
    refused: Sequence[str] = ()
    """The lists that it was not allowed to read."""
    queue: Sequence[str] = ()
    """The lists that are left."""
    places: Places = {}  # noqa: RUF012 - never written to

    def text(self) -> str:
        """Write it as a position."""
        return json.dumps(self._asdict())

    def after(self, name: str, page: Mapping[str, Any], place: Place) -> "Round":
        """Return it after a page of a list. Raises Postponed."""
        queue = self.queue if page.get(NEXT) else self.queue[1:]
        return self._replace(queue=queue, places=_moved(self.places, name, page, place))

    def without(self, name: str, tracked: Tracked) -> "Round":
        """Return it after a list that may not be read; the recycle bin is asked for again, from its beginning."""
        left = {other: each for other, each in self.places.items() if other != name}
        left |= {DELETED: Place(tracked.first(DELETED))} if name == DELETED else {}
        return self._replace(queue=self.queue[1:], places=left, refused=[*self.refused, name])


def changes(api: Api, position: str | None, now: datetime, tracked: Tracked) -> Changes:
    """Make one step: one page of one list. Raises Postponed or Refused."""
    new = Round(f"entra {api.origin}", now.isoformat(), tracked.first(USERS))
    mark = mark_of(position, new.at) if position else None
    if mark and mark.since:
        new = new._replace(since=mark.since.isoformat())
    if mark and mark.told is None:
        return _anew(ELSEWHERE, new, tracked)
    at = _round(mark.told, tracked) if mark and mark.told else new._replace(queue=tracked.lists())
    if at.of != new.of:
        return _anew("other attributes are read than before", new, tracked)
    return _step(api.apart(DELTAS, yields=True), at, now, tracked)


def _round(told: Mapping[str, Any], tracked: Tracked) -> Round:
    """Return the round of a position, or, where that one is done, the next."""
    found = Round(**{name: told[name] for name in Round._fields if name in told})
    found = found._replace(places={name: Place(*place) for name, place in found.places.items()})
    if found.queue:
        return found
    return found._replace(queue=[*tracked.lists(), *(name for name in found.places if name == DELETED)], refused=[])


def _step(api: Api, at: Round, now: datetime, tracked: Tracked) -> Changes:
    name = at.queue[0]
    place = at.places.get(name) or Place(tracked.first(name) + LATEST, quiet=True)
    answer = api.talk().get(place.link, allow={FORBIDDEN} if place.is_first else LOST | {FORBIDDEN})
    if answer.status in LOST:
        return _anew(f"Graph does not know any more up to where we were ({answer.status})", at, tracked)
    if answer.status == FORBIDDEN:
        if name not in NOTES:
            raise Refused(f"{answer.status}: users cannot be read", reason="credentials")
        return _after(at.without(name, tracked), now)
    page = read(answer)
    found = () if place.quiet else tuple(_told(name, place.link, objects(page.get("value")), now))
    missed = _missed(at.since, now) if name == DELETED and place.is_first else None
    return _after(at.after(name, page, place), now)._replace(found=found, missed=missed)


def _after(at: Round, now: datetime) -> Changes:
    """Return what a step comes to."""
    is_partial = DELETED in at.refused
    if not at.queue and not is_partial:
        at = at._replace(since=now.isoformat())
    note = "; ".join(NOTES[name] for name in at.refused) or None
    return Changes((), at.text(), more=bool(at.queue), note=note, partial=is_partial)


def _missed(since: str, now: datetime) -> str | None:
    """Return what the recycle bin does not tell any more."""
    first, last = datetime.fromisoformat(since), now - BIN
    if first >= last:
        return None
    return f"who was deleted from {first:%Y-%m-%d} to {last:%Y-%m-%d}: the recycle bin keeps nobody for longer"


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


def _anew(why: str, at: Round, tracked: Tracked) -> Changes:
    """Tell everybody once, and before it who was deleted; what changes meanwhile is told by the links of then."""
    places = {name: Place(tracked.first(name)) for name in (USERS, DELETED)}
    # Members are in what is read of each user, so of groups only the way from now on is looked for, and first.
    queue = [*(name for name in tracked.lists() if name == GROUPS), DELETED, USERS]
    at = at._replace(of=tracked.first(USERS), refused=[], queue=queue, places=places)
    return Changes((), at.text(), more=True, lost=f"{why}: everybody is looked up once")


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


def next_page(answer: Answer) -> Page | None:
    """Return where Graph says that the next page of a list is."""
    found = read(answer)
    link = found.get(NEXT) if isinstance(found, dict) else None
    return Page(link) if isinstance(link, str) else None
