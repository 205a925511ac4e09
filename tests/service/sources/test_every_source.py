"""The contract of a source, over every source and every captured notice.

A new source runs through it by its line in ``SOURCES`` and its folder of fixtures.
"""

import base64
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle.errors import GatepostError, Rejected, Unauthentic, Unavailable, Unreadable
from lifecycle.event import Event, Kind
from service.sources import SOURCES, standard_webhooks
from service.sources.base import UNSIGNED, Assurance, Counts, Notice, Setup, Source
from tests.notices import (
    AT,
    Captured,
    adapter_of,
    canonical,
    folders,
    load,
    names,
    okta,
    okta_entry,
    old_and_new,
    setup_of,
)

DAY = timedelta(days=1)
NO_CREDENTIALS = frozenset({"content-type"})
ANYTHING = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
FLIPS_MAX = 400
HALF_A_PAIR = "\ud83d"
"""What JSON can escape, and no encoding can say."""
HRIS = setup_of("standard_webhooks")

FOLDERS = folders()
GREETINGS = [name for name in names() if "greeting" in load(name).expected]
NOTICES = [name for name in names() if name not in GREETINGS]


def source_of(folder: str) -> Source:
    """Return the module that a folder of fixtures is for."""
    return SOURCES[adapter_of(folder)]


def assurance_of(folder: str) -> Assurance:
    """Return how far a source can be believed as this folder configures it."""
    return source_of(folder).assurance(setup_of(folder))


def notices_of(folder: str) -> list[str]:
    """Return a folder's notices."""
    return [name for name in NOTICES if name.startswith(f"{folder}/")]


def assured(*kinds: Assurance) -> list[str]:
    """Return the notices of all sources that promise one of these."""
    return [name for name in NOTICES if assurance_of(name.partition("/")[0]) in kinds]


def of_folders(adapter: str) -> list[str]:
    """Return the folders of one module."""
    return [folder for folder in FOLDERS if adapter_of(folder) == adapter]


def kinds_of(folder: str) -> dict[str, Kind]:
    """Return the words that a folder's configuration adds."""
    return dict(getattr(setup_of(folder).options, "kinds", {}))


PROVEN = [folder for folder in FOLDERS if assurance_of(folder) is not Assurance.NONE]
ROTATED = [folder for folder in PROVEN if len(old_and_new(folder)) > 1]
SIGNED = assured(Assurance.SIGNED_BODY, Assurance.SIGNED_BODY_WITH_TIME, Assurance.SIGNED_TOKEN)
TIMED = assured(Assurance.SIGNED_BODY_WITH_TIME)

every_folder = pytest.mark.parametrize("folder", FOLDERS)
every_proven = pytest.mark.parametrize("folder", PROVEN)
every_notice = pytest.mark.parametrize("name", NOTICES)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just(HALF_A_PAIR),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
header_values = st.text(st.characters(max_codepoint=255), max_size=80)


def sample(folder: str) -> Captured:
    """Return one notice of a folder."""
    return load(notices_of(folder)[-1])


def signed_by(folder: str, setup: Setup, notice: Notice | None = None) -> Notice:
    """Return a notice that the source's own sender would make at the fixtures' time."""
    captured = sample(folder)
    return source_of(folder).sign(notice or captured.notice, setup, captured.at)


def bare(captured: Captured) -> Notice:
    """Return a notice without whatever proves its sender in a header or in the query."""
    added = credentials(captured)
    headers = {name: value for name, value in captured.notice.headers.items() if name not in added}
    return captured.notice._replace(headers=headers, query="")


def credentials(captured: Captured) -> list[str]:
    """Name the headers by which this source proves who it is."""
    sent = source_of(captured.folder).sign(Notice("POST", "", {}, captured.notice.body), captured.setup, captured.at)
    return [name for name in sent.headers if name not in NO_CREDENTIALS]


@cache
def proofs_of(folder: str) -> list[str]:
    """Name the headers by which the source of a folder proves who it is."""
    return credentials(sample(folder))


def with_header(notice: Notice, name: str, value: str | None) -> Notice:
    """Return the notice with one header replaced, or without it."""
    rest = {other: found for other, found in notice.headers.items() if other != name}
    return notice._replace(headers=rest if value is None else rest | {name: value})


def dump(event: Event) -> dict[str, Any]:
    """Return what an event says, as it stands in a fixture: what was not mentioned is absent."""
    return event.model_dump(mode="json", exclude_unset=True, exclude={"received_at"})


def refused(captured: Captured, notice: Notice, *, after: timedelta = timedelta(0), setup: Setup | None = None) -> bool:
    """Tell whether the notice is unauthentic; any other error fails the test, by going up."""
    try:
        source_of(captured.folder).verify(notice, setup or captured.setup, captured.at + after)
    except Unauthentic:
        return True
    return False


