"""A source by configuration alone: whatever a vendor signs and however it writes it, and what is wrong is named."""

import base64
import hashlib
import hmac
import json
import re
import textwrap
import tomllib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lifecycle.config import Source as Section
from lifecycle.config import own_options
from lifecycle.errors import Misconfigured, Unauthentic, Unreadable
from lifecycle.event import Event, Kind
from service.sources import mapped
from service.sources.base import Assurance, Notice, Setup
from tests.notices import AT

LEAST: dict[str, Any] = {
    "header": "x-signature",
    "id": "id",
    "kind": "type",
    "kinds": {"left": "leaver", "touched": "changed"},
    "person": {"external_id": "who"},
}
BODY: dict[str, Any] = {"id": "evt-1", "type": "left", "who": "E1042"}
SECRET = "a secret of the tests"
TIMED = {"signed": "{timestamp}.{body}", "timestamp_header": "x-time"}


def setup(*secrets: str, **options: Any) -> Setup:  # noqa: ANN401 - whatever the file may hold
    """Return a source that is configured with these keys besides the least there must be; None leaves one out."""
    own = {name: value for name, value in {**LEAST, **options}.items() if value is not None}
    section = Section.model_validate({"adapter": "hmac", **own}, context={"base": Path()})
    return Setup(
        "hr", secrets or (SECRET,), own_options("sources.hr", section, mapped.Options), timezone="Europe/Dublin"
    )


def sent(body: object = BODY, **headers: str) -> Notice:
    """Return a notice; an underscore in a header's name is a hyphen."""
    return Notice(
        "POST", "", {name.replace("_", "-"): told for name, told in headers.items()}, json.dumps(body).encode()
    )


def read(source: Setup, body: object) -> Event:
    """Return the one event of a body."""
    (event,) = mapped.read(sent(body), source, AT).events
    return event


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"kind": None}, "sources.hr.kind: found nothing; required"),
        ({"header": "X-Signature"}, "sources.hr.header: found a literal; allowed: a name that matches"),
        ({"algorithm": "md5"}, "sources.hr.algorithm: found 'md5'; allowed: 'sha256', 'sha512' or 'sha1'"),
        ({"kind": "type["}, "sources.hr.kind: found 'type['; allowed: a JMESPath query (Invalid jmespath expression"),
        ({"kind": ""}, "sources.hr.kind: found ''; allowed: a JMESPath query (Invalid JMESPath expression: cannot"),
        ({"kind": 7}, "sources.hr.kind: found 7; allowed: a JMESPath query is a text"),
        ({"kind": "a" * 1_025}, "allowed: a JMESPath query of at most 1024 characters"),
        (
            {"kind": "upper(type)"},
            "sources.hr.kind: found 'upper(type)'; allowed: a JMESPath query (no function upper;",
        ),
        ({"time": "a && [join(b)]"}, "allowed: a JMESPath query (join takes 2 arguments, not 1)"),
        (
            {"person": {"external_id": "who", "login": "x"}},
            "sources.hr.person.login: found 'login'; allowed: external_id",
        ),
        (
            {"person": {"external_id": "who", "custom": "x"}},
            "sources.hr.person.custom: found 'custom'; allowed: external_",
        ),
        ({"person": {"email": "a b"}}, "sources.hr.person.email: found 'a b'; allowed: a JMESPath query ("),
        ({"person": {"title": "x"}}, "person: one of external_id, user_name, email at least"),
        ({"custom": {"cost-centre": "x"}}, "sources.hr.custom.cost-centre: found 'cost-centre'; allowed: a name that"),
        ({"kinds": {"left": "gone"}}, "sources.hr.kinds.left: found 'gone'; allowed: joiner, mover, leaver, changed"),
        ({"kinds": {}}, "sources.hr.kinds: found a table; allowed: dictionary should have at least 1 item"),
        ({"signed": "{timestamp}."}, "sources.hr.signed: found '{timestamp}.'; allowed: {body} in it, once"),
        ({"signed": "{body}{body}"}, "sources.hr.signed: found '{body}{body}'; allowed: {body} in it, once"),
        ({"signed": "{url}{body}"}, "allowed: {body}, {timestamp}, {id}, {method}, and text around them"),
        ({"signed": "{id}{timestamp}{body}"}, "allowed: text between each two of them but for {body}, as in {id}."),
        ({"signed": "{method}{id}.{body}"}, "allowed: text between each two of them but for {body}, as in {id}."),
        ({**TIMED, "timestamp_header": "x-signature"}, "header, timestamp_header and id_header: each another"),
        ({"signed": "{id}.{body}", "id_header": "x-signature"}, "header, timestamp_header and id_header: each another"),
        ({"signed": 7}, 'sources.hr.signed: found 7; allowed: a text, as in "{timestamp}.{body}"'),
        (
            {"signed": "{timestamp}.{body}"},
            "timestamp_header or timestamp_part: one of them where signed has {timestamp}",
        ),
        (
            {"timestamp_header": "x-time"},
            "timestamp_header or timestamp_part: one of them where signed has {timestamp}",
        ),
        ({**TIMED, "part": "v1", "timestamp_part": "t"}, "timestamp_header or timestamp_part: one of them"),
        ({"signed": "{timestamp}.{body}", "timestamp_part": "t"}, "timestamp_part: only with part"),
        ({"signed": "{id}.{body}"}, "id_header: where signed has {id}, and only there"),
        ({"id_header": "x-id"}, "id_header: where signed has {id}, and only there"),
        ({"id": None}, "id, id_header or time: one of them, unless every kind is changed"),
        ({"tolerance": "0s"}, "sources.hr.tolerance: found '0s'; allowed: more than none and at most 7d"),
        ({"answer": 204}, "sources.hr.answer: found a int; unknown key; allowed:"),
    ],
    ids=str,
)
def test_whatever_is_wrong_in_the_configuration_is_named_at_the_start(options: dict[str, Any], line: str) -> None:
    """A mapping that cannot work is not found out by the first leaver."""
    with pytest.raises(Misconfigured) as error:
        setup(**options)

    assert line in str(error.value)


