"""Many persons on a stage with safety limits: they join, they leave, and what became of them is counted."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle.event import Event, Kind
from lifecycle.queue import LANES
from tests.conftest import MakeConfig
from tests.workers.conftest import SUBSCRIBER
from tests.workers.fake_scim import BASE_URL, FakeScim
from tests.workers.stories import BO, Stage, event
from workers.converge import converge

WORKERS = 6
TWO = {"leavers": {"max": 2}}


def joins(key: str, minute: int = 0, **more: Any) -> Event:  # noqa: ANN401 - a profile's fields
    """Make the event of one who joins."""
    own = {"external_id": key, "email": f"{key}@acme.example"}
    return event(Kind.JOINER, f"{key}-joined", minute=minute, person=key, **(BO | own | more))


def leaves(key: str, minute: int = 10) -> Event:
    """Make the event of one who leaves."""
    return event(Kind.LEAVER, f"{key}-left", minute=minute, person=key, external_id=key)


def moves(key: str, minute: int = 5, name: str = "moved", **changed: Any) -> Event:  # noqa: ANN401 - a profile's fields
    """Make the event of one who moves."""
    return event(Kind.MOVER, f"{key}-{name}", minute=minute, person=key, **changed)


def people(number: int) -> list[str]:
    """Name so many persons."""
    return [f"E{place}" for place in range(1, number + 1)]


@dataclass
class Crowd:
    """A stage and the persons on it."""

    stage: Stage

    def tell(self, *events: Event) -> None:
        """Tell each person's event, one person after the other."""
        for each in events:
            self.stage.hear(each)
            self.work(each.person)

    def work(self, key: str) -> None:
        """Work on a person, whose jobs are taken from the lanes: nobody waits for company in a backlog of old ones."""
        self.stage.redis.delete(*(f"rq:queue:{lane}" for lane in LANES))
        self.stage.work(key)

    def tell_at_once(self, *events: Event) -> None:
        """Hear all, and let several workers work at the same time."""
        self.stage.hear(*events)
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(lambda each: converge(self.stage.world, each.person, "people"), events))

    def joined(self, *keys: str, **more: Any) -> None:  # noqa: ANN401 - a profile's fields
        """Let persons have accounts."""
        self.tell(*(joins(key, **more) for key in keys))

    def states(self, events: Iterable[str]) -> list[str]:
        """Return where events stand."""
        return [self.stage.state(each) for each in events]

    def holds(self) -> list[str]:
        """Return the ids of what waits for a ruling."""
        return sorted(item["id"] for item in self.stage.records.holds().items)

    def rule(self, event_id: str, verdict: str, *, actor: str = "ada") -> str:
        """Release or drop."""
        return self.stage.records.rule(event_id, ["hris"], verdict, actor=actor)

    def told(self, signal_type: str) -> list[dict[str, Any]]:
        """Return the data of the signals of one type, oldest first."""
        return [body["data"] for body in self.stage.signals() if body["type"] == signal_type]

    def reason(self, event_id: str) -> tuple[str, str]:
        """Return where an event stands and why."""
        found = self.stage.found(event_id)
        return found["state"], found["reason"]


MakeCrowd = Callable[..., Crowd]


@pytest.fixture
def make_crowd(redis: Redis, config: MakeConfig) -> MakeCrowd:
    """Make a crowd: ``make_crowd(crm=fake, leavers={"max": 2})``; ``own`` is a target's own limits by its name."""

    def make(
        *,
        policy: dict[str, Any] | None = None,
        own: Mapping[str, Any] | None = None,
        safety: dict[str, Any] | None = None,
        **fakes: FakeScim,
    ) -> Crowd:
        section = {"adapter": "scim", "base_url": BASE_URL, "token": "env:CRM_SCIM_TOKEN"}
        targets = {name: section | ({"safety": own[name]} if own and name in own else {}) for name in fakes}
        subscribers = {"siem": SUBSCRIBER}
        found = config(targets=targets, policy=policy or {}, safety=safety or {}, subscribers=subscribers)
        return Crowd(Stage(redis, found, {name: httpx.MockTransport(each) for name, each in fakes.items()}))

    return make


def active(fake: FakeScim) -> int:
    """Count the accounts that are active."""
    return sum(user["active"] for user in fake.users())


@pytest.fixture
def crowd(make_crowd: MakeCrowd, fake: FakeScim) -> Crowd:
    """Give three persons with accounts, of whom two may leave in ten minutes."""
    made = make_crowd(crm=fake, safety=TWO)
    made.joined(*people(3))
    return made


@pytest.fixture
def third_held(crowd: Crowd) -> Crowd:
    """Give the same after all three left: the third is held."""
    crowd.tell(*(leaves(key) for key in people(3)))
    assert crowd.states(["E1-left", "E2-left", "E3-left"]) == ["applied", "applied", "held"]
    return crowd


def pass_window(redis: Redis) -> None:
    """Let a whole window pass: who was counted is forgotten, and so is the episode."""
    for name in (*redis.keys("gatepost:window:*"), *redis.keys("gatepost:episode:*")):
        redis.delete(name)
