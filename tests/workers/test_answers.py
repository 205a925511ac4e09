"""What an answer means, and that no error of the HTTP library gets through unnamed."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.errors import GatepostError, Postponed, Refused
from tests.workers.stories import patiently
from workers.http import ANSWER_BYTES_MAX, Answer, Http
from workers.scim.answers import (
    DETAIL_CHARS_MAX,
    RETRY_AFTER_SECONDS_MAX,
    TABLE,
    Next,
    document,
    failure,
    honest,
    parse,
    retry_at,
    said,
    scim_type,
    status_in,
    verdict,
)

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


def answer(status: int = 400, body: bytes | str | dict[str, object] = b"", **headers: str) -> Answer:
    """Make an answer; ``retry_after="7"`` becomes a header."""
    content = json.dumps(body) if isinstance(body, dict) else body
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, content.encode() if isinstance(content, str) else content, 0.0)


def subclasses(kind: type[Exception]) -> Iterator[type[Exception]]:
    """Walk a tree of exceptions."""
    yield kind
    for inner in kind.__subclasses__():
        yield from subclasses(inner)


@pytest.mark.parametrize("status", [408, 425, 429, 503])
def test_busy_target_is_asked_again(status: int) -> None:
    """Time will mend it, at the moment that the target names if it names one."""
    plain, named = failure(answer(status), NOW), failure(answer(status, retry_after="7"), NOW)

    assert isinstance(plain, Postponed)
    assert isinstance(named, Postponed)
    assert (plain.reason, plain.retry_at, named.retry_at) == ("busy", None, NOW + timedelta(seconds=7))


@pytest.mark.parametrize("status", [500, 502, 504, 507, 520, 599])
def test_broken_target_is_asked_again(status: int) -> None:
    """A 5xx may have happened or not; the next attempt looks first."""
    error = failure(answer(status), NOW)

    assert isinstance(error, Postponed)
    assert error.reason == "broken"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "credentials"),
        (403, "forbidden"),
        (501, "refused"),
        *((code, "refused") for code in (301, 302, 307, 400, 404, 405, 409, 413, 415, 422, 451)),
    ],
)
def test_refusal_is_for_the_operator(status: int, reason: str) -> None:
    """Another attempt would end the same way."""
    error = failure(answer(status, retry_after="7"), NOW)

    assert isinstance(error, Refused)
    assert error.reason == reason


@pytest.mark.parametrize("body", ["", {"scimType": "invalidVers"}], ids=["412", "invalidVers"])
def test_account_that_others_changed_is_asked_again(body: str | dict[str, object]) -> None:
    """Time mends it: the next attempt reads, and plans anew."""
    error = failure(answer(400 if body else 412, body), NOW)

    assert isinstance(error, Postponed)
    assert error.reason == "conflict"


# ---- the table


MEANINGS: list[tuple[str, int, str | dict[str, object], Next]] = [
    # E10: who may be there already is looked up
    ("POST", 409, {"scimType": "uniqueness"}, Next.TAKEN),
    ("POST", 409, {}, Next.TAKEN),
    ("POST", 409, "<html>", Next.TAKEN),
    ("POST", 409, {"__type": "ConflictException", "Message": "taken"}, Next.TAKEN),
    ("POST", 400, {"detail": "exists already"}, Next.TAKEN),
    ("POST", 400, {"scimType": "uniqueness"}, Next.TAKEN),
    ("POST", 500, "duplicate key", Next.TAKEN),
    ("PATCH", 409, {"scimType": "uniqueness"}, Next.TAKEN),
    ("PUT", 400, {"scimType": "uniqueness"}, Next.TAKEN),
    # E26: read, plan again, retry
    ("PATCH", 412, "", Next.CHANGED),
    ("PATCH", 400, {"scimType": "invalidVers"}, Next.CHANGED),
    ("PUT", 400, {"scimType": "INVALIDVERS"}, Next.CHANGED),
    ("PATCH", 409, {"code": "general.conflict", "message": "version"}, Next.CHANGED),
    ("DELETE", 409, "", Next.CHANGED),
    ("PATCH", 400, {"message": "The version 4 does not match the current version"}, Next.CHANGED),
    ("PATCH", 400, {"detail": "ETag is stale"}, Next.CHANGED),
    ("PATCH", 400, {"detail": "version", "scimType": "invalidValue"}, Next.CONTENT),
    # E22: every keyword of SCIM, and one that it does not have
    ("PATCH", 400, {"scimType": "invalidSyntax"}, Next.DIALECT),
    ("PATCH", 400, {"scimType": "invalidPath"}, Next.DIALECT),
    ("PATCH", 400, {"scimType": "noTarget"}, Next.DIALECT),
    ("GET", 400, {"scimType": "invalidFilter"}, Next.DIALECT),
    ("PATCH", 400, {"scimType": "ofAnotherServer"}, Next.DIALECT),
    ("PATCH", 400, {"scimType": "invalidValue"}, Next.CONTENT),
    ("PATCH", 400, {"scimType": "mutability"}, Next.CONTENT),
    ("PATCH", 422, "", Next.CONTENT),
    ("GET", 400, {"scimType": "tooMany"}, Next.REFUSED),
    ("GET", 400, {"scimType": "sensitive"}, Next.REFUSED),
    # another way of asking
    ("PATCH", 501, "", Next.DIALECT),
    ("PATCH", 405, "", Next.DIALECT),
    ("PATCH", 400, "", Next.DIALECT),
    # E33 and what is not there
    ("DELETE", 404, "", Next.MISSING),
    ("DELETE", 410, "", Next.MISSING),
    ("GET", 404, {"status": 404}, Next.MISSING),
    ("POST", 404, "", Next.REFUSED),
    # E14, E33: success has several statuses
    ("PATCH", 200, {}, Next.DONE),
    ("PATCH", 204, "", Next.DONE),
    ("DELETE", 200, "", Next.DONE),
    ("POST", 201, "", Next.DONE),
    ("POST", 202, "", Next.ACCEPTED),
    # time, credentials, the operator
    *(("PATCH", status, "", Next.WAIT) for status in (408, 425, 429, 503)),
    *(("PATCH", status, "", Next.BROKEN) for status in (304, 500, 502, 504, 599)),
    ("GET", 401, {"code": "bad.credentials", "status": 401}, Next.CREDENTIALS),
    ("GET", 403, {"schemas": "urn:ietf:params:scim:api:messages:2.0:Error"}, Next.FORBIDDEN),
    *(("PATCH", status, "", Next.REFUSED) for status in (301, 402, 413, 451)),
]


@pytest.mark.parametrize(("method", "status", "body", "meaning"), MEANINGS)
def test_answer_means_what_happens_next(method: str, status: int, body: str | dict[str, object], meaning: Next) -> None:
    """One table decides: by the status, the method, the keyword, and the target's words."""
    assert meaning is verdict(answer(status, body), method)