def test_every_adapter_has_fixtures() -> None:
    """No source is in the registry without captured notices, and no fixture is without a source."""
    assert {adapter_of(folder) for folder in FOLDERS} == set(SOURCES)
    assert all(notices_of(folder) for folder in FOLDERS)


@pytest.mark.parametrize("adapter", list(SOURCES))
def test_every_kind_has_a_fixture(adapter: str) -> None:
    """The vendor's words in KINDS and in the fixtures are the same, and those ignored as unknown are none of them."""
    of_it = [load(name).expected for name in NOTICES if load(name).adapter == adapter]

    kinds = {event["vendor_kind"]: event["kind"] for expected in of_it for event in expected["events"]}
    ignored = {word for expected in of_it for word in expected["ignored"]}

    # Some sources are told by the configuration which words there are.
    named = {word: kind for folder in of_folders(adapter) for word, kind in kinds_of(folder).items()}
    assert kinds == {**SOURCES[adapter].KINDS, **named}
    assert ignored - kinds.keys(), "no fixture has a kind that we do not carry"


@every_notice
def test_fixture_is_believed_and_reads_to_exactly_its_events(name: str) -> None:
    """A captured notice passes at its own time and says what stands beside it: no more, no less, in its order."""
    captured = load(name)
    source = source_of(captured.folder)

    assert source.greet(captured.notice, captured.setup, captured.at) is None
    proof = source.verify(captured.notice, captured.setup, captured.at)
    reading = source.read(captured.notice, captured.setup, captured.at)

    assert (
        proof in captured.setup.secrets or proof.startswith("kid:") or assurance_of(captured.folder) is Assurance.NONE
    )
    assert [dump(event) for event in reading.events] == captured.expected["events"]
    assert list(reading.ignored) == captured.expected["ignored"]
    assert list(reading.upkeep) == captured.expected.get("upkeep", [])
    assert len(reading.faults) == captured.expected.get("faults", 0)
    assert {event.received_at for event in reading.events} <= {captured.at}


@every_notice
def test_second_copy_is_seen_as_one_or_only_looks_again(name: str) -> None:
    """A repeat, later and under another clock, names the same events; where it cannot, it is no more than a look."""
    captured = load(name)
    read = source_of(captured.folder).read

    first = read(captured.notice, captured.setup, captured.at).events
    second = read(captured.notice, captured.setup, captured.at + DAY).events

    assert len(first) == len({event.ref for event in first})
    assert len(first) == len(second)
    apart = [one for one, other in zip(first, second, strict=True) if one.ref != other.ref]
    assert assurance_of(captured.folder) in UNSIGNED or {event.kind for event in apart} <= {Kind.CHANGED}


@every_notice
def test_a_vendors_retry_is_signed_anew_and_seen_as_one(name: str) -> None:
    """What the vendor sends again some time later passes again and names the same events, or only looks again."""
    captured = load(name)
    source, later = source_of(captured.folder), captured.at + DAY

    again = source.sign(captured.notice, captured.setup, later)
    source.verify(again, captured.setup, later)
    first = source.read(captured.notice, captured.setup, captured.at).events
    second = source.read(again, captured.setup, later).events

    apart = [one for one, other in zip(first, second, strict=True) if one.ref != other.ref]
    assert assurance_of(captured.folder) in UNSIGNED or {event.kind for event in apart} <= {Kind.CHANGED}


@pytest.mark.parametrize("name", GREETINGS)
def test_handshake_is_answered_as_the_vendor_wants(name: str) -> None:
    """A captured handshake gets its answer: status, kind, body and headers; what it hands over is kept."""
    captured = load(name)
    expected = captured.expected["greeting"]

    greeting = source_of(captured.folder).greet(captured.notice, captured.setup, captured.at)

    assert greeting is not None
    assert greeting.answer.status == expected["status"]
    assert greeting.answer.media_type == expected["media_type"]
    body = greeting.answer.body.decode()
    assert (json.loads(body) if isinstance(expected["body"], dict) else body) == expected["body"]
    assert dict(greeting.answer.headers) == expected.get("headers", {})
    assert greeting.keep == expected.get("keep")


@every_folder
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "\x00"])
def test_other_methods_are_refused_in_our_words(folder: str, method: str) -> None:
    """A request that is neither a notice nor a handshake is the sender's mistake."""
    with pytest.raises(Rejected):
        source_of(folder).greet(Notice(method, "", {}, b""), setup_of(folder), AT)


@every_folder
def test_answer_is_a_success_of_the_source(folder: str) -> None:
    """Whatever became of the events, an authentic notice is answered with a 2xx."""
    statuses = {source_of(folder).answer(counts).status for counts in (Counts(0, 0, 0), Counts(1, 2, 3))}

    assert len(statuses) == 1
    assert statuses <= set(range(200, 300))


