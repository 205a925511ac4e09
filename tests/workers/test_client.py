"""The SCIM client: filters that nothing can break out of, paths, bearers, and what is kept of a conversation."""

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle import __version__
from lifecycle.errors import Postponed, Refused
from lifecycle.secrets import Secret
from tests.workers.fake_scim import BASE_URL, FakeScim, Quirk, answers, cuts_before
from tests.workers.stories import patiently, target
from workers.http import Answer, Http
from workers.scim.capabilities import PAGE_SIZE, Capabilities
from workers.scim.client import Client, Conversation, shown, version
from workers.scim.filters import equals
from workers.scim.paging import PAGES_MAX
from workers.scim.token import EARLY_SECONDS

ODD = [
    'o"neil',
    "back\\slash",
    'both\\"',
    "a+b",
    "a&b=c",
    "a#b",
    "100%",
    "%22",
    "ünïcode",
    "界",
    "a b",
    "line\nbreak",
    "tab\t",
    "a/b/../c",
    "?",
    "😀",
    'x" or active eq true or userName eq "',
    'x") or (active eq true',
]


def client(fake: Callable[[httpx.Request], httpx.Response], **section: Any) -> Client:  # noqa: ANN401 - configuration
    """Make a client of a server in memory."""
    return Client(target(**section), Http(transport=httpx.MockTransport(fake)))


def talk() -> Conversation:
    """Begin a conversation that may go on."""
    return Conversation(lambda: None)


@pytest.mark.parametrize("value", ODD, ids=ascii)
def test_filter_finds_exactly_what_was_asked(value: str) -> None:
    """No character of a value ends the filter or begins another: others are not found, the one is."""
    fake = FakeScim()
    fake.add("Users", userName="anna", externalId="E1", active=True)
    fake.add("Users", userName="odd", externalId=value, active=True)

    hits = client(fake).query(talk(), "Users", "externalId", value)

    assert [hit["userName"] for hit in hits] == ["odd"]


@patiently
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_any_value_is_one_json_text_in_one_query_value(value: str) -> None:
    """The filter is ``attribute eq "..."`` whatever the value holds, percent-encoded whole (RFC 7644, 3.4.2.2)."""
    asked: list[str] = []

    def server(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path.decode())
        return httpx.Response(200, json={})

    client(server).query(talk(), "Users", "userName", value)

    parts = urlsplit(asked[0])
    (text,) = parse_qs(parts.query)["filter"]
    assert "#" not in asked[0]
    assert "+" not in asked[0]
    assert text.startswith("userName eq ")
    assert value == json.loads(text.removeprefix("userName eq "))


@pytest.mark.parametrize("resource_id", ["u-1", "a/b", "../Groups/g-1", "a?b=c", "a#b", "%2e%2e", "ü 界", "a;b"])
def test_id_stays_one_segment_of_the_path(resource_id: str) -> None:
    """An id that a target gives cannot lead to another endpoint."""
    fake = FakeScim()
    fake.add("Users", id=resource_id, userName="bo", active=True)

    found = client(fake).get(talk(), "Users", resource_id)

    assert found is not None
    assert found["id"] == resource_id
    path = urlsplit(fake.log[0].raw_path).path
    assert ["", "Users", resource_id] == [unquote(part) for part in path.split("/")]


@pytest.mark.parametrize("resource_id", ["..", ".", ""])
def test_id_that_would_lead_to_another_endpoint_is_refused(resource_id: str) -> None:
    """Dots alone are resolved away from a path (RFC 3986 section 5.2.4): nothing is asked, let alone changed."""
    fake = FakeScim()
    found = client(fake)

    with pytest.raises(Refused):
        found.get(talk(), "Users", resource_id)
    with pytest.raises(Refused):
        found.patch(talk(), "Users", resource_id, [])

    assert fake.log == []


def test_headers_are_those_of_scim() -> None:
    """Media type, accepted types, bearer and our name; no body, no content type (RFC 7644 section 3.1)."""
    fake = FakeScim()
    found = client(fake)
    found.get(talk(), "Users", "u-1")
    found.create(talk(), "Users", {"schemas": [], "userName": "bo"}, allow={400})

    get, post = (said.headers for said in fake.log)
    assert get["accept"].startswith("application/scim+json")
    assert "content-type" not in get
    assert post["content-type"] == "application/scim+json"
    assert {f"Bearer {fake.token}"} == {get["authorization"], post["authorization"]}
    assert get["user-agent"] == f"gatepost/{__version__}"


