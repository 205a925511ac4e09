"""Order is the source's time, never arrival: shuffled stories, opposite events at once, and a storm of repeats."""

import random
from collections.abc import Sequence

import pytest

from tests.flow.patience import eventually
from tests.flow.stage import Somebody, Stage, Told

RACERS = 20
CROWD = 100
# Arrivals of the five events of a story, by their place in time.
ARRIVALS = {
    "backwards": (4, 3, 2, 1, 0),
    "leaver first": (3, 0, 1, 2, 4),
    "rehire first": (4, 0, 3, 1, 2),
    "joiner last": (1, 2, 3, 4, 0),
    "inside out": (2, 1, 3, 0, 4),
}


def _story(person: Somebody) -> list[Told]:
    return [
        person.joins(0, title="Agent", department="Support"),
        person.moves(10, "first", title="Senior Agent"),
        person.moves(20, "second", department="Sales"),
        person.leaves(30),
        person.joins(40, "again", phone="+353 1 555 0100"),
    ]


def _end(stage: Stage, person: Somebody) -> dict[str, object]:
    account = stage.account(person)
    names = ("externalId", "userName", "displayName", "title", "active", "emails", "phoneNumbers")
    return {name: account.get(name) for name in names} | {"groups": stage.groups_of(account["id"])}


def _wanted(person: Somebody) -> dict[str, object]:
    return {
        "externalId": person.key,
        "userName": person.email,
        "displayName": person.name,
        "title": "Senior Agent",
        "active": True,
        "emails": [{"value": person.email, "type": "work"}],
        "phoneNumbers": [{"value": "+353 1 555 0100", "type": "work"}],
        "groups": {"Sales Team"},
    }


@pytest.mark.parametrize("arrival", ARRIVALS.values(), ids=ARRIVALS.keys())
def test_arrival_one_by_one_does_not_matter(stage: Stage, bo: Somebody, arrival: Sequence[int]) -> None:
    """Five events that arrive in a wrong order, each settled before the next, end as in the right one."""
    story = _story(bo)

    for place in arrival:
        stage.state(story[place])

    assert _end(stage, bo) == _wanted(bo)


def test_arrival_in_a_heap_does_not_matter(stage: Stage) -> None:
    """Stories of ten persons, shuffled into one heap and sent at once, end as in the right order."""
    persons = [Somebody() for _ in range(10)]
    heap = [told for person in persons for told in _story(person)]
    random.shuffle(heap)

    answers = stage.tell_at_once(heap)
    for told in heap:
        stage.settled(told)

    assert {answer.status_code for answer in answers} == {202}
    assert [_end(stage, person) for person in persons] == [_wanted(person) for person in persons]


@pytest.mark.parametrize("leaver_later_by", [0, 1], ids=["same time", "a second later"])
def test_joiner_and_leaver_at_once_end_locked_out(stage: Stage, leaver_later_by: int) -> None:
    """Of twenty persons who join and leave in the same moment none ends active, and none has two accounts."""
    persons = [Somebody() for _ in range(RACERS)]
    pairs = [(person.joins(0), person.leaves(leaver_later_by)) for person in persons]

    stage.tell_at_once(told for pair in pairs for told in random.sample(pair, 2))
    states = {stage.settled(told)["state"] for pair in pairs for told in pair}

    found = [stage.accounts(person) for person in persons]
    assert all(len(accounts) <= 1 for accounts in found)
    assert not any(account["active"] for accounts in found for account in accounts)
    assert states <= {"applied", "unchanged", "superseded"}


def test_burst_makes_one_right_account_each(stage: Stage) -> None:
    """A hundred persons who join and move, all told twice and all at once, have one account each, as told last."""
    persons = [Somebody() for _ in range(CROWD)]
    events = [told for person in persons for told in (person.joins(0, title="Agent"), person.moves(10, title="Lead"))]
    heap = [*events, *events]
    random.shuffle(heap)

    answers = [answer.json() for answer in stage.tell_at_once(heap)]
    for told in events:
        stage.settled(told, within=60)

    assert sum(answer["accepted"] for answer in answers) == len(events)
    assert sum(answer["duplicates"] for answer in answers) == len(events)
    keys = {person.key: person for person in persons}
    found = [user for user in stage.resources("Users").values() if user.get("externalId") in keys]
    shown = {user["externalId"]: (user["userName"], user["displayName"], user.get("title")) for user in found}
    assert len(found) == CROWD
    assert shown == {key: (person.email, person.name, "Lead") for key, person in keys.items()}


def test_many_repeats_at_once_are_one_account_and_one_signal(stage: Stage, bo: Somebody) -> None:
    """Thirty copies of one joiner at once are accepted once, make one account and are told once."""
    answers = stage.tell_at_once([bo.joins()] * 30)
    stage.settled(bo.joins())
    left = stage.state(bo.leaves())

    signals = eventually(lambda: found if len(found := stage.tool.about(bo.key)) > 1 else [])
    assert sum(answer.json()["accepted"] for answer in answers) == 1
    assert left == "applied"
    assert [sent.method for sent in stage.requests(bo)] == ["GET", "POST", "GET", "PATCH", "GET"]
    assert [signal.type for signal in signals] == ["person.provisioned", "person.suspended"]
