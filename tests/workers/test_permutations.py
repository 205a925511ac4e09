"""A story of one person ends the same however its five events arrive: all 120 orders, each with repeats."""

import random
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle.config import Config
from lifecycle.event import Event, Kind
from lifecycle.queue import CONVERGE, lanes
from tests.workers.fake_scim import FakeScim
from tests.workers.stories import BO, Stage, event, policy, target

POLICY = policy(Support_Agents="person.department == 'Support'", Sales_Team="person.department == 'Sales'")
SHOWN = ("userName", "displayName", "title", "active", "externalId", "emails")
HIRED = event(Kind.JOINER, "hired", **BO)
PROMOTED = event(Kind.MOVER, "promoted", minute=1, title="Lead")
MOVED = event(Kind.MOVER, "moved", minute=2, department="Sales")
LEFT = event(Kind.LEAVER, "left", minute=3)
NAMED = {name: BO[name] for name in ("external_id", "email", "display_name")}
"""Whom an account can be made for."""
BACK = event(Kind.JOINER, "back", minute=4, phone="+353 1 555 0100", **NAMED)
STORIES = {
    "who came back": (HIRED, PROMOTED, MOVED, LEFT, BACK),
    "who moved after coming back": (HIRED, LEFT, BACK, MOVED, event(Kind.MOVER, "promoted", minute=5, title="Lead")),
    "who left and came back in one moment": (
        HIRED,
        PROMOTED,
        MOVED,
        LEFT,
        event(Kind.JOINER, "back", minute=3, **NAMED),
    ),
    "who left for good": (HIRED, PROMOTED, MOVED, BACK, event(Kind.LEAVER, "gone", minute=6)),
}


def arrivals(story: Sequence[Event]) -> list[list[Event]]:
    """Return every order of a story, with two events told again at random places."""
    chance = random.Random(4)  # noqa: S311 - the same repeats at every run
    found = []
    for order in permutations(story):
        arrival = list(order)
        for each in chance.sample(story, 2):
            arrival.insert(chance.randrange(len(arrival) + 1), each)
        found.append(arrival)
    return found


def work(stage: Stage) -> None:
    """Run every job that is offered."""
    for queue in lanes(stage.redis).values():
        for job in queue.get_jobs():
            queue.remove(job)
            if job.func_name == CONVERGE:
                stage.work(*job.args)


def end(stage: Stage, fake: FakeScim) -> dict[str, Any]:
    """Return what the target shows in the end, and what is known of the person.

    Of somebody who is locked out nothing else is changed, so what else the account shows depends on when it was heard.
    """
    assert len(fake.users()) <= 1
    account = next(iter(fake.users()), {})
    groups = {group["displayName"] for group in fake.held["Groups"].values() if group.get("members")}
    known = stage.person()
    return {
        "account": {name: account.get(name) for name in SHOWN} if account.get("active") else None,
        "groups": groups,
        "facts": {name: (fact.value, fact.event) for name, fact in known.facts.items()},
        "status": (known.status.value, known.status.event) if known.status else None,
    }


def told(stage: Stage) -> dict[str, Any]:
    """Return what somebody knows in the end who only heard the signals."""
    groups: set[str] = set()
    active = False
    for signal in stage.signals():
        data = signal["data"]
        active = data["account"]["active"]
        groups = (groups | {*data["groups_added"]}) - {*data["groups_removed"]}
    return {"active": active, "groups": groups}


def meet(redis: Redis) -> tuple[Stage, FakeScim]:
    """Begin anew: an empty Redis, and a target with its groups."""
    redis.flushall()
    fake = FakeScim()
    for name in ("Support Agents", "Sales Team"):
        fake.add("Groups", displayName=name)
    config = Config(targets={"crm": target()}, policy=POLICY)
    return Stage(redis, config, {"crm": httpx.MockTransport(fake)}), fake


@pytest.mark.parametrize("story", [STORIES["who came back"], STORIES["who left for good"]], ids=["back", "gone"])
def test_every_order_in_a_heap_is_one(redis: Redis, story: Sequence[Event]) -> None:
    """All are heard before the first is worked on: one state, and the very same signals."""
    ends, signals = [], []
    for arrival in arrivals(story):
        stage, fake = meet(redis)
        for each in arrival:
            stage.hear(each)
        work(stage)
        ends.append(end(stage, fake))
        signals.append(
            [(each["type"], each["data"]["event"], each["data"]["groups_added"]) for each in stage.signals()]
        )

    assert len(ends) == 120
    assert all(found == ends[0] for found in ends)
    assert all(found == signals[0] for found in signals)


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_every_order_one_by_one_is_one(redis: Redis, story: Sequence[Event]) -> None:
    """Each is settled before the next is heard: one state, and the signals tell of just this state in the end."""
    ends = []
    for arrival in arrivals(story):
        stage, fake = meet(redis)
        for each in arrival:
            stage.hear(each)
            work(stage)
        ends.append(end(stage, fake))

        assert told(stage) == {"active": ends[-1]["account"] is not None, "groups": ends[-1]["groups"]}
        assert {stage.state(each.id) for each in story} <= {"applied", "unchanged", "superseded"}

    assert len(ends) == 120
    assert all(found == ends[0] for found in ends)