@pytest.mark.parametrize(
    "body",
    [
        '{"Resources": null}',
        '{"Resources": {"id": "1"}}',
        '{"Resources": [1, null, "x"]}',
        "{}",
    ],
)
def test_list_of_odd_shape_is_empty(body: str) -> None:
    """``Resources`` may be missing; what is no object is no hit."""
    fake = FakeScim()
    fake.next(answers(200, body))

    assert client(fake).query(talk(), "Users", "userName", "bo") == []


@pytest.mark.parametrize("body", ["", "[]", "null", "5", '"x"', "<html>"])
def test_answer_that_is_no_object_is_not_nobody(body: str) -> None:
    """The page of a gateway says nothing of a person: whoever leaves would be settled as not there."""
    fake = FakeScim()
    fake.next(answers(200, body), times=3)
    found = client(fake)

    asks: tuple[Callable[[], object], ...] = (
        lambda: found.query(talk(), "Users", "userName", "bo"),
        lambda: found.everyone(talk(), "Users"),
        lambda: found.get(talk(), "Users", "u-1"),
    )
    for ask in asks:
        with pytest.raises(Postponed) as caught:
            ask()
        assert caught.value.reason == "broken"


def test_resource_that_is_not_there_is_none() -> None:
    """404 on a known id is an answer, not an error."""
    assert client(FakeScim()).get(talk(), "Users", "u-9") is None


def test_base_url_may_end_in_a_slash() -> None:
    """The configuration is taken as people write it."""
    fake = FakeScim()

    client(fake, base_url=f"{BASE_URL}/").get(talk(), "Users", "u-1")

    assert fake.lines() == ["GET /Users/u-1"]


def test_accepted_is_no_success() -> None:
    """202 says that the target will act later (RFC 9967): the next attempt looks whether it did."""
    fake = FakeScim()
    fake.next(answers(202))

    with pytest.raises(Postponed) as caught:
        client(fake).get(talk(), "Users", "u-1")

    assert caught.value.reason == "accepted"


def test_every_request_is_kept_with_its_answer() -> None:
    """The timeline shows method, path and status, 0 where there was no answer, and no value of a filter."""
    fake = FakeScim()
    fake.next(cuts_before(), on="GET /Users/")
    conversation, found = talk(), client(fake)
    with pytest.raises(Postponed):
        found.get(conversation, "Users", "u-1")

    found.query(conversation, "Users", "userName", "bo.ray@acme.example")

    assert [(each.method, each.path, each.status) for each in conversation.exchanges] == [
        ("GET", "/Users/u-1", 0),
        ("GET", "/Users?filter=userName eq ...", 200),
    ]
    assert all(each.milliseconds >= 0 for each in conversation.exchanges)


@pytest.mark.parametrize("name", ["ININ-Correlation-Id", "X-Correlation-Id", "X-Request-Id", "Request-Id"])
def test_correlation_id_is_kept(name: str) -> None:
    """By it the vendor finds the request in its own log; a long one is cut."""
    fake, conversation = FakeScim(), talk()
    fake.next(lambda _: httpx.Response(404, headers={name: "c-1"}))
    fake.next(lambda _: httpx.Response(404, headers={name: "c" * 1_000}))

    for _ in range(3):
        client(fake).get(conversation, "Users", "u-1")

    first, second, none = conversation.exchanges
    assert (first.correlation, none.correlation) == ("c-1", "")
    assert len(second.correlation) <= 100


def test_every_answer_is_heard_before_anything_is_made_of_it() -> None:
    """A gate learns of a limit from answers that are errors too; where there is no answer there is nothing to hear."""
    fake, heard = FakeScim(), []
    fake.next(answers(429, None, retry_after="7"))
    fake.next(cuts_before())
    conversation = Conversation(lambda: None, heard=lambda answer: heard.append(answer.status))
    found = client(fake)

    for _ in range(2):
        with pytest.raises(Postponed):
            found.get(conversation, "Users", "u-1")
    found.get(conversation, "Users", "u-1")

    assert heard == [429, 404]


def test_error_that_is_sent_as_success_is_an_error() -> None:
    """Else a refusal would be an account without a name (E34)."""
    fake = FakeScim()
    fake.next(answers(200, {"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": "403"}))

    with pytest.raises(Refused) as caught:
        client(fake).get(talk(), "Users", "u-1")

    assert caught.value.reason == "forbidden"


# ---- versions


