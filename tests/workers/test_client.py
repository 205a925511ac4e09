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
from workers.http import Http, mock_transport
from workers.scim.client import Client, Conversation
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
    return Client(target(**section), Http(transport=mock_transport(fake)))


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
        "",
        "[]",
        "null",
        "5",
        '"x"',
        "<html>",
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
    ("life", "fetches"), [(3600, 1), (EARLY_SECONDS * 2, 1), (0, 3), (None, 1), ("3600", 1)], ids=repr
)
def test_token_is_renewed_before_its_end(life: object, fetches: int) -> None:
    """A life that is over at once means a token for each request; one that is not told has a careful default."""
    server = TokenServer(expires_in=life)
    found = server.client()

    for _ in range(3):
        found.get(talk(), "Users", "u-1")

    assert fetches == len(server.asked)


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (httpx.Response(400, json={"error": "invalid_client"}), Refused, "refused"),
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