@every_folder
def test_refusal_is_a_4xx(folder: str) -> None:
    """What is not believed is refused, in the source's own words or in ours."""
    answer = source_of(folder).refuse(Unauthentic("no", reason="secret_wrong"))

    assert answer is None or 400 <= answer.status < 500


@pytest.mark.parametrize("name", [name for name in NOTICES if name.partition("/")[0] in PROVEN])
def test_missing_or_empty_credential_is_unauthentic(name: str) -> None:
    """Without any one of the headers that prove the sender, nothing is believed; nor without all that it sent."""
    captured = load(name)

    believed = [
        (header, value)
        for header in credentials(captured)
        for value in (None, "", " ")
        if not refused(captured, with_header(captured.notice, header, value))
    ]

    assert believed == []
    assert refused(captured, bare(captured)._replace(body=b""))


def forged(value: str) -> Iterator[str]:
    """Make what looks like the credential: cut, longer, one character off, in another scheme, in other letter case."""
    yield from (value[:end] for end in range(len(value)))
    yield from (value[start:] for start in range(1, len(value)))
    yield from (f"{value[:at]}{chr(ord(value[at]) ^ 1)}{value[at + 1 :]}" for at in range(len(value)))
    yield from (f"{value}{value[-1]}", f"{value}=", f"Bearer {value}", f"{value} x", f"v0,{value}", f"v1a,{value[3:]}")
    yield f"Basic {base64.b64encode(value.encode()).decode()}"
    if value.swapcase() != value:
        yield value.swapcase()


@every_proven
def test_forged_credential_is_unauthentic(folder: str) -> None:
    """A credential that is cut, longer, changed by one bit or dressed up as another scheme is not believed."""
    captured = sample(folder)

    believed = [
        (header, value)
        for header in credentials(captured)
        for value in forged(captured.notice.headers[header])
        if not _same(captured, header, value) and not refused(captured, with_header(captured.notice, header, value))
    ]

    assert believed == []


def _same(captured: Captured, header: str, value: str) -> bool:
    """Tell whether a changed credential says the same, in a form that the vendor's own libraries take as well."""
    original = captured.notice.headers[header]
    # Several signatures are how the standard rotates keys: one that fits is enough, whatever stands beside it.
    if original in value.split(" "):
        return True
    # Letter case of hexadecimal digits, padding of base64url.
    return value.lower() == original.lower() or value.rstrip("=") == original.rstrip("=")


@pytest.mark.parametrize("folder", ROTATED)
def test_other_secret_is_unauthentic(folder: str) -> None:
    """What another secret proves is not believed; nor is anything when no secret is live."""
    captured, live = sample(folder), old_and_new(folder)

    assert refused(captured, signed_by(folder, setup_of(folder, live[1])))
    assert refused(captured, captured.notice, setup=setup_of(folder, live[1]))
    with pytest.raises(Unauthentic):
        source_of(folder).verify(captured.notice, replace(captured.setup, secrets=()), captured.at)


@pytest.mark.parametrize("folder", ROTATED)
def test_old_and_new_secret_both_pass_during_a_rotation(folder: str) -> None:
    """Every live secret counts, in whatever place of the list it stands, and it is told which one it was."""
    captured, (new, old) = sample(folder), old_and_new(folder)

    for live in ((new, old), (old, new)):
        for used in (old, new):
            notice = signed_by(folder, setup_of(folder, used))
            assert source_of(folder).verify(notice, setup_of(folder, *live), captured.at) == used


@every_folder
def test_published_secrets_are_ones_of_the_source(folder: str) -> None:
    """The start does not refuse the secrets that the tests sign with."""
    source_of(folder).check(setup_of(folder, *old_and_new(folder)))


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if old_and_new(folder)])
def test_secret_that_no_sender_could_use_is_refused(folder: str) -> None:
    """A secret of two lines is a mistake of whoever wrote the file."""
    with pytest.raises(ValueError, match=r"\S"):
        source_of(folder).check(setup_of(folder, "two\nlines"))


