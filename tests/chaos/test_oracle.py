"""The oracle sees what is wrong: each check is shown a violation."""

import json
from typing import Any

import pytest

from tests.chaos.oracle import one_account_each, signals_are_one, writes_in_order, wrongly_poisoned
from tests.chaos.resumed import Resumed, deaths_of, resumed
from tests.chaos.story import Chapter, Load, Person
from tests.chaos.subscriber import Delivered, Tool
from tests.chaos.target import Effect
from tests.conftest import SUBSCRIBER_SECRET

PERSON = Person(
    "C1",
    (
        Chapter(1, "joins", "v1", "Support"),
        Chapter(2, "moves", "v2", None),
        Chapter(3, "leaves", None, None),
        Chapter(4, "joins", "v4", "Sales"),
    ),
)


def effect(title: str, *, active: bool = True, method: str = "PATCH") -> Effect:
    """Make what an account showed after a write."""
    return Effect(0.0, method, "C1", "u-1", title, active)


def in_order(*effects: Effect) -> bool:
    """Tell whether the oracle finds nothing."""
    return not list(writes_in_order(effects, {"C1": PERSON}))


def test_right_answer_of_a_story() -> None:
    """The newest word of each kind counts."""
    assert (PERSON.works_here, PERSON.title, PERSON.group) == (True, "v4", "Sales Team")
    assert Person("C2", PERSON.chapters[:3]).group is None


def test_title_that_goes_back_is_seen() -> None:
    """An older event wrote over a newer one."""
    assert in_order(effect("v1"), effect("v4"), effect("v4"))
    assert not in_order(effect("v4"), effect("v2"))


@pytest.mark.parametrize(
    ("shown", "is_right"),
    [
        ([True], True),
        ([True, False], True),
        ([True, False, True], True),
        ([True, True, False, False], True),
        ([False, True, False], False),
        ([True, False, True, False], False),
    ],
)
def test_status_that_goes_back_is_seen(shown: list[bool], is_right: bool) -> None:
    """Somebody was in, out, in again: whoever is out once more was suspended by an older event."""
    assert in_order(*(effect("v4", active=active) for active in shown)) is is_right


def test_second_account_is_seen() -> None:
    """A create whose answer was lost must be looked for."""
    assert list(one_account_each([effect("v1", method="POST"), effect("v2")])) == []
    assert list(one_account_each([effect("v1", method="POST")] * 2)) == ["duplicate: C1 was created 2 times"]


def test_second_body_or_second_id_is_seen() -> None:
    """A repeat is byte for byte the same, and a change has one id."""

    def signal(name: str, **more: Any) -> Delivered:  # noqa: ANN401 - JSON
        data = {"event": "e1", "target": "crm", "groups_added": [], "groups_removed": []} | more
        return Delivered(name, json.dumps({"type": "person.updated", "data": data}).encode())

    tool = Tool(SUBSCRIBER_SECRET, 1)
    tool.stop()
    tool.deliveries = [signal("s1"), signal("s1"), signal("s2", groups_added=["Sales Team"])]
    well = list(signals_are_one(tool))
    tool.deliveries += [signal("s1", latency_ms=7), signal("s3")]

    assert well == []
    assert len(list(signals_are_one(tool))) == 2


def test_time_until_somebody_works_again() -> None:
    """Only whoever was not settled waits, from the death to the next who takes the lease."""
    trace = [
        ["1.0", "7", "popped", "C1", "leavers"],
        ["1.1", "7", "begun", "C1"],
        ["1.2", "7", "died", "plan", "self"],
        ["5.7", "8", "begun", "C1"],
        ["5.8", "8", "settled"],
        ["5.9", "8", "died", "settled", "self"],
        ["6.0", "9", "popped", "C2", "people"],
        ["6.1", "9", "died", "pop", "4711"],
        ["9.0", "11", "begun", "C2"],
    ]

    found = resumed(trace, {9: 6.5})

    assert [(each.person, each.lane, round(each.seconds, 1)) for each in found] == [
        ("C1", "leavers", 4.5),
        ("C2", "people", 2.5),
    ]
    assert isinstance(found[0], Resumed)


def test_poison_without_three_deaths_is_seen() -> None:
    """An event fails for what its workers' deaths say, and those are counted from the trace."""
    trace = [
        ["1.0", "7", "popped", "C1", "people"],
        ["1.1", "7", "died", "plan", "self"],
        ["2.0", "8", "popped", "C1", "people"],
        ["2.1", "8", "end"],
        ["2.2", "8", "died", "sweep", "self"],
        ["3.0", "9", "popped", "C1", "people"],
        ["4.0", "11", "popped", "C1", "people"],
    ]
    two, three = deaths_of(trace, {9: 3.5}), deaths_of(trace, {9: 3.5, 11: 4.5})

    assert (two, three) == ({"C1": 2}, {"C1": 3})
    assert list(wrongly_poisoned(["hris:C1-4"], three)) == []
    assert len(list(wrongly_poisoned(["hris:C1-4"], two))) == 1


def test_load_is_the_same_for_a_seed() -> None:
    """A seed reproduces the stories and their order; each event is told at least once."""
    loads = [Load(5), Load(5), Load(6)]
    told = []
    for load in loads:
        enough = iter([False] * 20 + [True])
        told.append([each.id for each in load.stream(lambda enough=enough: next(enough))])  # type: ignore[misc]

    assert [each.replace("C5", "") for each in told[0]] == [each.replace("C5", "") for each in told[1]]
    assert told[0] != told[2]
    assert set(told[0]) == {f"{p.key}-{c.version}" for p in loads[0].persons.values() for c in p.chapters}
