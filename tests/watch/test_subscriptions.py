"""A tenant tells us for as long as we want it to, by as many subscriptions as that takes."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from lifecycle.hearing import upkeep, upkeep_commands
from lifecycle.watching import SUBSCRIPTIONS
from tests.watch.conftest import SOURCE, Clock, Watching, stands
from tests.watch.graph_tenant import SUBSCRIPTIONS as PATH
from tests.watch.graph_tenant import GraphTenant
from tests.watch.loopback import Reply
from workers.directories.api import Api
from workers.watch.subscriptions import LIFE, Subscriptions, Wanted

URL = "https://gatepost.acme.example/hooks/entra"
SECRET, NEXT_SECRET = "client-state-of-the-tests", "next-client-state-of-the-tests"


@pytest.fixture
def clock() -> Clock:
    """Give the clock of this machine, as Graph has it; a test moves it on."""
    clock = Clock()
    clock.now = datetime.now(UTC).timestamp()
    return clock


@pytest.fixture
def task(redis: Redis, graph_api: Api) -> Subscriptions:
    """Give the task of a source."""
    return Subscriptions(redis, Wanted(SOURCE, URL, SECRET), graph_api)


def there(graph: GraphTenant) -> list[tuple[str, str, str]]:
    """Return what there is: resource, address, secret."""
    return sorted((each["resource"], each["notificationUrl"], each["clientState"]) for each in graph.all())


BOTH = [("groups", URL, SECRET), ("users", URL, SECRET)]


def again(watching: Watching, task: Subscriptions, clock: Clock, seconds: float = 601) -> None:
    """Let the next look come."""
    clock.go(seconds)
    watching(task).tick()


def test_both_are_created_once(
    redis: Redis, graph: GraphTenant, task: Subscriptions, watching: Watching, clock: Clock
) -> None:
    """For users and groups, with an address for what Graph says of them, for just under 29 days."""
    watching(task).tick()
    again(watching, task, clock)

    assert there(graph) == BOTH
    assert graph.count("POST", PATH) == 2
    made = graph.all()[0]
    assert made["lifecycleNotificationUrl"] == URL
    assert made["changeType"] == "updated,deleted"
    ends_at = datetime.fromisoformat(made["expirationDateTime"])
    assert timedelta(days=28) < ends_at - datetime.now(UTC) <= LIFE < timedelta(minutes=41_760)
    assert stands(redis, SUBSCRIPTIONS).blind_since is None


def test_they_are_renewed_long_before_they_end(
    graph: GraphTenant, task: Subscriptions, watching: Watching, clock: Clock
) -> None:
    """After some days, by one PATCH each."""
    watching(task).tick()
    ends = {each["id"]: each["expirationDateTime"] for each in graph.all()}

    again(watching, task, clock, 4 * 86_400)

    assert {each["id"] for each in graph.all()} == set(ends)
    assert all(each["expirationDateTime"] > ends[each["id"]] for each in graph.all())
    assert sum(each.method == "PATCH" for each in graph.asked) == 2


def test_graph_is_told_that_we_still_may(
    redis: Redis, graph: GraphTenant, task: Subscriptions, watching: Watching, clock: Clock
) -> None:
    """It asks for one of them; that one is renewed at once, the word is forgotten, and nothing is asked for twice."""
    watching(task).tick()
    users = next(each["id"] for each in graph.all() if each["resource"] == "users")
    for command in upkeep_commands(SOURCE, [f"reauthorizationRequired:{users}"]):
        redis.execute_command(*command)  # type: ignore[no-untyped-call]

    again(watching, task, clock, 5)
    again(watching, task, clock, 5)

    assert [each.path for each in graph.asked if each.method == "PATCH"] == [f"{PATH}/{users}"]
    assert upkeep(redis, SOURCE) == []


def test_what_is_gone_is_made_again(graph: GraphTenant, task: Subscriptions, watching: Watching, clock: Clock) -> None:
    """Whoever deleted it, or whatever let it end."""
    watching(task).tick()
    graph.subscriptions.clear()

    again(watching, task, clock)

    assert there(graph) == BOTH


@pytest.mark.parametrize("wanted", [Wanted(SOURCE, URL, NEXT_SECRET), Wanted(SOURCE, f"{URL}-2", SECRET)])
def test_another_secret_or_address_makes_new_ones_before_the_old_ones_go(
    graph: GraphTenant, task: Subscriptions, graph_api: Api, watching: Watching, clock: Clock, wanted: Wanted
) -> None:
    """There is no moment at which nobody tells us."""
    watching(task).tick()

    again(watching, Subscriptions(task._redis, wanted, graph_api), clock)

    assert there(graph) == [("groups", wanted.url, wanted.secret), ("users", wanted.url, wanted.secret)]
    made = [each.method for each in graph.asked if each.method in {"POST", "DELETE"}]
    assert made == ["POST", "POST", "POST", "DELETE", "POST", "DELETE"]


def test_one_that_was_created_unheard_is_found_again(
    redis: Redis, graph: GraphTenant, task: Subscriptions, watching: Watching, clock: Clock
) -> None:
    """The process died after Graph had made it: the next look takes it and makes no second one."""
    watching(task).tick()
    watch = stands(redis, SUBSCRIPTIONS)
    begun: dict[str, Any] = {"ours": {"users": [["", Wanted(SOURCE, URL, SECRET).state, URL]]}, "until": 0.0}
    redis.hset(
        "gatepost:watch:okta", SUBSCRIPTIONS, watch.model_copy(update={"position": json.dumps(begun)}).model_dump_json()
    )
    users = next(each["id"] for each in graph.all() if each["resource"] == "users")

    again(watching, task, clock)

    assert there(graph) == BOTH
    assert users in graph.subscriptions


def test_strangers_for_our_address_are_one_too_many(
    redis: Redis, graph: GraphTenant, task: Subscriptions, watching: Watching, clock: Clock
) -> None:
    """What was known is lost with Redis: nobody can tell their secret, so new ones take their place."""
    watching(task).tick()
    redis.flushall()

    again(watching, task, clock)

    assert there(graph) == BOTH
    assert graph.count("POST", PATH) == 4


def test_others_are_left_alone(graph: GraphTenant, task: Subscriptions, watching: Watching) -> None:
    """Another address, another resource: not ours."""
    end = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    for name, url, resource in (("s-1", "https://other.example", "users"), ("s-2", URL, "me/messages")):
        graph.subscriptions[name] = {
            "id": name,
            "resource": resource,
            "notificationUrl": url,
            "clientState": "x",
            "expirationDateTime": end,
        }

    watching(task).tick()

    assert {"s-1", "s-2"} < graph.subscriptions.keys()


def test_trouble_blinds_only_when_the_last_one_has_ended(
    redis: Redis, graph: GraphTenant, task: Subscriptions, watching: Watching, clock: Clock
) -> None:
    """A renewal that fails is told; until the subscription ends, notices come."""
    watching(task).tick()
    graph.faults = [Reply(500)] * 2
    again(watching, task, clock)
    failing = stands(redis, SUBSCRIPTIONS)
    again(watching, task, clock, 29 * 86_400)
    ended = stands(redis, SUBSCRIPTIONS)

    assert failing.fault is not None
    assert failing.blind_since is None
    assert ended.blind_since == failing.done_at


def test_groups_that_may_not_be_watched_are_told(
    redis: Redis, graph: GraphTenant, task: Subscriptions, watching: Watching
) -> None:
    """Users are subscribed to all the same."""
    graph.faults = [Reply(200, {"value": []}), Reply(201, {"id": "s-1", "expirationDateTime": "2099-01-01T00:00:00Z"})]
    graph.faults += [Reply(403, {"error": {"code": "Authorization_RequestDenied"}})] * 2

    watching(task).tick()

    assert "groups are not subscribed to" in str(stands(redis, SUBSCRIPTIONS).note)
    assert stands(redis, SUBSCRIPTIONS).fault is None


def test_secret_that_is_too_long_is_refused(
    redis: Redis, graph: GraphTenant, graph_api: Api, watching: Watching
) -> None:
    """Graph takes 128 characters."""
    watching(Subscriptions(redis, Wanted(SOURCE, URL, "s" * 129), graph_api)).tick()

    assert "128" in str(stands(redis, SUBSCRIPTIONS).fault)
    assert graph.asked == []