def as_base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def as_base64url(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).decode()


@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "sha1"])
@pytest.mark.parametrize(
    ("encoding", "write"),
    [("hex", bytes.hex), ("base64", as_base64), ("base64url", as_base64url)],
    ids=["hex", "base64", "base64url"],
)
@pytest.mark.parametrize("template", ["{body}", "POST{body}", "{method}|{id}|{body}|end", "{body}{timestamp}"])
def test_any_way_to_sign_is_believed(
    algorithm: str, encoding: str, write: Callable[[bytes], str], template: str
) -> None:
    """Algorithm, encoding and what is signed are free; the digest is made by hand here."""
    told = {"body": json.dumps(BODY), "id": "msg-1", "method": "POST", "timestamp": str(int(AT.timestamp()))}
    digest = hmac.new(SECRET.encode(), template.format(**told).encode(), algorithm).digest()
    headers = {"x_signature": write(digest)}
    options: dict[str, Any] = {"algorithm": algorithm, "encoding": encoding, "signed": template}
    if "{id}" in template:
        headers["x_id"], options["id_header"] = "msg-1", "x-id"
    if "{timestamp}" in template:
        headers["x_time"], options["timestamp_header"] = told["timestamp"], "x-time"
    source = setup("another", SECRET, **options)

    assert mapped.verify(sent(**headers), source, AT) == SECRET
    assert mapped.verify(mapped.sign(sent(), source, AT), source, AT) == "another"
    with pytest.raises(Unauthentic):
        mapped.verify(sent({**BODY, "who": "E1043"}, **headers), source, AT)


@pytest.mark.parametrize(("encoding", "secret"), [("base64", as_base64(b"\xff\x00key")), ("hex", b"\xff\x00key".hex())])
def test_secret_is_read_as_it_is_written(encoding: str, secret: str) -> None:
    """A vendor that hands out keys in an encoding signs with the bytes; what stands before them is no part of it."""
    source = setup(f"whk_{secret}", secret_encoding=encoding, secret_prefix="whk_")
    notice = sent()

    made = hmac.new(b"\xff\x00key", notice.body, "sha256").hexdigest()

    mapped.check(source)
    assert mapped.verify(sent(x_signature=made), source, AT) == f"whk_{secret}"


