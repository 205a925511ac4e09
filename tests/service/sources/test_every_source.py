"""The contract of a source, over every source and every captured notice.

A new source runs through it by its line in ``SOURCES`` and its folder of fixtures.
"""

import base64
import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle.errors import Malformed, Unauthentic, Unreadable, Unsupported
from lifecycle.event import Event
from service.sources import SOURCES, standard_webhooks
from service.sources.base import Assurance, Counts, Notice
from tests.notices import AT, OLD_SECRETS, SECRETS, Captured, canonical, load, names, okta, okta_entry

WINDOW = timedelta(seconds=300)
SECOND = timedelta(seconds=1)
NO_CREDENTIALS = frozenset({"content-type"})
ANYTHING = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])

GREETINGS = [name for name in names() if "greeting" in load(name).expected]
NOTICES = [name for name in names() if name not in GREETINGS]
SIGNED = [name for name in NOTICES if SOURCES[load(name).adapter].ASSURANCE is Assurance.SIGNED_BODY_WITH_TIME]

every_source = pytest.mark.parametrize("adapter", list(SOURCES))
every_notice = pytest.mark.parametrize("name", NOTICES)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
header_values = st.text(st.characters(max_codepoint=255), max_size=80)


def credentials(captured: Captured) -> list[str]:
    """Name the headers by which this source proves who it is."""
    sent = SOURCES[captured.adapter].sign(b"", SECRETS[captured.adapter], captured.at)
    return [name for name in sent if name not in NO_CREDENTIALS]


def with_header(notice: Notice, name: str, value: str | None) -> Notice:
    """Return the notice with one header replaced, or without it."""
    rest = {other: found for other, found in notice.headers.items() if other != name}
    return notice._replace(headers=rest if value is None else rest | {name: value})


def signed_by(adapter: str, body: bytes, secret: str) -> Notice:
    """Return a notice that the source's own sender would make at the fixtures' time."""
    at = load(names(adapter)[-1]).at
    return Notice("POST", "", SOURCES[adapter].sign(body, secret, at), body)


def dump(event: Event) -> dict[str, Any]:
    """Return what an event says, as it stands in a fixture: what was not mentioned is absent."""
    return event.model_dump(mode="json", exclude_unset=True, exclude={"received_at"})


def refused(captured: Captured, notice: Notice, *, after: timedelta = timedelta(0)) -> bool:
    """Tell whether the notice is unauthentic; any other error fails the test, by going up."""
    try:
        SOURCES[captured.adapter].verify(notice, [SECRETS[captured.adapter]], captured.at + after)
    except Unauthentic:
        return True
    return False


def test_every_adapter_has_fixtures_and_a_secret() -> None:
    """No source is in the registry without captured notices, and no fixture is without a source."""
    folders = {name.partition("/")[0] for name in names()}

    assert set(SOURCES) == folders == set(SECRETS) == set(OLD_SECRETS)


@every_source
def test_every_kind_has_a_fixture(adapter: str) -> None:
    """The vendor's words in KINDS and in the fixtures are the same, and those ignored as unknown are none of them."""
    captured = [load(name).expected for name in NOTICES if name.startswith(f"{adapter}/")]

    kinds = {event["vendor_kind"]: event["kind"] for expected in captured for event in expected["events"]}
    ignored = {word for expected in captured for word in expected["ignored"]}

    assert kinds == dict(SOURCES[adapter].KINDS)
    assert ignored - kinds.keys(), "no fixture has a kind that we do not carry"


@every_notice
def test_fixture_is_believed_and_reads_to_exactly_its_events(name: str) -> None:
    """A captured notice passes at its own time and says what stands beside it: no more, no less, in its order."""
    captured = load(name)
    source = SOURCES[captured.adapter]

    assert source.greet(captured.notice) is None
    source.verify(captured.notice, [SECRETS[captured.adapter]], captured.at)
    reading = source.read(captured.notice, captured.adapter, captured.at)

    assert [dump(event) for event in reading.events] == captured.expected["events"]
    assert list(reading.ignored) == captured.expected["ignored"]
    assert {event.received_at for event in reading.events} <= {captured.at}