@pytest.mark.parametrize("name", SIGNED)
def test_any_flipped_byte_of_a_signed_notice_is_unauthentic(name: str) -> None:
    """Where the body is signed, a change of any one byte of it is seen; so is a byte less or more."""
    captured = load(name)
    body = captured.notice.body
    # A token is long and slow to check, and its last character may have bits that say nothing.
    is_token = assurance_of(captured.folder) is Assurance.SIGNED_TOKEN
    places = range(0, len(body) - is_token, max(1, len(body) // FLIPS_MAX) if is_token else 1)
    changed = [body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :] for at in places]

    believed = [
        other
        for other in (*changed, body[:-2], body + b"x", b"")
        if not refused(captured, captured.notice._replace(body=other))
    ]

    assert believed == []


@pytest.mark.parametrize("name", TIMED)
@pytest.mark.parametrize("direction", [1, -1])
def test_time_outside_the_window_is_unauthentic(name: str, direction: int) -> None:
    """Where the time is signed, what is a quarter of an hour old or ahead is refused, and a minute is not."""
    captured = load(name)

    assert not refused(captured, captured.notice, after=direction * timedelta(minutes=1))
    assert refused(captured, captured.notice, after=direction * timedelta(minutes=15))


@every_folder
@ANYTHING
@given(data=st.data())
def test_any_bytes_raise_only_our_errors(folder: str, data: st.DataObject) -> None:
    """A stranger's bytes, in the body and in the headers that prove the sender, end in Unauthentic or Unreadable."""
    captured = sample(folder)
    source, setup = source_of(folder), captured.setup
    headers = {name: data.draw(header_values) for name in proofs_of(folder)}
    notice = Notice("POST", data.draw(header_values), headers, data.draw(st.binary(max_size=300)))

    with suppress(GatepostError):
        source.greet(notice, setup, captured.at)
    if assurance_of(folder) is not Assurance.NONE:
        with pytest.raises((Unauthentic, Unavailable)):
            source.verify(notice, setup, captured.at)
    with suppress(Unreadable):
        assert_keepable(source.read(notice, setup, captured.at).events)


@every_folder
@ANYTHING
@given(data=st.data())
def test_any_json_in_any_place_of_a_notice_is_read_or_unreadable(folder: str, data: st.DataObject) -> None:
    """A vendor's change of shape, wherever it is, gives events that can be kept or Unreadable: never another error."""
    captured = load(data.draw(st.sampled_from(notices_of(folder))))
    try:
        document = json.loads(captured.notice.body)
    except ValueError:
        return  # forms, lines and tokens: their modules' own tests change them
    place = data.draw(st.sampled_from(list(places(document))))
    body = json.dumps(replaced(document, place, data.draw(json_values))).encode()

    with suppress(Unreadable):
        read = source_of(folder).read(captured.notice._replace(body=body), captured.setup, captured.at)
        assert_keepable(read.events)


@every_folder
@pytest.mark.parametrize("body", [b"", b"null", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"x=1"])
def test_hostile_body_has_no_events(folder: str, body: bytes) -> None:
    """Nesting without end and broken letters are Unreadable, or of no kind that we carry, in a moment."""
    with suppress(Unreadable):
        assert source_of(folder).read(Notice("POST", "", {}, body), setup_of(folder), AT).events == ()


@pytest.mark.parametrize(
    ("folder", "body"),
    [
        (
            "standard_webhooks",
            canonical(person={"external_id": "SURROGATE"}).replace(b"SURROGATE", b"\\ud800"),
        ),
        ("standard_webhooks", b'{"type": "person.left", "timestamp": 1e400, "data": {"person": {"email": "a"}}}'),
        ("okta", okta(okta_entry() | {"published": "9999-12-31T23:59:59-14:00"})),
        ("okta", okta(okta_entry() | {"uuid": ""})),
        ("okta", okta(okta_entry() | {"uuid": "x" * 257})),
        ("okta", okta(okta_entry() | {"target": []})),
        ("okta", okta(*[okta_entry()] * 5_001)),
        *(
            ("standard_webhooks", body)
            for body in (
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
            )
        ),
    ],
)
def test_hostile_values_are_unreadable(folder: str, body: bytes) -> None:
    """Moments outside the calendar, ids without end and persons without a name are Unreadable."""
    with pytest.raises(Unreadable):
        source_of(folder).read(Notice("POST", "", {}, body), setup_of(folder), AT)


def test_one_unreadable_entry_keeps_no_other_waiting() -> None:
    """Of a batch all that can be read counts, and it is told that something was not."""
    body = okta(okta_entry("first"), okta_entry("odd") | {"target": []}, okta_entry("last"))

    reading = source_of("okta").read(Notice("POST", "", {}, body), setup_of("okta"), AT)

    assert [event.id for event in reading.events] == ["first", "last"]
    assert len(reading.faults) == 1
    assert "entry 1" in reading.faults[0]


@pytest.mark.parametrize("told", ["2026-13-06", "20260306"])
def test_date_that_is_none_is_told_of_where_it_stands(told: str) -> None:
    """Whoever reads of the notice that was set aside learns which field it is, and how a day is written."""
    with pytest.raises(Unreadable, match=r"data\.effective_at: .*(month|2026-03-06)") as error:
        standard_webhooks.read(Notice("POST", "", {}, canonical(effective_at=told)), HRIS, AT)

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
    (read,) = standard_webhooks.read(Notice("POST", "", {}, canonical(effective_at=told)), HRIS, AT).events

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
        assert_keepable(standard_webhooks.read(captured.notice._replace(body=body), HRIS, captured.at).events)


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