@pytest.mark.parametrize(
    ("secrets", "options"),
    [
        ((), {}),
        (("",), {}),
        (("two\nlines",), {}),
        (("abc",), {"secret_encoding": "hex"}),
        (("a b=",), {"secret_encoding": "base64"}),
        (("",), {"secret_encoding": "base64"}),
        (("whk_",), {"secret_prefix": "whk_"}),
        (("616263",), {"secret_encoding": "hex", "secret_prefix": "whk_"}),
    ],
    ids=str,
)
def test_secret_that_is_not_written_so_is_refused(secrets: tuple[str, ...], options: dict[str, Any]) -> None:
    """It is told at the start, and not by a 401 to the vendor."""
    source = setup(**options)

    with pytest.raises(ValueError, match="secret"):
        mapped.check(Setup(source.name, secrets, source.options))


@pytest.mark.parametrize(
    ("unit", "stamp"),
    [
        ("seconds", "1772442005"),
        ("milliseconds", "1772442005000"),
        ("iso", "2026-03-02T09:00:05Z"),
        ("iso", "2026-03-02T10:00:05+01:00"),
        ("iso", "2026-03-02T09:00:05"),
    ],
)
@pytest.mark.parametrize("late", [0, 1])
def test_time_counts_as_the_vendor_writes_it(unit: str, stamp: str, late: int) -> None:
    """A signed time is held against the tolerance, and is when it happened where the body does not say."""
    source = setup(**TIMED, timestamp_unit=unit, tolerance="60s")
    notice = sent(x_time=stamp)
    made = hmac.new(SECRET.encode(), f"{stamp}.".encode() + notice.body, "sha256").hexdigest()
    notice = sent(x_time=stamp, x_signature=made)
    now = AT + timedelta(seconds=60 + late)

    if late:
        with pytest.raises(Unauthentic, match="60 seconds"):
            mapped.verify(notice, source, now)
    else:
        assert mapped.verify(notice, source, now) == SECRET
    assert mapped.assurance(source) is Assurance.SIGNED_BODY_WITH_TIME
    assert [event.occurred_at for event in mapped.read(notice, source, now).events] == [AT]


@pytest.mark.parametrize(
    "stamp", ["", "0", "-1", "١٧٧٢٤٤٢٠٠٥".encode().decode("latin-1"), "1e9", "now", "9" * 400, "0001-01-01"]
)
@pytest.mark.parametrize("unit", ["seconds", "milliseconds", "iso"])
def test_signed_time_that_is_none_is_unauthentic(unit: str, stamp: str) -> None:
    """Though the signature fits."""
    source = setup(**TIMED, timestamp_unit=unit)
    signed = stamp.encode("latin-1") + b"." + sent().body
    notice = sent(x_time=stamp, x_signature=hmac.new(SECRET.encode(), signed, "sha256").hexdigest())

    with pytest.raises(Unauthentic):
        mapped.verify(notice, source, AT)