@every_notice
def test_second_copy_gives_the_same_ids(name: str) -> None:
    """A repeat, later and under another clock, names the same events; so it can be seen as one."""
    captured = load(name)
    read = SOURCES[captured.adapter].read

    first = read(captured.notice, captured.adapter, captured.at)
    second = read(captured.notice, captured.adapter, captured.at + timedelta(days=1))

    assert [event.ref for event in first.events] == [event.ref for event in second.events]
    assert len(first.events) == len({event.ref for event in first.events})


@pytest.mark.parametrize("name", GREETINGS)
def test_handshake_is_answered_as_the_vendor_wants(name: str) -> None:
    """A captured handshake gets its answer without a secret."""
    captured = load(name)
    expected = captured.expected["greeting"]

    answer = SOURCES[captured.adapter].greet(captured.notice)

    assert answer is not None
    assert answer.status == expected["status"]
    assert answer.media_type == expected["media_type"]
    assert json.loads(answer.body) == expected["body"]


@every_source
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "\x00"])
def test_other_methods_are_refused_in_our_words(adapter: str, method: str) -> None:
    """A request that is neither a notice nor a handshake is the sender's mistake."""
    with pytest.raises((Unsupported, Malformed)):
        SOURCES[adapter].greet(Notice(method, "", {}, b""))


@every_source
def test_answer_is_a_success_of_the_source(adapter: str) -> None:
    """Whatever became of the events, an authentic notice is answered with a 2xx."""
    statuses = {SOURCES[adapter].answer(counts).status for counts in (Counts(0, 0, 0), Counts(1, 2, 3))}

    assert len(statuses) == 1
    assert statuses <= set(range(200, 300))


@every_notice
def test_missing_or_empty_credential_is_unauthentic(name: str) -> None:
    """Without any one of the headers that prove the sender, nothing is believed."""
    captured = load(name)

    believed = [
        (header, value)
        for header in credentials(captured)
        for value in (None, "", " ")
        if not refused(captured, with_header(captured.notice, header, value))
    ]

    assert believed == []


def forged(value: str) -> Iterator[str]:
    """Make what looks like the credential: cut, longer, one character off, in another scheme, in other letter case."""
    yield from (value[:end] for end in range(len(value)))
    yield from (value[start:] for start in range(1, len(value)))
    yield from (f"{value[:at]}{chr(ord(value[at]) ^ 1)}{value[at + 1 :]}" for at in range(len(value)))
    yield from (f"{value}{value[-1]}", f"{value}=", f"Bearer {value}", f"{value} x", f"v0,{value}", f"v1a,{value[3:]}")
    yield f"Basic {base64.b64encode(value.encode()).decode()}"
    if value.swapcase() != value:
        yield value.swapcase()


@pytest.mark.parametrize("name", ["okta/several_events", "standard_webhooks/person_left"])
def test_forged_credential_is_unauthentic(name: str) -> None:
    """A credential that is cut, longer, changed by one bit or dressed up as another scheme is not believed."""
    captured = load(name)

    believed = [
        (header, value)
        for header in credentials(captured)
        for value in forged(captured.notice.headers[header])
        if not _harmless(header, value, captured) and not refused(captured, with_header(captured.notice, header, value))
    ]

    assert believed == []


def _harmless(header: str, value: str, captured: Captured) -> bool:
    # Several signatures are how the standard rotates keys: one that fits is enough, whatever stands beside it.
    return header == "webhook-signature" and captured.notice.headers[header] in value.split(" ")


