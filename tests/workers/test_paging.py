"""Lists by index and by cursor, from servers that keep to the book and from those that do not."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.errors import GatepostError, Postponed, Refused
from tests.workers.stories import patiently
from workers.http import Answer
from workers.scim.filters import equals
from workers.scim.paging import PAGES_MAX, Listing, Query, encoded, is_whole, read, shown


def answer(body: object, status: int = 200) -> Answer:
    """Make an answer."""
    return Answer(status, {}, json.dumps(body).encode(), 0.0)


def refusal(keyword: str = "", status: int = 400) -> Answer:
    """Make a refusal."""
    return answer({"scimType": keyword, "detail": "no"}, status)


def hits(*numbers: int) -> list[dict[str, Any]]:
    """Make accounts."""
    return [{"id": f"u-{number}"} for number in numbers]


def ids(found: Iterable[dict[str, Any]]) -> list[str]:
    """Return their ids."""
    return [each["id"] for each in found]


@dataclass
class Script:
    """A server that gives these answers in turn, the last one for ever, and remembers what was asked."""

    answers: Sequence[Answer]
    asked: list[Query] = field(default_factory=list)

    def __call__(self, query: Query) -> Answer:
        """Answer."""
        self.asked.append(query)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]

    def positions(self) -> list[str]:
        """Return where each page was asked to begin."""
        return [query.get("startIndex", f"cursor={query.get('cursor')}") for query in self.asked]


BY_CURSOR = Listing(by_cursor=True)


# ---- cursors (RFC 9865)


def test_cursors_are_followed_to_the_end() -> None:
    """First an empty cursor, then the same again with the one that came; none that follows is the end (E30)."""
    script = Script(
        [
            answer({"Resources": hits(1, 2), "nextCursor": "a+/="}),
            answer({"Resources": [], "nextCursor": "b"}),
            answer({"Resources": hits(3), "totalResults": 9}),
        ]
    )
    listing = Listing("active eq false", ("id",), 2, by_cursor=True)

    found = read(script, listing)

    same = {"count": "2", "filter": "active eq false", "attributes": "id"}
    assert ids(found) == ["u-1", "u-2", "u-3"]
    assert script.asked == [{"cursor": cursor, **same} for cursor in ("", "a+/=", "b")]


@pytest.mark.parametrize("body", [{"Resources": hits(1)}, {"Resources": hits(1), "totalResults": 1}, {}], ids=repr)
def test_one_page_by_cursor_is_one_request(body: dict[str, Any]) -> None:
    """No total is needed there."""
    script = Script([answer(body)])

    assert read(script, BY_CURSOR) == body.get("Resources", [])
    assert len(script.asked) == 1


def test_cursor_that_nobody_asked_for_is_followed() -> None:
    """A server may page by cursor of its own accord; where to start is not said then."""
    script = Script(
        [answer({"Resources": hits(1), "nextCursor": "x", "totalResults": 2}), answer({"Resources": hits(2)})]
    )

    assert ids(read(script, Listing())) == ["u-1", "u-2"]
    assert script.positions() == ["1", "cursor=x"]


@pytest.mark.parametrize(
    "first",
    [
        {"Resources": hits(1), "totalResults": 2},
        {"Resources": hits(1), "startIndex": 1},
    ],
    ids=["more than came", "says where it began"],
)
def test_server_that_ignores_the_cursor_is_read_by_index(first: dict[str, Any]) -> None:
    """It announced cursors, or somebody insisted; its first page counts."""
    script = Script([answer(first), answer({"Resources": hits(2), "totalResults": 2})])

    assert ids(read(script, BY_CURSOR)) == ["u-1", "u-2"]
    assert script.positions() == ["cursor=", "2"]


@pytest.mark.parametrize(
    "refused", [refusal(status=501), refusal("invalidValue"), refusal()], ids=["501", "400", "bare"]
)
def test_server_that_refuses_the_cursor_is_read_by_index(refused: Answer) -> None:
    """Some know no such parameter."""
    script = Script([refused, answer({"Resources": hits(1), "totalResults": 1})])

    assert ids(read(script, BY_CURSOR)) == ["u-1"]
    assert script.positions() == ["cursor=", "1"]


@pytest.mark.parametrize("keyword", ["invalidCursor", "expiredCursor"])
@pytest.mark.parametrize("by_cursor", [True, False], ids=["asked", "unasked"])
def test_lost_cursor_begins_anew_once(keyword: str, by_cursor: bool) -> None:
    """Whoever was deleted meanwhile is not found; the second loss is left to time."""
    lost, first = refusal(keyword), answer({"Resources": hits(1), "nextCursor": "x"})
    mended = Script([first, lost, answer({"Resources": hits(2), "nextCursor": "y"}), answer({"Resources": hits(3)})])
    broken = Script([first, lost, first, lost])
    start = "cursor=" if by_cursor else "1"

    assert ids(read(mended, Listing(by_cursor=by_cursor))) == ["u-2", "u-3"]
    with pytest.raises(Postponed):
        read(broken, Listing(by_cursor=by_cursor))

    assert mended.positions() == [start, "cursor=x", start, "cursor=y"]
    assert len(broken.asked) == 4


@pytest.mark.parametrize("by_cursor", [True, False], ids=["cursor", "index"])
@pytest.mark.parametrize("keyword", ["invalidCount", "tooMany"])
def test_page_that_is_too_large_is_halved(keyword: str, by_cursor: bool) -> None:
    """Down to one; what came already is not asked for again by index."""
    last = {"Resources": hits(2), "totalResults": 2}
    script = Script(
        [refusal(keyword), refusal(keyword), answer(last), answer({"Resources": hits(1), "totalResults": 2})]
    )

    assert sorted(ids(read(script, Listing(page_size=10, by_cursor=by_cursor)))) == ["u-1", "u-2"]
    assert [query["count"] for query in script.asked] == ["10", "5", "2", "2"]


def test_target_that_takes_no_page_at_all_is_told_of() -> None:
    """A single account is the smallest page."""
    script = Script([refusal("tooMany")])

    with pytest.raises(Refused) as caught:
        read(script, Listing(page_size=4))

    assert [query["count"] for query in script.asked] == ["4", "2", "1"]
    assert "tooMany" in caught.value.message


def test_cursor_that_comes_again_is_the_end_or_no_list() -> None:
    """A server that goes in circles has either told all that it counts, or never will."""
    whole = Script([answer({"Resources": hits(1), "nextCursor": "x", "totalResults": 1})])
    part = Script([answer({"Resources": hits(1), "nextCursor": "x", "totalResults": 5})])

    assert ids(read(whole, BY_CURSOR)) == ["u-1"]
    with pytest.raises(Refused) as caught:
        read(part, BY_CURSOR)

    assert caught.value.reason == "filter_unsupported"
    assert len(part.asked) == 2


# ---- any server


@dataclass
class Server:
    """A server with so many accounts that pages as it likes, but leaves nobody out."""

    total: int
    sizes: list[int]
    by_cursor: bool
    tells_total: bool
    overlaps: bool
    asked: int = 0

    def __call__(self, query: Query) -> Answer:
        """Answer with the next page, of a size of its own."""
        first = int(query["cursor"] or 0) if query.get("cursor") else int(query.get("startIndex", 1)) - 1
        size = min(self.sizes[self.asked % len(self.sizes)], int(query["count"]))
        self.asked += 1
        start = max(0, first - 1) if self.overlaps and size > 1 else first
        end = min(first + size, self.total)
        body: dict[str, Any] = {"Resources": hits(*range(start, end))}
        if self.tells_total:
            body["totalResults"] = self.total
        if self.by_cursor and end < self.total:
            body["nextCursor"] = str(end)
        elif not self.by_cursor:
            body["startIndex"] = first + 1
        return answer(body)


@patiently
@given(
    st.builds(
        Server,
        total=st.integers(0, 60),
        sizes=st.lists(st.integers(2, 40), min_size=1, max_size=5),
        by_cursor=st.booleans(),
        tells_total=st.booleans(),
        overlaps=st.booleans(),
    ),
    st.booleans(),
)
def test_nobody_is_skipped_and_nobody_comes_twice(server: Server, asks_for_cursor: bool) -> None:
    """Whatever the sizes of its pages, whether it tells a total, pages by cursor, or repeats some at the edges."""
    found = read(server, Listing(by_cursor=asks_for_cursor))

    assert sorted(ids(found)) == sorted(ids(hits(*range(server.total))))


bodies = st.fixed_dictionaries(
    {},
    optional={
        "Resources": st.lists(
            st.integers(0, 9).map(lambda number: {"id": number}) | st.just({}) | st.none(), max_size=4
        ),
        "totalResults": st.integers(-2, 12) | st.none() | st.booleans() | st.text(max_size=2),
        "nextCursor": st.sampled_from(["", "a", "b", "c", None, 5]),
        "startIndex": st.integers(0, 3),
    },
)
refusals = st.sampled_from(["", "invalidCursor", "expiredCursor", "invalidCount", "tooMany", "invalidFilter"])
pages = st.lists(bodies.map(answer) | refusals.map(refusal) | st.just(refusal(status=501)), min_size=1, max_size=8)


@patiently
@given(pages, st.booleans())
def test_any_pages_come_to_an_end(script: list[Answer], by_cursor: bool) -> None:
    """A list, or an error of ours, within so many requests; nobody twice."""
    server = Script(script)

    try:
        found = read(server, Listing(by_cursor=by_cursor))
    except GatepostError:
        found = []

    assert len(server.asked) <= PAGES_MAX
    texts = [json.dumps(each, sort_keys=True) for each in found]
    assert len(texts) == len(set(texts))


# ---- how it is written


def test_query_is_one_value_each() -> None:
    """A cursor is opaque, a filter holds anything: neither ends its parameter; the timeline shows no value of them."""
    query = {"cursor": "a&b=c#+", "count": "5", "filter": equals("userName", "o'n & co"), "attributes": "id,active"}

    text = encoded(query)

    assert text == ("cursor=a%26b%3Dc%23%2B&count=5&filter=userName%20eq%20%22o%27n%20%26%20co%22&attributes=id,active")
    assert shown(query) == "cursor=...&count=5&filter=userName eq ...&attributes=id,active"
    assert shown({"cursor": ""}) == "cursor="


@pytest.mark.parametrize(
    ("body", "whole"),
    [
        ({"Resources": hits(1), "totalResults": 1}, True),
        ({"Resources": hits(1)}, True),
        ({}, True),
        ({"totalResults": 3}, True),
        ({"Resources": hits(1), "totalResults": 2}, False),
        ({"Resources": hits(1), "nextCursor": "x"}, False),
        ({"Resources": hits(1), "nextCursor": ""}, True),
    ],
    ids=repr,
)
def test_answer_to_a_filter_is_whole_or_not(body: dict[str, Any], whole: bool) -> None:
    """The first page of everybody counts more than it shows, or goes on."""
    assert whole is is_whole(answer(body))