@pytest.mark.parametrize(
    "form",
    ["t={t},t={t},v1={s}", "t={t};v1={s}", "t={t},v1={s},", "v1={s}", "t={t}", "t={t},v1 {s}", "t=1,v1={s}", ",=,"],
)
def test_parts_of_another_form_are_unauthentic(form: str) -> None:
    """Two times, another separator, an empty part: nothing is guessed."""
    options = {"signed": "{timestamp}.{body}", "part": "v1", "timestamp_part": "t"}
    stamp = int(AT.timestamp())
    made = hmac.new(SECRET.encode(), b"%d." % stamp + sent().body, "sha256").hexdigest()

    assert mapped.verify(sent(x_signature=f"t={stamp}, v1={made}"), setup(**options), AT) == SECRET
    with pytest.raises(Unauthentic):
        mapped.verify(sent(x_signature=form.format(t=stamp, s=made)), setup(**options), AT)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"kind": "who"}, {"who": {"a": 1}}),
        ({"kind": "missing"}, {}),
        ({"kind": "length(id)"}, {"id": 7}),
        ({"person": {"external_id": "to_string(deep)"}}, {"deep": None}),
        ({"person": {"external_id": "missing"}}, {}),
        ({"person": {"external_id": "who"}}, {"who": "x" * 257}),
        ({"person": {"external_id": "who"}}, {"who": "\ud800"}),
        ({"person": {"external_id": "who", "groups": "groups"}}, {"groups": ["\ud800"]}),
        ({"person": {"external_id": "who"}}, {"who": ["E1042"]}),
        ({"person": {"external_id": "who", "groups": "who"}}, {}),
        ({"id": "id"}, {"id": "x" * 257}),
        ({"id": "id"}, {"id": "\ud800"}),
        ({"id": "id"}, {"id": {"a": 1}}),
        ({"time": "at"}, {"at": "06.03.2026"}),
        ({"time": "at"}, {"at": True}),
        ({"time": "at"}, {"at": 10**400}),
        ({"time": "at"}, {"at": "0001-01-01T00:00:00+14:00"}),
        ({"effective": "at"}, {"at": "2026-02-30"}),
        ({"effective": "at"}, {"at": ["2026-03-06"]}),
        ({"effective": "at", "effective_by_day": True}, {"at": "tomorrow"}),
        ({"custom": {"site": "site"}}, {"site": {"a": 1}}),
        ({"custom": {"site": "site"}}, {"site": "\ud800"}),
        ({"custom": {"site": "site"}}, {"site": "x" * 2_049}),
        ({"custom": {"site": "site"}}, {"site": 10**17}),
        ({"custom": {"site": "site"}}, {"site": float("nan")}),
        ({"custom": {"site": "site"}}, {"site": ["x"] * 101}),
        ({"custom": {"site": "site"}}, {"site": [["x"]]}),
        ({"events": "items"}, {"items": {"a": 1}}),
        ({"events": "items"}, {}),
        ({"events": "items"}, {"items": [{}]}),
        ({"events": "items"}, {"items": [{}] * 5_001}),
        ({"events": "sum(items)"}, {"items": ["x"]}),
    ],
    ids=lambda found: str(found)[:80],
)
def test_what_a_query_does_not_fit_is_unreadable(options: dict[str, Any], told: dict[str, Any]) -> None:
    """Whatever stands where the mapping looks, the notice is set aside and its values are not in the words."""
    body: dict[str, Any] = {**BODY, **told}
    if "deep" in told:
        for _ in range(900):
            body["deep"] = [body["deep"]]

    try:
        reading = mapped.read(sent(body), setup(**options), AT)
    except Unreadable as error:
        assert "E1042" not in error.message  # noqa: PT017 - a deep document may be readable by another interpreter
    else:
        assert "deep" in told, reading


def test_body_deeper_than_any_document_is_unreadable() -> None:
    """Neither the reader nor the content's id fails in another way."""
    for depth in (1_000, 100_000):
        body = b'{"type": "touched", "who": "E1042", "deep": ' + b"[" * depth + b"]" * depth + b"}"
        try:
            mapped.read(sent()._replace(body=body), setup(), AT)
        except Unreadable:
            continue


@pytest.mark.parametrize(
    ("options", "told", "fields"),
    [
        ({}, 1772787600, {"effective_at": "2026-03-06T09:00:00Z"}),
        ({}, 1772787600000, {"effective_at": "2026-03-06T09:00:00Z"}),
        ({}, "2026-03-06T09:00:00+0000", {"effective_at": "2026-03-06T09:00:00Z"}),
        ({}, "2026-03-06T09:00", {"effective_on": "2026-03-06T09:00:00"}),
        ({}, "2026-03-06", {"effective_on": "2026-03-06"}),
        ({}, "", {"effective_at": None}),
        ({}, None, {"effective_at": None}),
        ({"effective_by_day": True}, "2026-03-06T00:00:00Z", {"effective_on": "2026-03-06"}),
        ({"effective_by_day": True}, "", {"effective_at": None}),
    ],
    ids=repr,
)
def test_effect_is_a_moment_or_a_day(options: dict[str, Any], told: object, fields: dict[str, object]) -> None:
    """A day that the vendor writes as midnight somewhere is a day where its configuration says so."""
    event = read(setup(effective="at", **options), {**BODY, "at": told})

    dump = event.model_dump(mode="json", exclude_unset=True)
    assert {name: value for name, value in dump.items() if name.startswith("effective")} == fields


def test_two_alike_are_two_where_nothing_tells_them_apart() -> None:
    """Without an id and a time a later notice may be the same, byte for byte, and yet another: each is a look."""
    source = setup(id=None, kinds={"touched": "changed"})
    notice = sent({"type": "touched", "who": "E1042"})

    ids = [mapped.read(notice, source, AT + timedelta(seconds=late)).events[0].id for late in (0, 0, 1)]

    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("found", [{}, {"id": None}, {"id": ""}, {"id": False}, {"id": 0}], ids=str)
