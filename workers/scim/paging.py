"""Read a list to its end, page by page, by what comes and not by what was asked.

By index (RFC 7644 section 3.4.2.4): servers give fewer than were asked for, repeat a page, leave ``Resources`` out,
tell no total. By cursor (RFC 9865): first an empty cursor, then the same again with ``nextCursor``; some begin it
unasked, some that announce it answer by index all the same. Whoever is on no page may be the very person, so what
cannot be read to its end is refused and never taken for all.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from lifecycle.errors import Postponed, Refused
from workers.http import Answer
from workers.scim import filters
from workers.scim.answers import document, failure, parse, scim_type

# A target that cannot filter is read whole, this far: a look-up is not worth more of its requests.
PAGES_MAX = 50
# A cursor that is lost twice is lost to something that writes faster than we read.
RESTARTS_MAX = 1
OK = 200
ANSWERS = frozenset({OK, 400, 501})
CURSOR_LOST = frozenset({"invalidCursor", "expiredCursor"})
PAGE_TOO_LARGE = frozenset({"invalidCount", "tooMany"})

Resource = dict[str, Any]
Query = dict[str, str]
Fetch = Callable[[Query], Answer]


@dataclass(frozen=True)
class Listing:
    """What is asked, the same for every page."""

    only: str | None = None
    attributes: Sequence[str] = ()
    page_size: int = 100
    by_cursor: bool = False


class Position(NamedTuple):
    """Where the next page begins: the cursor, or else as many as were received."""

    cursor: str | None
    received: int = 0


@dataclass
class Reading:
    """What has come so far."""

    listing: Listing
    position: Position
    found: dict[str, Resource] = field(default_factory=dict)
    cursors: set[str] = field(default_factory=set)
    restarts: int = 0

    def query(self) -> Query:
        """Return what to ask next."""
        listing, position = self.listing, self.position
        query = (
            {"cursor": position.cursor} if position.cursor is not None else {"startIndex": str(position.received + 1)}
        )
        query["count"] = str(listing.page_size)
        query |= {"filter": listing.only} if listing.only else {}
        return query | ({"attributes": ",".join(listing.attributes)} if listing.attributes else {})

    def take(self, answer: Answer) -> bool:
        """Take a page and return whether there is more. Raises Refused where the rest is never told."""
        body, page, known = document(answer), resources(answer), len(self.found)
        self.found |= {_identity(hit): hit for hit in page}
        repeated, total = len(self.found) == known, _total(answer)
        complete = total is not None and len(self.found) >= total
        following = body.get("nextCursor")
        if isinstance(following, str) and following:
            return self._follow(following, complete=complete)
        by_index = "startIndex" in body or (total is not None and not complete)
        if self.position.cursor or (self.position.cursor == "" and not by_index):
            return False  # the last page by cursor has none that follows; its total may be an estimate
        self.position = Position(None, self.position.received + len(page))
        if complete or not page or (repeated and total is None):
            return False
        if repeated:
            raise self.endless()
        return True

    def endless(self) -> Refused:
        """Return the error that a list which does not come to its end is."""
        text = f"more than {len(self.found)} to look through, and the target does not list them to the end"
        return Refused(text, reason="filter_unsupported")

    def _follow(self, cursor: str, *, complete: bool) -> bool:
        if cursor in self.cursors:
            if complete:
                return False
            raise self.endless()
        self.cursors.add(cursor)
        self.position = Position(cursor)
        return True

    def refused(self, answer: Answer) -> None:
        """Ask in another way after a refusal. Raises Refused or Postponed where there is none."""
        keyword, position = scim_type(answer), self.position
        if position.cursor and keyword in CURSOR_LOST:
            if self.restarts == RESTARTS_MAX:
                raise Postponed("the target lost its cursor twice", reason="conflict")
            self.restarts += 1
            self._restart()
        elif keyword in PAGE_TOO_LARGE and self.listing.page_size > 1:
            self.listing = replace(self.listing, page_size=self.listing.page_size // 2)
            if position.cursor:
                self._restart()  # a cursor goes with the page size that it was given for
        elif position.cursor == "":
            self.listing = replace(self.listing, by_cursor=False)
            self._restart()
        else:
            raise failure(answer, datetime.now(UTC))

    def _restart(self) -> None:
        self.found, self.cursors, self.position = {}, set(), begin(self.listing)


def begin(listing: Listing) -> Position:
    """Return where the first page begins."""
    return Position("" if listing.by_cursor else None)


def read(fetch: Fetch, listing: Listing, pages_max: int = PAGES_MAX) -> list[Resource]:
    """Return everything that a list holds, each once. Raises Refused when it cannot be read to its end."""
    reading = Reading(listing, begin(listing))
    for _ in range(pages_max):
        answer = fetch(reading.query())
        if answer.status != OK:
            reading.refused(answer)
        elif not reading.take(answer):
            return list(reading.found.values())
    raise reading.endless()


def encoded(query: Query) -> str:
    """Return a query for the URL."""
    return "&".join(f"{name}={quote(value, safe=',')}" for name, value in query.items())


def shown(query: Query) -> str:
    """Return a query for the timeline: a filter without its value, and that there is a cursor."""
    told = query | ({"cursor": "..."} if query.get("cursor") else {})
    told |= {"filter": filters.shown(query["filter"])} if "filter" in query else {}
    return "&".join(f"{name}={value}" for name, value in told.items())


def resources(answer: Answer) -> list[Resource]:
    """Return what a page holds; ``Resources`` may be missing where there is nothing."""
    found = parse(answer).get("Resources")
    return [hit for hit in found if isinstance(hit, dict)] if isinstance(found, list) else []


def is_whole(answer: Answer) -> bool:
    """Tell whether one answer holds all that it counts; a first page of everybody does not."""
    body, total, found = document(answer), _total(answer), len(resources(answer))
    more = total is not None and total > found > 0
    return not more and not body.get("nextCursor")


def _total(answer: Answer) -> int | None:
    found = parse(answer).get("totalResults")
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _identity(hit: Resource) -> str:
    """Return what tells two resources apart: their id, since one may be changed while the list is read."""
    found = next((value for name, value in hit.items() if name.lower() == "id"), None)
    return str(found) if found else json.dumps(hit, sort_keys=True)
