"""The vendors' stand-ins, and a watcher whose clock a test moves."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from lifecycle.watching import Watch, watch_of
from tests.watch.graph_tenant import BASE, BEARER, GraphTenant
from tests.watch.okta_org import TOKEN, OktaOrg
from workers.directories import entra_delta
from workers.directories.api import Api
from workers.directories.changes import Changes
from workers.directories.credentials import Static
from workers.http import Http
from workers.watch.base import Task
from workers.watch.replies import Replies
from workers.watch.watcher import Watcher

START = 1_772_438_400.0
SOURCE = "okta"
MINUTE = timedelta(minutes=1)
TRACKED = entra_delta.Tracked(("accountEnabled", "department"))


class Clock:
    """The time, which stands still until a test moves it."""

    def __init__(self) -> None:
        """Begin."""
        self.now = START

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def go(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    """Give a clock."""
    return Clock()


def machine_clock() -> Clock:
    """Give the clock of this machine, as vendors have it; a test moves it on."""
    clock = Clock()
    clock.now = datetime.now(UTC).timestamp()
    return clock


def delta(api: Api, position: str | None, now: datetime) -> Changes:
    """Follow the delta queries."""
    return entra_delta.changes(api, position, now, TRACKED)


class Told:
    """A directory that tells changes by one of the modules."""

    def __init__(self, step: Callable[[Api, str | None, datetime], Changes], api: Api) -> None:
        """Keep both."""
        self._step = step
        self.api = api

    def changes(self, position: str | None, now: datetime) -> Changes:
        """Make one step."""
        return self._step(self.api, position, now)


@pytest.fixture
def okta() -> Iterator[OktaOrg]:
    """Give an Okta org."""
    org = OktaOrg()
    yield org
    org.close()


@pytest.fixture
def graph() -> Iterator[GraphTenant]:
    """Give a tenant of Graph."""
    tenant = GraphTenant()
    yield tenant
    tenant.close()


@pytest.fixture
def http() -> Iterator[Http]:
    """Give a client, and close its connections."""
    client = Http()
    yield client
    client.close()


@pytest.fixture
def okta_api(okta: OktaOrg, http: Http) -> Api:
    """Give how the org is asked."""
    return Api(okta.url, Static("SSWS", TOKEN), http)


@pytest.fixture
def graph_api(graph: GraphTenant, http: Http) -> Api:
    """Give how the tenant is asked."""
    return Api(f"{graph.url}{BASE}", Static("Bearer", BEARER), http)


Watching = Callable[..., Watcher]


@pytest.fixture
def watching(redis: Redis, clock: Clock) -> Watching:
    """Make a watcher of one source: ``watching(task).tick()``; another worker is another process."""

    def make(*tasks: Task, worker: str = "w1", source: str = SOURCE) -> Watcher:
        return Watcher(redis, worker, {source: list[Task](tasks)}, Replies(redis, worker, {}, clock), clock)

    return make


def stands(redis: Redis, task: str, source: str = SOURCE) -> Watch:
    """Return how a task stands."""
    found = watch_of(redis, source, task)
    assert found is not None
    return found


def refs(redis: Redis) -> Sequence[str]:
    """Return the events that were kept, oldest first."""
    found: list[bytes] = redis.zrange("gatepost:events", 0, -1)  # type: ignore[assignment]
    return [ref.decode() for ref in found]
