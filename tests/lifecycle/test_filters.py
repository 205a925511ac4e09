"""Filters of signals: what an expression may read, how much it may do, and what becomes of one that fails."""

import json
from datetime import UTC, datetime

import pytest

from lifecycle.errors import Refused
from lifecycle.filters import CHARS_MAX, DATA_FIELDS, compile_for_signals
from lifecycle.signal import Told

DEEP = "['a', 'b'].exists(a, "


def told(body: bytes = b'{"data": {"reason": "left"}}') -> Told:
    """Return a signal as it is kept."""
    at = datetime(2026, 3, 2, 9, tzinfo=UTC)
    return Told("sig_1", "person.suspended", body, "E1042", "hris:e1", "crm", {}, at, "", "")


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("signal.typ == 'person.suspended'", "signal has no field 'typ'; it has: type, timestamp, data"),
        ("signal.data.nobody == 'x'", f"signal.data has no field 'nobody'; it has: {', '.join(DATA_FIELDS)}"),
        ('signal ["data"] . nobody == "x"', "signal.data has no field 'nobody'"),
        ("signal['data']['nobody'] == 'x'", "signal.data has no field 'nobody'"),
        ("has(signal.data.nobody)", "signal.data has no field 'nobody'"),
        (
            "signal.data.person.nobody == 'x'",
            "signal.data.person has no field 'nobody'; it has: external_id, user_name",
        ),
        (r"r'\' == 'x' || signal.nobody == 'x'", "signal has no field 'nobody'"),
    ],
)
def test_field_that_no_signal_has_is_refused(source: str, fault: str) -> None:
    """A misspelt one would let everything through, signal after signal."""
    with pytest.raises(ValueError, match="has no field") as refused:
        compile_for_signals(source)

    assert str(refused.value).startswith(fault)


@pytest.mark.parametrize(
    "source",
    [
        *(f"signal.data.{name} == null" for name in DATA_FIELDS),
        "signal.timestamp > '2026'",
        "'signal.nobody' != signal.data.reason",
        '"""a "quoted" signal.nobody""" != signal.data.reason // and signal.nobody is none either',
        "signal.data.reason in ['left', 'moved']",
        "signal.data.groups_removed.size() > 0",
        "signal.data.account.id.startsWith('u-')",
        "signal.data.detail.contains('[')",
        "size(signal.data.kind) > 3",
    ],
)
def test_what_signals_have_can_be_asked_for(source: str) -> None:
    """Also by a function of texts, though the field is null in other signals; what stands in a text is no field."""
    assert compile_for_signals(source).source == source


@pytest.mark.parametrize(
    "source",
    ["signal.data.groups_removed[0] == 'Admins'", "signal.data.latency_ms / 0 > 1", "{'a': true}[signal.data.reason]"],
)
def test_expression_that_fails_says_so_in_a_sentence(source: str) -> None:
    """The first of an empty list too, which is an IndexError to the library."""
    with pytest.raises(Refused, match="cannot be evaluated for this signal"):
        compile_for_signals(source).holds(told())


def test_body_that_cannot_be_read_is_the_same_fault() -> None:
    """Whoever fans out has one kind of trouble to see to."""
    with pytest.raises(Refused, match="cannot be evaluated"):
        compile_for_signals("true").holds(told(b"{"))


@pytest.mark.parametrize(
    "source",
    [
        DEEP + DEEP.replace("(a", "(b") + DEEP.replace("(a", "(c") + "true)))",
        "['a'].map(a, a + a).map(a, a + a).map(a, a + a).size() > 0",
        "(true ? ['a'].map(a, a + a) : []) // ''\n .map(a, a + a) . exists_one (a, a == '')",
        "[['a'].map(a, a + a)][0].filter(a, true).exists(a, a == '')",
        "{'a': ['a'].filter(a, ['b'].all(b, true))}['a'].existsOne(x, true)",
        "signal.data.groups_added.map(a, a)" + ".map(a, a + a)" * 200 + ".size() > 0",
    ],
)
def test_work_that_multiplies_is_refused(source: str) -> None:
    """Lists within lists, or made of lists: each level is as many times the work, and all signals would wait."""
    with pytest.raises(ValueError, match=r"deep in one another, in \d+ characters; allowed: 2 deep, in at most 1024"):
        compile_for_signals(source)


def test_two_levels_are_allowed_where_the_expression_is_short() -> None:
    """As many as lists of names need; side by side there may be as many as fit."""
    two = "signal.data.groups_removed.exists(g, ['SEC-', 'ADM-'].exists(start, g.startsWith(start)))"
    beside = " || ".join(["signal.data.groups_added.filter(g, g != '').size() > 3"] * 50)

    for source in (two, beside, "'.map(.map(.map(' == signal.data.detail"):
        assert compile_for_signals(source).holds(told()) is False

    with pytest.raises(ValueError, match="2 deep"):
        compile_for_signals(f"{two} || signal.data.reason == '{'x' * CHARS_MAX[2]}'")


def test_expressions_of_the_same_text_are_the_same() -> None:
    """The roster is read anew every while; who did not change is reached as before."""
    assert compile_for_signals("true") == compile_for_signals("true")
    assert compile_for_signals("true") != compile_for_signals("1 == 1")


def test_moment_of_a_signal_can_be_asked_for() -> None:
    """The body's own members are there, whatever its data."""
    body = json.dumps({"timestamp": "2026-03-02T09:00:00.000Z", "data": {}}).encode()

    assert compile_for_signals("timestamp(signal.timestamp) > timestamp('2026-01-01T00:00:00Z')").holds(told(body))