@pytest.mark.parametrize("options", [{"id": "id"}, {"id": None, "time": "at"}, {"id": "id", "time": "at"}], ids=str)
def test_id_that_is_configured_and_not_found_tells_nothing_apart(
    options: dict[str, Any], found: dict[str, object]
) -> None:
    """Nor does a time: what only looks again is another in each second, and what acts is set aside."""
    told = {**{name: value for name, value in BODY.items() if name != "id"}, **found}
    source = setup(**options, kinds={"left": "leaver", "touched": "changed"})

    looks = [
        mapped.read(sent({**told, "type": "touched"}), source, AT + timedelta(days=late)).events[0].id
        for late in (0, 1)
    ]
    with pytest.raises(Unreadable) as error:
        mapped.read(sent(told), source, AT)

    assert looks[0] != looks[1]
    assert error.value.reason == "event_id"


def test_id_is_made_of_the_content_where_a_time_is_found() -> None:
    """A repeat says the same, and another event another time."""
    source = setup(id="id", time="at")
    told = {name: value for name, value in BODY.items() if name != "id"}

    ids = [
        mapped.read(sent({**told, "at": at}), source, AT + timedelta(days=late)).events[0].id
        for at, late in ((1_772_441_998, 0), (1_772_441_998, 1), (1_772_441_999, 1))
    ]

    assert ids[0] == ids[1] != ids[2]


def test_id_of_the_header_names_the_event_or_its_place_in_the_batch() -> None:
    """Where the id is signed and the body has none, it is the event's; of several events each has its own."""
    options: dict[str, Any] = {"id": None, "signed": "{id}.{body}", "id_header": "x-id"}
    batch = setup(**options, events="items")
    items = {"items": [{**BODY, "who": "a"}, {**BODY, "who": "b"}]}

    (alone,) = mapped.read(sent(x_id="msg-1"), setup(**options), AT).events
    several = mapped.read(sent(items, x_id="msg-1"), batch, AT).events

    assert alone.id == "msg-1"
    assert len({event.id for event in several}) == 2
    assert mapped.read(sent(items, x_id="msg-1"), batch, AT + timedelta(days=1)).events[0].id == several[0].id


@pytest.mark.parametrize(
    ("body", "kind", "person"),
    [
        (
            {
                "event_type": "employee:updated",
                "id": "692df651-4558-453b-8745-1e75d4543efb",
                "payload": {"updated_employee_id": 1234567, "updated_at": "2026-03-02T01:00:00-08:00"},
            },
            Kind.CHANGED,
            "1234567",
        ),
        (
            {
                "event_type": "employment.onboarding.completed",
                "event_id": "evt_01HK3R5N2QF9JX5G8H8XJ8YT2Y",
                "created_at": "2026-03-02T09:00:00Z",
                "data": {"employment": {"id": "1111", "full_name": "Ada Lovelace", "start_date": "2026-07-01"}},
            },
            Kind.JOINER,
            "1111",
        ),
    ],
    ids=["greenhouse", "remote"],
)
def test_configurations_of_the_page_work(body: dict[str, Any], kind: Kind, person: str) -> None:
    """What the module's page shows is checked as it stands there, on the notices that the vendors show."""
    blocks = re.findall(r"::\n\n((?:    .*\n|\n)+)", mapped.__doc__ or "")
    pages = [tomllib.loads(textwrap.dedent(block))["sources"] for block in blocks]
    name = "greenhouse" if kind is Kind.CHANGED else "remote"
    (found,) = [page[name] for page in pages if name in page]
    own = {key: value for key, value in found.items() if key not in {"secrets", "adapter", "directory"}}
    source = setup(**{**dict.fromkeys(LEAST), **own})

    notice = mapped.sign(sent(body), source, AT)
    assert mapped.verify(notice, source, AT) == SECRET
    (event,) = mapped.read(notice, source, AT).events

    assert (event.kind, event.person) == (kind, person)
    if name == "greenhouse":
        made = hmac.new(SECRET.encode(), notice.body, hashlib.sha256).hexdigest()
        assert notice.headers["signature"] == f"sha256 {made}"
    else:
        assert event.effective_on == "2026-07-01"