def test_every_line_of_the_table_is_needed() -> None:
    """A line that no answer above reaches would be a line that nobody tried."""
    reached = {row for row in range(len(TABLE)) for each in MEANINGS if _decides(row, each)}

    assert reached == set(range(len(TABLE)))


def _decides(row: int, case: tuple[str, int, str | dict[str, object], Next]) -> bool:
    method, status, body, _ = case
    found = answer(status, body)
    keyword = scim_type(found).lower()
    fitting = [
        number
        for number, each in enumerate(TABLE)
        if (not each.statuses or status in each.statuses)
        and (not each.methods or method in each.methods)
        and (not each.keywords or keyword in each.keywords)
        and (each.words is None or each.words.search(said(found)))
    ]
    return fitting[:1] == [row]


@patiently
@given(st.integers(100, 599), st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", ""]), st.binary(max_size=80))
def test_any_answer_has_a_meaning(status: int, method: str, body: bytes) -> None:
    """Whatever comes, and failure agrees: success alone is done, and only time's matters are postponed."""
    found = answer(status, body)

    meaning = verdict(found, method)

    assert (meaning is Next.DONE) == (200 <= status < 300 and status != 202)
    if meaning in {Next.WAIT, Next.BROKEN}:
        assert isinstance(failure(found, NOW), Postponed)
    if meaning in {Next.CREDENTIALS, Next.FORBIDDEN}:
        assert isinstance(failure(found, NOW), Refused)


ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"


@pytest.mark.parametrize("schemas", [[ERROR], ERROR], ids=["list", "text"])
@pytest.mark.parametrize(
    ("told", "status"),
    [("404", 404), (404, 404), ({"code": "409"}, 409), (None, 500), ("x", 500), ("200", 200)],
    ids=repr,
)
def test_error_that_is_sent_as_success_counts_as_what_it_says(schemas: object, told: object, status: int) -> None:
    """Some answer 200 with an Error in it; its status is a text by the RFC, a number or an object elsewhere (E34)."""
    body = {"schemas": schemas, "detail": "no", "status": told}

    assert status == honest(answer(200, body)).status
    assert honest(answer(400, body)).status == 400


def test_resource_is_no_error() -> None:
    """An account whose title looks like an error's schema stays a success."""
    assert honest(answer(200, {"schemas": ["urn:x"], "title": ERROR, "status": "404"})).status == 200


@pytest.mark.parametrize(
    ("told", "status"),
    [("201", 201), (201, 201), ({"code": "201"}, 201), ({"code": 201}, 201), (True, 0), (None, 0), ("99", 0), ([], 0)],
    ids=repr,
)
def test_status_in_a_body_is_read_in_every_form(told: object, status: int) -> None:
    """A part of a bulk answer tells its status so (E32)."""
    assert status == status_in(told)


@pytest.mark.parametrize("body", ["", "[]", "null", "5", "<html>", "{"])
def test_success_without_an_object_is_no_success(body: str) -> None:
    """A gateway's page says nothing of a person: looked at again later, and never taken for nobody."""
    with pytest.raises(Postponed) as caught:
        document(answer(200, body))

    assert caught.value.reason == "broken"
    assert document(answer(200, " {} ")) == {}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"detail": "no seat", "scimType": "invalidValue", "status": "400"}, "400 invalidValue no seat"),
        ({"detail": "no seat", "status": 400}, "400 no seat"),
        ({"message": "no seat", "code": "general.conflict"}, "400 no seat"),
        ({"error": "invalid_client", "error_description": "no seat"}, "400 no seat"),
        ({"error": {"code": 7}}, '400 {"error": {"code": 7}}'),
        ({"error": {"code": 7, "message": "no seat"}}, "400 no seat"),
        ({"Errors": {"description": "no seat", "code": 400}}, "400 no seat"),
        ({"errors": [{"message": "no seat"}, {"message": "no chair"}]}, "400 no seat"),
        ({"errors": ["no seat"]}, '400 {"errors": ["no seat"]}'),
        ({"__type": "ValidationException", "Message": "no seat"}, "400 no seat"),
        ({"schemas": "urn:x", "status": 400, "detail": "no seat"}, "400 no seat"),
        ({"message": "no seat", "code": "bad", "status": 400, "contextId": "c-1"}, "400 no seat"),
        ("no seat", "400 no seat"),
        ("<html>no seat</html>", "400 <html>no seat</html>"),
        ("", "400"),
        ("[1]", "400 [1]"),
        (b"\xff\xfe", "400 ��"),
    ],
    ids=repr,
)
def test_target_is_quoted(body: bytes | str | dict[str, object], words: str) -> None:
    """SCIM's detail, a vendor's message, or the start of whatever was answered."""
    assert words == said(answer(400, body))


