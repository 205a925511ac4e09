"""What BambooHR does that other sources do not: body and time signed without anything between, and forms."""

import hmac
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.errors import Unauthentic, Unreadable
from lifecycle.event import Kind
from service.sources import bamboohr
from service.sources.base import Notice
from tests.notices import AT, SECRETS, setup_of

SETUP = setup_of("bamboohr")
FORM = b"type=employee.deleted&data[companyId]=1&timestamp=2026-03-02T09:00:00Z&data[employeeId]=100"
STAMP = str(int(AT.timestamp()))

names = st.lists(st.sampled_from(["[", "]", "employees", "data", "type", "timestamp", "1042", "[employeeId]", "%5B"]))
values = st.sampled_from(["employee.updated", "2026-03-02", "", "%FF", "1042"]) | st.text(max_size=5)


def signed(body: bytes, stamp: str) -> Notice:
    """Return the notice as BambooHR would send it."""
    made = hmac.new(SECRETS["bamboohr"].encode(), body + stamp.encode(), "sha256").hexdigest()
    return Notice("POST", "", {bamboohr.SIGNATURE: made, bamboohr.TIMESTAMP: stamp}, body)


def with_time(notice: Notice, body: bytes, stamp: str) -> Notice:
    """Return a notice with its signature, but with another body and time."""
    return notice._replace(body=body, headers={**notice.headers, bamboohr.TIMESTAMP: stamp})


@pytest.mark.parametrize(
    ("body", "stamp"),
    [
        pytest.param(FORM[:-1], "0" + STAMP, id="a nought from the body to the time"),
        pytest.param(FORM[:-2], "00" + STAMP, id="two noughts from the body to the time"),
        pytest.param(FORM + STAMP[:1].encode(), STAMP[1:], id="a digit from the time to the body"),
        pytest.param(FORM + STAMP.encode(), "", id="the whole time to the body"),
    ],
)
def test_nothing_moves_between_body_and_time(body: bytes, stamp: str) -> None:
    """The signature is right for other bytes as well: of employee 100 it could make employee 10."""
    notice = signed(FORM, STAMP)
    moved = with_time(notice, body, stamp)

    assert bamboohr.verify(notice, SETUP, AT) == SECRETS["bamboohr"]
    assert body + stamp.encode() == FORM + STAMP.encode()
    with pytest.raises(Unauthentic):
        bamboohr.verify(moved, SETUP, AT)


@pytest.mark.parametrize("stamp", ["", "soon", "2026-03-02T09:00:05", "2026-03-02", "-1772442005", "1772442005.0"])
def test_time_that_is_none_is_unauthentic_though_it_is_signed(stamp: str) -> None:
    """A time without a zone could be any hour's."""
    with pytest.raises(Unauthentic) as error:
        bamboohr.verify(signed(FORM, stamp), SETUP, AT)

    assert error.value.reason == "timestamp_malformed"


@pytest.mark.parametrize(
    "body",
    [
        b"employees=5",
        b"employees[5]=x&employees[5][changedFields][0]=Status",
        b"type=employee.updated&data=x&data[employeeId]=5",
        b"type=employee.updated&data[employeeId]=",
        b"type=employee.updated&data[employeeId]=5&timestamp=soon",
        b"type=employee.updated&data[employeeId]=%FF",
        b"type=employee.updated&data[employeeId]=\xff",
        b'{"employees": 5}',
        b'{"employees": [{"id": ""}]}',
        b'{"type": "employee.updated", "data": {"employeeId": ["5"]}}',
    ],
)
def test_form_or_list_of_another_shape_is_unreadable(body: bytes) -> None:
    """It is authentic, so it is set aside whole until the reader can."""
    with pytest.raises(Unreadable):
        bamboohr.read(Notice("POST", "", {}, body), SETUP, AT)


def test_form_without_end_is_refused_in_a_moment() -> None:
    """Fields without number and names without end cost no more than their bytes."""
    for body in (b"&".join([b"a=1"] * (bamboohr.FIELDS_MAX + 1)), b"[" * 900_000, b"a[" * 400_000 + b"=1"):
        with pytest.raises(Unreadable):
            bamboohr.read(Notice("POST", "", {}, body), SETUP, AT)


@given(fields=st.lists(st.tuples(names.map("".join), values), max_size=6))
def test_any_form_is_read_or_unreadable(fields: list[tuple[str, str]]) -> None:
    """Whatever the names are nested like."""
    body = "&".join(f"{name}={value}" for name, value in fields).encode("utf-8", "surrogatepass")

    try:
        reading = bamboohr.read(Notice("POST", "", {}, body), SETUP, AT)
    except Unreadable:
        return
    assert all(event.person for event in reading.events)


def test_change_that_tells_no_time_is_looked_at_each_time_it_comes() -> None:
    """Two changes a day apart may be the same bytes; a deletion happens once."""
    notice = Notice("POST", "", {}, b'{"employees": [{"id": "5"}, {"id": "6", "action": "Deleted"}]}')

    first = bamboohr.read(notice, SETUP, AT).events
    later = bamboohr.read(notice, SETUP, AT + timedelta(days=1)).events

    assert [event.kind for event in first] == [Kind.CHANGED, Kind.LEAVER]
    assert [one.id == other.id for one, other in zip(first, later, strict=True)] == [False, True]