@pytest.mark.parametrize(
    ("header", "meta", "expected"),
    [
        ('W/"3"', {"version": 'W/"3"'}, 'W/"3"'),
        ('"4"', {"version": "4"}, '"4"'),
        ('W/"5"', {"Version": '"old"'}, 'W/"5"'),
        ('"6"', None, '"6"'),
        ('"7"', "odd", '"7"'),
        (None, {"version": 'W/"8"'}, 'W/"8"'),
        (None, {"version": 9}, None),
        (None, {"version": ""}, None),
        (None, None, None),
    ],
    ids=repr,
)
def test_version_is_kept_byte_for_byte(header: str | None, meta: object, expected: str | None) -> None:
    """The tag in the header counts more than the body; ``W/`` and quotes are part of it (E24)."""
    body = {"id": "u-1", "userName": "bo"} | ({"META": meta} if meta is not None else {})
    fake = FakeScim()
    fake.next(lambda _: httpx.Response(200, json=body, headers={"etag": header} if header else {}))

    found = client(fake).get(talk(), "Users", "u-1")

    assert found is not None
    assert version(found) == expected
    assert (found["id"], found["userName"]) == ("u-1", "bo")


def test_change_names_a_version_only_where_it_is_given_one() -> None:
    """An ETag alone is no promise that If-Match is honoured (E25): the caller decides by what the target says."""
    fake = FakeScim()
    fake.add("Users", id="u-1", userName="bo")
    found = client(fake)
    operation = {"op": "replace", "path": "active", "value": False}
    body = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "bo"}

    found.patch(talk(), "Users", "u-1", [operation])
    found.patch(talk(), "Users", "u-1", [operation], version='W/"a b"', allow={400})
    found.put(talk(), "Users", "u-1", body, allow=set())
    found.put(talk(), "Users", "u-1", body, allow={400}, version='"3"')

    assert [said.headers.get("if-match") for said in fake.log] == [None, 'W/"a b"', None, '"3"']


def test_resource_of_any_answer_carries_its_version() -> None:
    """What a change answers is read like what a look answers; nothing is shown where there is no body (E14)."""
    tagged = Answer(200, {"etag": '"3"'}, b'{"id": "u-1", "meta": {"created": "then"}}', 0.0)

    assert shown(tagged) == {"id": "u-1", "meta": {"created": "then", "version": '"3"'}}
    assert shown(Answer(204, {"etag": '"3"'}, b"", 0.0)) == {}


# ---- where filters do not help


Page = dict[str, Any]