def test_quotation_can_be_kept() -> None:
    """Half a character is legal in JSON and nowhere else."""
    assert said(answer(400, '{"detail": "no \\ud800 seat"}')) == "400 no ? seat"


def test_quotation_is_short() -> None:
    """A page of HTML does not become a record of its length."""
    assert len(said(answer(400, "x" * 10_000))) <= DETAIL_CHARS_MAX + len("400 ")
    assert len(said(answer(400, {"detail": "x" * 10_000}))) <= DETAIL_CHARS_MAX


@patiently
@given(st.binary(max_size=200))
def test_any_bytes_are_read_as_something(body: bytes) -> None:
    """No answer makes us fail."""
    found = answer(500, body)

    assert isinstance(parse(found), dict)
    assert isinstance(scim_type(found), str)
    assert isinstance(failure(found, NOW), Postponed)


def test_deeply_nested_answer_is_no_object() -> None:
    """A hostile depth is no stack overflow."""
    assert parse(answer(200, "[" * 100_000)) == {}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        (" 7 ", 7),
        ("3600", 3_600),
        ("999999999999999999999", RETRY_AFTER_SECONDS_MAX),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(NOW + timedelta(days=9), usegmt=True), RETRY_AFTER_SECONDS_MAX),
        ("Mon, 02 Mar 2026 10:00:30 +0100", 30),
        ("Mon, 02 Mar 2026 09:00:30 -0000", 30),
    ],
)
def test_retry_after_is_read_within_bounds(text: str, seconds: int) -> None:
    """Seconds or a date (RFC 9110 section 10.2.3); never beyond an hour."""
    assert NOW + timedelta(seconds=seconds) == retry_at({"retry-after": text}, NOW)


@pytest.mark.parametrize("minutes", [-5, 0, 5])
def test_date_is_one_of_the_clock_that_named_it(minutes: int) -> None:
    """Their clock and ours are minutes apart: how long they meant is told by the Date of the answer."""
    theirs = NOW + timedelta(minutes=minutes)
    headers = {"date": format_datetime(theirs, usegmt=True)}

    found = retry_at(headers | {"retry-after": format_datetime(theirs + timedelta(seconds=30), usegmt=True)}, NOW)

    assert found == NOW + timedelta(seconds=30)


