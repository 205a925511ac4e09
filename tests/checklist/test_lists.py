"""E27 to E31: pages by index and by cursor, and answers that are too large."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest

from lifecycle.errors import Refused
from tests.checklist.encounter import Encounter, Meet, Proceed, bo, error, on
from tests.workers.fake_scim import LIST, Quirk, Said, reply

PEOPLE = [{"id": f"u-{number}", "userName": f"person {number}", "active": True} for number in range(1, 6)]
SIZE = 2

Page = dict[str, Any]
Query = dict[str, str]


def paged(page: Callable[[Query], Page | httpx.Response]) -> Callable[[Said, Proceed], httpx.Response]:
    """Return a server that answers lists so."""

    def way(said: Said, proceed: Proceed) -> httpx.Response:
        found = page(query_of(said))
        return found if isinstance(found, httpx.Response) else reply(200, {"schemas": [LIST]} | found)

    return way


def query_of(said: Said) -> Query:
    """Return the query of a request."""
    return dict(parse_qsl(said.raw_path.partition("?")[2], keep_blank_values=True))


def read(crm: Encounter, **more: Any) -> list[str]:  # noqa: ANN401 - options
    """Read everybody and return the ids as they came."""
    return [user["id"] for user in crm.client.everyone(crm.talk, "Users", **more)]


def asked(crm: Encounter, name: str) -> list[str | None]:
    """Return what each request of a list had as this parameter."""
    return [query_of(said).get(name) for said in crm.said]


def by_index(query: Query, *, total: bool = True) -> Page:
    """Answer by index, and with no more than two whatever ``count`` says."""
    start = int(query["startIndex"]) - 1
    return {"Resources": PEOPLE[start : start + SIZE]} | ({"totalResults": len(PEOPLE)} if total else {})


def test_e27_next_page_begins_after_as_many_as_came(meet: Meet) -> None:
    """RFC 7644 section 3.4.2.4: indexes begin at 1, and a server may give fewer than ``count``."""
    crm = meet(way=paged(by_index))

    assert read(crm) == [person["id"] for person in PEOPLE]
    assert asked(crm, "startIndex") == ["1", "3", "5"]
    assert len(set(asked(crm, "count"))) == 1


ENDS: dict[str, tuple[Callable[[Query], Page], list[str]]] = {
    "total": (by_index, ["1", "3", "5"]),
    "empty page": (
        lambda query: by_index(query, total=False) | {"startIndex": int(query["startIndex"])},
        ["1", "3", "5", "6"],
    ),
    "page again": (lambda _: {"Resources": PEOPLE, "startIndex": 1}, ["1", "6"]),
}


@pytest.mark.parametrize("end", ENDS)
def test_e28_list_ends_at_its_total_at_an_empty_page_or_at_one_that_comes_again(end: str, meet: Meet) -> None:
    """RFC 7644 section 3.4.2.4; past the end some give the first rows again, for ever."""
    page, starts = ENDS[end]
    crm = meet(way=paged(page))

    assert read(crm) == [person["id"] for person in PEOPLE]
    assert asked(crm, "startIndex") == starts


def test_e28_page_that_comes_again_before_the_total_is_no_whole_list(meet: Meet) -> None:
    """A server that ignores paging does not show everybody, and whoever is not shown is not taken for absent."""
    crm = meet(way=paged(lambda _: {"Resources": PEOPLE[:SIZE], "totalResults": len(PEOPLE)}))

    with pytest.raises(Refused, match="does not list them to the end"):
        read(crm)

    assert len(crm.said) == 2


@pytest.mark.parametrize("body", [{"totalResults": 0}, {"totalResults": 0, "Resources": None}, {}], ids=str)
def test_e29_resources_may_be_missing_where_there_are_none(body: Page, meet: Meet) -> None:
    """RFC 7644 section 3.4.2: ``Resources`` is there when something was found."""
    crm = meet(way=paged(lambda _: body))

    assert read(crm) == []
    assert crm.client.query(crm.talk, "Users", "userName", "bo") == []


def test_e29_resource_that_moves_between_two_pages_is_one(meet: Meet) -> None:
    """Index pages shift under writes: the one that comes twice is one by its id, as it was shown last."""
    pages = {"1": PEOPLE[:2], "3": [PEOPLE[1] | {"active": False}, *PEOPLE[2:4]], "6": PEOPLE[4:]}
    crm = meet(way=paged(lambda query: {"Resources": pages[query["startIndex"]], "totalResults": 5}))

    found = crm.client.everyone(crm.talk, "Users")

    assert sorted(user["id"] for user in found) == [person["id"] for person in PEOPLE]
    assert [user["active"] for user in found if user["id"] == "u-2"] == [False]


CURSORS = ["", "a+b/c=&d #%", "last"]


def by_cursor(query: Query) -> Page:
    """Answer by cursor without a total; the first page is the one of the empty cursor, or of none."""
    place = CURSORS.index(query.get("cursor", ""))
    page: Page = {"Resources": PEOPLE[place * SIZE : (place + 1) * SIZE]}
    return page | ({"nextCursor": CURSORS[place + 1]} if place + 1 < len(CURSORS) else {})


def test_e30_cursors_are_followed_with_the_same_question_to_the_page_without_one(meet: Meet) -> None:
    """RFC 9865 section 2: first an empty cursor, then the same again with ``nextCursor``, which is opaque."""
    crm = meet(way=paged(by_cursor), profile={"cursor": True})

    assert read(crm, only="active eq true", attributes=("id", "active")) == [person["id"] for person in PEOPLE]
    assert asked(crm, "cursor") == CURSORS
    rest = [{name: value for name, value in query_of(said).items() if name != "cursor"} for said in crm.said]
    assert rest == [rest[0]] * 3
    assert rest[0].keys() == {"count", "filter", "attributes"}


def test_e30_cursor_that_nobody_asked_for_is_followed(meet: Meet) -> None:
    """RFC 9865 section 2: a server may answer by cursor unasked."""
    crm = meet(way=paged(by_cursor))

    assert read(crm) == [person["id"] for person in PEOPLE]
    assert asked(crm, "cursor") == [None, *CURSORS[1:]]


@pytest.mark.parametrize("keyword", ["invalidCursor", "expiredCursor"])
def test_e30_lost_cursor_begins_at_the_first_page_again(keyword: str, meet: Meet) -> None:
    """RFC 9865 section 2.1: what a cursor named is gone, so nothing of the half list is kept."""
    lost = on("GET /Users?cursor=last", lambda: error(400, keyword), times=1)
    crm = meet(way=lambda said, _: lost(said, lambda: paged(by_cursor)(said, _)), profile={"cursor": True})

    assert read(crm) == [person["id"] for person in PEOPLE]
    assert asked(crm, "cursor") == [*CURSORS, *CURSORS]


@pytest.mark.parametrize("keyword", ["invalidCount", "tooMany"])
def test_e30_page_that_is_too_large_is_asked_for_smaller(keyword: str, meet: Meet) -> None:
    """RFC 9865 section 2.1, and RFC 7644 section 3.12: fewer at once, until the server takes it."""

    def page(query: Query) -> Page | httpx.Response:
        return error(400, keyword) if int(query["count"]) > 30 else by_cursor(query)

    crm = meet(way=paged(page), profile={"cursor": True})

    assert read(crm) == [person["id"] for person in PEOPLE]
    assert asked(crm, "count") == ["100", "50", "25", "25", "25"]


@pytest.mark.parametrize("refuses", [True, False], ids=["501", "ignores it"])
def test_e30_server_without_cursors_is_read_by_index(refuses: bool, meet: Meet) -> None:
    """RFC 9865 section 2: who does not know the parameter refuses it, or answers as if it were not there."""

    def page(query: Query) -> Page | httpx.Response:
        if refuses and "cursor" in query:
            return error(501)
        return by_index({"startIndex": "1"} | query)

    crm = meet(way=paged(page), profile={"cursor": True})

    assert read(crm) == [person["id"] for person in PEOPLE]
    assert asked(crm, "startIndex")[-2:] == ["3", "5"]


def test_e31_answer_that_is_too_large_is_asked_for_narrower_and_never_wider(meet: Meet) -> None:
    """RFC 7644 section 3.12: one name is the narrowest filter there is; everybody is more, and not asked for."""
    crm = meet(Quirk.IGNORES_FILTER, way=on("GET /Users", lambda: error(400, "tooMany", "more than we tell")))

    with pytest.raises(Refused, match="more than we tell"):
        crm.agree(bo())

    assert crm.lines() == ['GET /Users?filter=externalId eq "E1042"']