@every_source
def test_other_secret_is_unauthentic(adapter: str) -> None:
    """What another secret proves is not believed; nor is anything when no secret is live."""
    notice = signed_by(adapter, b"{}", OLD_SECRETS[adapter])
    captured = load(names(adapter)[-1])

    assert refused(captured, notice)
    with pytest.raises(Unauthentic):
        SOURCES[adapter].verify(notice, [], captured.at)


@every_source
def test_old_and_new_secret_both_pass_during_a_rotation(adapter: str) -> None:
    """Every live secret counts, in whatever place of the list it stands."""
    captured = load(names(adapter)[-1])
    old, new = OLD_SECRETS[adapter], SECRETS[adapter]

    for live in ([new, old], [old, new]):
        for used in (old, new):
            SOURCES[adapter].verify(signed_by(adapter, b"{}", used), live, captured.at)


@every_source
def test_published_secrets_are_ones_of_the_source(adapter: str) -> None:
    """The start does not refuse the secrets that the tests sign with, and refuses one that no sender could use."""
    SOURCES[adapter].check([SECRETS[adapter], OLD_SECRETS[adapter]])

    with pytest.raises(ValueError, match=r"\S"):
        SOURCES[adapter].check([SECRETS[adapter], "two\nlines"])


@pytest.mark.parametrize("name", SIGNED)
def test_any_flipped_byte_of_a_signed_notice_is_unauthentic(name: str) -> None:
    """Where the body is signed, a change of any one byte of it is seen; so is a byte less or more."""
    captured = load(name)
    body = captured.notice.body
    changed = [body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :] for at in range(len(body))]

    believed = [
        other
        for other in (*changed, body[:-1], body + b"\n", b"")
        if not refused(captured, captured.notice._replace(body=other))
    ]

    assert believed == []


@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.parametrize("direction", [1, -1])
def test_time_outside_the_window_is_unauthentic(name: str, direction: int) -> None:
    """Where the time is signed, five minutes in the past and in the future are the edge: on it believed, past not."""
    captured = load(name)

    assert not refused(captured, captured.notice, after=direction * WINDOW)
    assert refused(captured, captured.notice, after=direction * (WINDOW + SECOND))


@every_source
@ANYTHING
@given(data=st.data())
def test_any_bytes_raise_only_our_errors(adapter: str, data: st.DataObject) -> None:
    """A stranger's bytes, in the body and in the headers that prove the sender, end in Unauthentic or Unreadable."""
    captured = load(names(adapter)[-1])
    headers = {name: data.draw(header_values) for name in credentials(captured)}
    notice = Notice("POST", "", headers, data.draw(st.binary(max_size=300)))

    with pytest.raises(Unauthentic):
        SOURCES[adapter].verify(notice, [SECRETS[adapter]], captured.at)
    with suppress(Unreadable):
        assert_keepable(SOURCES[adapter].read(notice, adapter, captured.at).events)


@every_source
@ANYTHING
@given(data=st.data())
def test_any_json_in_any_place_of_a_notice_is_read_or_unreadable(adapter: str, data: st.DataObject) -> None:
    """A vendor's change of shape, wherever it is, gives events that can be kept or Unreadable: never another error."""
    captured = load(data.draw(st.sampled_from([name for name in NOTICES if name.startswith(f"{adapter}/")])))
    document = json.loads(captured.notice.body)
    place = data.draw(st.sampled_from(list(places(document))))
    body = json.dumps(replaced(document, place, data.draw(json_values))).encode()

    with suppress(Unreadable):
        assert_keepable(SOURCES[adapter].read(captured.notice._replace(body=body), adapter, captured.at).events)