class Lists:
    """A server of nothing but lists: it answers with these pages in turn, the last one for ever."""

    def __init__(self, *pages: Page) -> None:
        """Keep the pages."""
        self.pages = list(pages)
        self.asked: list[dict[str, list[str]]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer; a filter is refused."""
        asked = parse_qs(request.url.query.decode())
        self.asked.append(asked)
        if "filter" in asked:
            return httpx.Response(501, json={"detail": "no filters here"})
        return httpx.Response(200, json=self.pages[0] if len(self.pages) == 1 else self.pages.pop(0))

    def starts(self) -> list[str]:
        """Return where each page was asked to begin."""
        return [asked["startIndex"][0] for asked in self.asked if "startIndex" in asked]


def page(first: int, last: int, total: int | None = None) -> Page:
    """Make a page of accounts."""
    told = {} if total is None else {"totalResults": total}
    return {"Resources": [{"id": f"u-{each}"} for each in range(first, last + 1)], **told}


def ids(hits: list[dict[str, Any]]) -> list[str]:
    """Return the ids of resources."""
    return [hit["id"] for hit in hits]


@pytest.mark.parametrize("total", [5, None], ids=["total", "no total"])
def test_next_page_begins_after_what_came(total: int | None) -> None:
    """A server may give fewer than were asked for (RFC 7644 section 3.4.2.4): what came counts, not what was asked."""
    server = Lists(page(1, 3, total), page(4, 4, total), page(5, 5, total), page(1, 0, total))

    found = client(server).everyone(talk(), "Users")

    assert ids(found) == ["u-1", "u-2", "u-3", "u-4", "u-5"]
    assert server.starts() == ["1", "4", "5"] + ([] if total else ["6"])
    assert {each["count"][0] for each in server.asked} == {str(PAGE_SIZE)}


@pytest.mark.parametrize(
    "empty", [{}, {"Resources": []}, {"Resources": None}, {"totalResults": 0}, {"totalResults": 9}]
)
def test_list_without_resources_is_the_end(empty: Page) -> None:
    """``Resources`` may be missing where there are none; what a server counts besides changes nothing."""
    first, later = Lists(empty), Lists(page(1, 2, 9), empty)

    assert client(first).everyone(talk(), "Users") == []
    assert ids(client(later).everyone(talk(), "Users")) == ["u-1", "u-2"]
    assert len(first.asked) == 1
    assert len(later.asked) == 2


def test_page_that_comes_again_ends_it() -> None:
    """A server that ignores where to start and tells no total gives all that it has on each page."""
    server = Lists(page(1, 3))

    assert ids(client(server).everyone(talk(), "Users")) == ["u-1", "u-2", "u-3"]
    assert len(server.asked) == 2


@pytest.mark.parametrize("total", [4, 6, 500])
def test_page_that_comes_again_and_is_not_all_is_refused(total: int) -> None:
    """Who is on no page may be the very person: that nobody was found would be a lie."""
    server = Lists(page(1, 3, total))

    with pytest.raises(Refused) as caught:
        client(server).everyone(talk(), "Users")

    assert caught.value.reason == "filter_unsupported"
    assert len(server.asked) == 2


def test_resource_that_moves_to_the_next_page_meanwhile_is_one() -> None:
    """Pages by index shift under writes: what comes twice is kept once, and the reading goes on."""
    server = Lists(page(1, 3, 5), page(3, 4, 5), page(5, 5, 5))

    assert ids(client(server).everyone(talk(), "Users")) == ["u-1", "u-2", "u-3", "u-4", "u-5"]


def test_reading_all_is_bounded() -> None:
    """A target of a million accounts, or one that never ends, is not read for one person."""
    server = Lists(*(page(each, each) for each in range(1, PAGES_MAX * 2)))

    with pytest.raises(Refused) as caught:
        client(server).everyone(talk(), "Users")

    assert caught.value.reason == "filter_unsupported"
    assert len(server.asked) == PAGES_MAX


def test_leave_is_asked_before_every_page() -> None:
    """Whoever lost the person in the middle of a long list stops there."""
    left = iter([None, None])
    server = Lists(*(page(each, each) for each in range(1, 9)))

    with pytest.raises(StopIteration):
        client(server).everyone(Conversation(lambda: next(left)), "Users")

    assert len(server.asked) == 2


@pytest.mark.parametrize("quirk", [Quirk.REFUSES_FILTER_400, Quirk.REFUSES_FILTER_501])
def test_all_are_read_where_a_filter_is_refused(quirk: Quirk) -> None:
    """400 and 501 are the two ways to say that; the caller verifies each."""
    fake = FakeScim(frozenset({quirk, Quirk.SMALL_PAGES}))
    for name in ("anna", "bo", "zoe"):
        fake.add("Users", userName=name)

    hits = client(fake).query(talk(), "Users", "userName", "bo")

    assert [hit["userName"] for hit in hits] == ["anna", "bo", "zoe"]
    assert len(fake.log) == 3


@pytest.mark.parametrize("pages", [set(), {Quirk.SMALL_PAGES}], ids=["one page", "pages"])
def test_filter_that_is_ignored_gives_all_and_not_the_first_page(pages: set[Quirk]) -> None:
    """A first page of everybody looks like an answer; its total shows that it is not whole."""
    fake = FakeScim(frozenset({Quirk.IGNORES_FILTER, *pages}))
    for name in ("anna", "bo", "zoe"):
        fake.add("Users", userName=name)

    hits = client(fake).query(talk(), "Users", "userName", "zoe")

    assert [hit["userName"] for hit in hits] == ["anna", "bo", "zoe"]
    assert len(fake.log) == (3 if pages else 1)


def test_filter_that_is_answered_is_one_request() -> None:
    """Nobody, or the one that was asked for: no page is read besides."""
    fake = FakeScim()
    fake.add("Users", userName="anna")
    fake.add("Users", userName="bo")
    found = client(fake)

    assert len(found.query(talk(), "Users", "userName", "bo")) == 1
    assert found.query(talk(), "Users", "userName", "zoe") == []
    assert len(fake.log) == 2


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_other_answers_to_a_filter_are_no_reason_to_read_all(status: int) -> None:
    """They are about the credentials, the time or the address, and not about the filter."""
    fake = FakeScim()
    fake.next(answers(status))

    with pytest.raises((Postponed, Refused)):
        client(fake).query(talk(), "Users", "userName", "bo")

    assert len(fake.log) == 1


def test_caller_says_which_other_status_is_a_refusal_of_the_filter() -> None:
    """A server error that comes again may be meant so."""
    fake = FakeScim()
    fake.add("Users", userName="bo")
    fake.next(answers(500))

    hits = client(fake).query(talk(), "Users", "userName", "bo", allow={500})

    assert [hit["userName"] for hit in hits] == ["bo"]


def test_refused_filter_is_told_where_reading_all_does_not_help() -> None:
    """The operator reads what the target said to the filter, not that a list is long."""
    server = Lists(page(1, 2, 9))

    with pytest.raises(Refused) as caught:
        client(server).query(talk(), "Users", "userName", "bo")

    assert "no filters here" in caught.value.message


def test_target_that_is_busy_while_all_are_read_is_asked_later() -> None:
    """Time will mend that, and half a list is none."""
    fake = FakeScim(frozenset({Quirk.REFUSES_FILTER_501, Quirk.SMALL_PAGES}))
    for name in ("anna", "bo", "zoe"):
        fake.add("Users", userName=name)
    fake.next(answers(429), on="GET /Users?startIndex=3")

    with pytest.raises(Postponed):
        client(fake).query(talk(), "Users", "userName", "bo")


def test_target_that_cannot_filter_by_a_name_is_read_whole() -> None:
    """What cannot be asked for is looked for among all, and no filter is tried."""
    fake = FakeScim()
    fake.add("Users", userName="bo", externalId="E1")
    fake.add("Groups", displayName="Agents")
    found, by_name = client(fake), Conversation(lambda: None, can=Capabilities(find_by=("userName",)))
    nothing = Conversation(lambda: None, can=Capabilities(filter=False))

    hits = [
        found.query(by_name, "Users", "externalId", "E1"),
        found.query(by_name, "Users", "userName", "bo"),
        found.query(by_name, "Groups", "displayName", "Agents"),
        found.query(nothing, "Users", "userName", "bo"),
        found.query(nothing, "Groups", "displayName", "Agents"),
    ]

    assert [len(each) for each in hits] == [1] * 5
    assert ["filter" in line for line in fake.lines()] == [False, True, True, False, False]


def test_filter_that_yields_too_many_is_not_followed_by_everybody() -> None:
    """One name is the narrowest filter there is (E31)."""
    fake = FakeScim()
    fake.next(answers(400, {"scimType": "tooMany", "detail": "too many"}))

    with pytest.raises(Refused) as caught:
        client(fake).query(talk(), "Users", "userName", "bo")

    assert "too many" in caught.value.message
    assert len(fake.log) == 1


def test_filter_whose_answer_goes_on_is_read_to_its_end() -> None:
    """Everybody by cursor, begun unasked, looks like an answer too; that it goes on shows that it is not whole."""
    first = {"Resources": [{"id": "u-1", "userName": "anna"}], "nextCursor": "c2"}
    pages = iter([first, first, {"Resources": [{"id": "u-2", "userName": "bo"}]}])

    hits = client(lambda _: httpx.Response(200, json=next(pages))).query(talk(), "Users", "userName", "bo")

    assert ids(hits) == ["u-1", "u-2"]


def test_list_may_be_narrowed_and_told_what_to_leave_out() -> None:
    """A sweep asks for few attributes in small pages, and for the inactive alone; no value reaches the timeline."""
    asked: list[dict[str, list[str]]] = []

    def server(request: httpx.Request) -> httpx.Response:
        asked.append(parse_qs(request.url.query.decode()))
        return httpx.Response(200, json=page(1, 1, 1))

    conversation = Conversation(lambda: None, can=Capabilities(page_size=25))
    client(server).everyone(
        conversation, "Users", only=equals("manager", "bo & zoe"), attributes=("id", "active", "userName")
    )

    assert asked == [
        {
            "startIndex": ["1"],
            "count": ["25"],
            "filter": ['manager eq "bo & zoe"'],
            "attributes": ["id,active,userName"],
        }
    ]
    (exchange,) = conversation.exchanges
    assert "zoe" not in exchange.path
    assert equals("active", False) == "active eq false"


# ---- bearers


class TokenServer:
    """A target with a token endpoint: client credentials in, a new token each time."""

    def __init__(self, **fields: object) -> None:
        """Say what else the token's answer holds."""
        self.fake = FakeScim(token="none is given yet")
        self.asked: list[httpx.Request] = []
        self.fields = fields
        self.answers: list[httpx.Response] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer."""
        if request.url.path != "/oauth/token":
            return self.fake(request)
        self.asked.append(request)
        if self.answers:
            return self.answers.pop(0)
        self.fake.token = f"token-{len(self.asked)}"
        return httpx.Response(200, json={"access_token": self.fake.token, "expires_in": 3600, **self.fields})

    def client(self, **section: Any) -> Client:  # noqa: ANN401 - configuration
        """Make a client that gets its bearer here."""
        credentials = {
            "token": None,
            "token_url": "https://login.test/oauth/token",
            "client_id": Secret("env:ID", "the id"),
            "client_secret": Secret("env:SECRET", "se:cr/et"),
        }
        return client(self, **credentials | section)


def test_token_is_fetched_once_by_client_credentials() -> None:
    """RFC 6749 section 4.4: the credentials in the Authorization header, the grant in the form; then it is kept."""
    server = TokenServer()
    found = server.client(scopes=["users", "groups"])

    for _ in range(3):
        found.get(talk(), "Users", "u-1")

    (asked,) = server.asked
    kind, _, encoded = asked.headers["authorization"].partition(" ")
    assert (kind, base64.b64decode(encoded).decode()) == ("Basic", "the id:se:cr/et")
    assert parse_qs(asked.content.decode()) == {"grant_type": ["client_credentials"], "scope": ["users groups"]}
    assert len(server.fake.log) == 3


def test_token_that_is_no_longer_taken_is_renewed_once() -> None:
    """After a 401 a new token is fetched and the request sent once more; the caller sees nothing of it."""
    server = TokenServer()
    found = server.client()
    server.fake.add("Users", id="u-1", userName="bo")
    found.get(talk(), "Users", "u-1")
    server.fake.token = "the old one is revoked"
    conversation = talk()

    shown = found.get(conversation, "Users", "u-1")

    assert shown is not None
    assert len(server.asked) == 2
    assert [each.status for each in conversation.exchanges] == [401, 200]


def test_second_401_is_refused() -> None:
    """A new token that is not taken either is for the operator; there is no third try."""
    server = TokenServer()
    server.fake.next(answers(401), times=9)

    with pytest.raises(Refused) as caught:
        server.client().get(talk(), "Users", "u-1")

    assert caught.value.reason == "credentials"
    assert len(server.fake.log) == 2
    assert len(server.asked) == 2


def test_static_token_that_is_wrong_is_refused_at_once() -> None:
    """There is no other one to try."""
    fake = FakeScim(token="another")

    with pytest.raises(Refused) as caught:
        client(fake).get(talk(), "Users", "u-1")

    assert caught.value.reason == "credentials"
    assert len(fake.log) == 1


@pytest.mark.parametrize(
    ("life", "fetches"), [(3600, 1), (EARLY_SECONDS * 2, 1), (1e-9, 3), (0, 1), (None, 1), ("3600", 1)], ids=repr
)
def test_token_is_renewed_before_its_end(life: object, fetches: int) -> None:
    """A life that is over at once means a token for each request; one that is none has a careful default."""
    server = TokenServer(expires_in=life)
    found = server.client()

    for _ in range(3):
        found.get(talk(), "Users", "u-1")

    assert fetches == len(server.asked)


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (httpx.Response(400, json={"error": "invalid_client"}), Refused, "credentials"),
        (httpx.Response(401, json={"error": "invalid_client"}), Refused, "credentials"),
        (httpx.Response(503, headers={"retry-after": "5"}), Postponed, "busy"),
        (httpx.Response(500), Postponed, "broken"),
        (httpx.Response(200, text="<html>"), Refused, "credentials"),
        (httpx.Response(200, json={"access_token": 5}), Refused, "credentials"),
    ],
    ids=["400", "401", "503", "500", "html", "no text"],
)
def test_token_that_cannot_be_had_is_named(answer: httpx.Response, kind: type[Exception], reason: str) -> None:
    """The token endpoint's trouble is trouble of the target: time or the operator must mend it; no secret is told."""
    server = TokenServer()
    server.answers = [answer]

    with pytest.raises(kind) as caught:
        server.client().get(talk(), "Users", "u-1")

    found: Any = caught.value
    assert found.reason == reason
    assert "se:cr/et" not in found.message
    assert server.fake.log == []


def test_integer_ids_are_sent_as_texts() -> None:
    """A path is a text."""
    fake = FakeScim(frozenset({Quirk.INTEGER_IDS}))
    fake.add("Users", userName="bo")

    assert client(fake).get(talk(), "Users", "1") is not None