@pytest.mark.parametrize("text", ["0", "000", format_datetime(NOW - timedelta(days=9), usegmt=True)])
def test_moment_that_is_not_ahead_is_no_moment(text: str) -> None:
    """Whoever took it at its word would ask again at once, for ever."""
    assert retry_at({"retry-after": text}, NOW) is None


@pytest.mark.parametrize(
    "text",
    ["", "soon", "-5", "1.5", "٣", "Mon, 99 Foo 2026", "1e9", "7,9", f"Mon, 01 Jan 2030 00:00:00 +{10**20 - 1}"],
)
def test_retry_after_that_says_nothing_is_nothing(text: str) -> None:
    """Then the curve of waits decides."""
    assert retry_at({"retry-after": text}, NOW) is None


@patiently
@given(st.text(max_size=40))
def test_any_retry_after_is_survived(text: str) -> None:
    """A header of a stranger is a moment within bounds, or nothing."""
    found = retry_at({"retry-after": text}, NOW)

    assert found is None or NOW <= found <= NOW + timedelta(seconds=RETRY_AFTER_SECONDS_MAX)


# ---- the HTTP library


# httpx.StreamError is not among them: it tells of misuse by the caller.
KINDS = sorted({*subclasses(httpx.HTTPError), httpx.InvalidURL}, key=lambda kind: kind.__name__)
NOT_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol"}


def failing(kind: type[Exception]) -> Http:
    """Make a client whose network fails so."""

    def fail(request: httpx.Request) -> httpx.Response:
        if kind is httpx.HTTPStatusError:
            raise httpx.HTTPStatusError("no", request=request, response=httpx.Response(500))
        try:
            raise kind("no")
        except TypeError:
            raise kind() from None

    return Http(transport=httpx.MockTransport(fail))


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_of_the_library_becomes_ours(kind: type[Exception]) -> None:
    """None of its exceptions gets through as a fault of ours, and what was surely not sent is told apart."""
    with pytest.raises(GatepostError) as caught:
        failing(kind).send("GET", "https://crm.test/", headers={})

    expected = "url" if kind is httpx.InvalidURL else "unreachable" if kind.__name__ in NOT_SENT else "no_answer"
    assert caught.value.reason == expected
    assert caught.value.__cause__ is not None
    assert "crm.test" not in caught.value.message


@pytest.mark.parametrize(
    "url", ["https://crm.test:99999/", "https://[::bad/", "crm.test/x", "ftp://crm.test/", "https:///x", "\x00"]
)
def test_url_that_cannot_be_used_is_an_error_of_ours(url: str) -> None:
    """Whatever a configuration holds, the job ends in an outcome."""
    with pytest.raises(GatepostError):
        Http().send("GET", url, headers={})


def test_answer_is_read_up_to_a_limit() -> None:
    """A flood is cut, and what was read is used."""
    http = Http(transport=httpx.MockTransport(lambda _: httpx.Response(200, content=b"x" * 50_000)), bytes_max=1_000)

    assert len(http.send("GET", "https://crm.test/", headers={}).body) == 1_000
    assert ANSWER_BYTES_MAX <= 10_000_000


class Drip(httpx.SyncByteStream):
    """A body that never ends."""

    def __iter__(self) -> Iterator[bytes]:
        """Give a byte now and then."""
        while True:
            time.sleep(0.01)
            yield b"x"


def test_answer_that_drips_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that never ends keeps no worker: the time of the whole is bounded, not only of its parts."""
    monkeypatch.setattr("workers.http.ANSWER_SECONDS", 0.2)
    monkeypatch.setattr("workers.http.CONNECT_SECONDS", 0.1)
    http = Http(transport=httpx.MockTransport(lambda _: httpx.Response(200, stream=Drip())))
    started = time.monotonic()

    answer = http.send("GET", "https://crm.test/", headers={})

    assert answer.status == 200
    assert time.monotonic() - started < 5


def test_body_that_cannot_be_decompressed_is_no_answer() -> None:
    """A broken gzip may hide that the write happened: postponed, and looked for."""
    broken = httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(b"no gzip"))

    with pytest.raises(Postponed) as caught:
        Http(transport=httpx.MockTransport(lambda _: broken)).send("GET", "https://crm.test/", headers={})

    assert caught.value.reason == "no_answer"


def test_redirect_is_not_followed() -> None:
    """A redirect would carry the bearer to wherever it points."""
    asked = []

    def redirect(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(307, headers={"location": "https://evil.test/"})

    assert Http(transport=httpx.MockTransport(redirect)).send("GET", "https://crm.test/", headers={}).status == 307
    assert asked == ["https://crm.test/"]