@every_source
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"type": "person.left", "timestamp": "2026-03-02T08:59:58Z", "data": {"person": {"external_id": "\\ud800"}}}',
        b'{"type": "person.left", "timestamp": 1e400, "data": {"id": "1", "person": {"email": "a"}}}',
        okta(okta_entry() | {"published": "9999-12-31T23:59:59-14:00"}),
        okta(okta_entry() | {"uuid": ""}),
        okta(okta_entry() | {"uuid": "x" * 257}),
        okta(okta_entry() | {"target": []}),
        okta(*[okta_entry()] * 501),
        canonical(id="x" * 257),
        canonical(person={"display_name": "Bo Ray"}),
        canonical(effective_at="0001-01-01T00:00:00+14:00"),
        canonical(effective_at="2026-13-06"),
        canonical(effective_at="2026-02-30"),
        canonical(effective_at="2026-03-06T25:00:00"),
        canonical(effective_at="06.03.2026"),
        canonical(effective_at="20260306"),
        canonical(effective_at=20260306),
        canonical(effective_at=True),
    ],
)
def test_hostile_body_is_unreadable(adapter: str, body: bytes) -> None:
    """Nesting without end, broken letters and moments outside the calendar are Unreadable, in a moment."""
    with pytest.raises(Unreadable):
        SOURCES[adapter].read(Notice("POST", "", {}, body), adapter, load(names(adapter)[-1]).at)


@pytest.mark.parametrize("told", ["2026-13-06", "20260306"])
def test_date_that_is_none_is_told_of_where_it_stands(told: str) -> None:
    """Whoever reads of the notice that was set aside learns which field it is, and how a day is written."""
    with pytest.raises(Unreadable, match=r"data\.effective_at: .*(month|2026-03-06)") as error:
        standard_webhooks.read(Notice("POST", "", {}, canonical(effective_at=told)), "hris", AT)

    assert told not in str(error.value)


@pytest.mark.parametrize(
    ("told", "fields"),
    [
        (1772787600, {"effective_at": "2026-03-06T09:00:00Z"}),
        ("1772787600", {"effective_at": "2026-03-06T09:00:00Z"}),
        ("2026-03-06T00:00:03.120455", {"effective_on": "2026-03-06T00:00:03.120455"}),
        ("2026-03-06T00:00", {"effective_on": "2026-03-06T00:00:00"}),
        ("2026-03-06", {"effective_on": "2026-03-06"}),
        ("9999-12-31", {"effective_on": "9999-12-31"}),
        ("0001-01-01", {"effective_on": "0001-01-01"}),
    ],
    ids=repr,
)
def test_canonical_effect_is_a_moment_or_stays_local(told: object, fields: dict[str, str]) -> None:
    """A moment that names its zone is brought to UTC; one that does not is left for the person's own."""
    (read,) = standard_webhooks.read(Notice("POST", "", {}, canonical(effective_at=told)), "hris", AT).events

    assert {name: value for name, value in dump(read).items() if name.startswith("effective")} == fields


@pytest.mark.parametrize("depth", [1, 60, 120, 180, 194, 195, 196, 197, 198, 199, 200, 250])
def test_whatever_depth_is_read_can_be_kept(depth: int) -> None:
    """A nested custom field is either Unreadable or survives its way through Redis."""
    custom = "1"
    for _ in range(depth):
        custom = f'{{"a": {custom}}}'
    captured = load("standard_webhooks/person_left")
    body = captured.notice.body.replace(b'"person": {', b'"person": {"custom": {"deep": %s}, ' % custom.encode())

    with suppress(Unreadable):
        assert_keepable(standard_webhooks.read(captured.notice._replace(body=body), "hris", captured.at).events)


def assert_keepable(events: tuple[Event, ...]) -> None:
    """Assert what the queue and the workers need of an event: a key each, and the same value after Redis."""
    for event in events:
        assert event.id
        assert event.person
        assert Event.model_validate_json(event.to_json()).ref == event.ref


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401 - JSON
    """Walk every place of a JSON document."""
    yield path
    if isinstance(document, dict | list):
        for name in document if isinstance(document, dict) else range(len(document)):
            yield from places(document[name], (*path, name))


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return the document with another value in one place."""
    if not path:
        return value
    copy = document.copy()
    copy[path[0]] = replaced(document[path[0]], path[1:], value)
    return copy
