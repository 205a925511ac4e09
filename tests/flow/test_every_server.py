"""One story on every server that can end it: the same state is seen on each, by a client that knows nothing of ours.

Real servers over loopback, real Redis, the workers' own code; a server differs from another by its profile only.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from lifecycle.event import Event, Kind
from tests.conftest import MakeConfig
from tests.flow.servers import (
    BARE,
    CLIENT,
    CURSOR,
    ENTERPRISE,
    FULL,
    SECRET,
    Provider,
    refusing,
    sandbox,
    scim2_server,
)
from tests.workers.stories import Stage, event
from workers.http import Http
from workers.jobs import place_of

BO: dict[str, Any] = {
    "external_id": "E1042",
    "email": "bo.ray@acme.example",
    "display_name": "Bo Ray",
    "title": "Agent",
    "department": "Support",
    "phone": "+35315550100",
}
KIM = BO | {"external_id": "E7", "email": "kim@acme.example", "display_name": "Kim New", "title": "Chief"}
POLICY = {
    "grants": [
        {"when": "person.department == 'Support'", "groups": ["Support Agents"]},
        {"when": "person.department == 'Sales'", "groups": ["Sellers"]},
    ]
}
NO_DISCOVERY = {"discovery": False, "patch": False, "etag": False, "bulk": False, "filter": False, "page_size": 2}

Run = Callable[[Path], AbstractContextManager[Provider]]
SERVERS: dict[str, Run] = {
    "full": lambda folder: scim2_server(FULL, folder),
    "cursor": lambda folder: scim2_server(CURSOR, folder),
    "bare": lambda folder: scim2_server(BARE, folder),
    "bare by its profile": lambda folder: scim2_server(BARE, folder, profile=NO_DISCOVERY),
    "genesys": sandbox,
}


@pytest.fixture(params=list(SERVERS))
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Provider]:
    """Run each server in turn, with people and groups that others made."""
    with SERVERS[request.param](tmp_path) as provider:
        yield populated(provider)


def populated(provider: Provider) -> Provider:
    """Let somebody else have made accounts, one of them of somebody who is to join, and groups."""
    given = {"active": True, "title": "Clerk", ENTERPRISE: {"department": "Support"}}
    anna = provider.add_user("anna@acme.example", externalId="E1", displayName="Anna One", **given)
    provider.add_user("bo.rayner@acme.example", externalId="E10420", displayName="Bo Rayner", **given)
    provider.add_user("zoe@acme.example", externalId="e1042", displayName="Zoe Low", **given)
    kim = provider.add_user("Kim@acme.example", displayName="Kim Old", **given)
    provider.add_group("Support Agents", anna)
    provider.add_group("Sellers")
    provider.add_group("Choir", anna, kim)
    return provider


@pytest.fixture
def play(redis: Redis, config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Provider], Stage]]:
    """Make a stage whose one target is a server, discovered as when a worker starts."""
    monkeypatch.setenv("GENESYS_CLIENT_ID", CLIENT)
    monkeypatch.setenv("GENESYS_CLIENT_SECRET", SECRET)
    http = Http()

    def make(provider: Provider) -> Stage:
        found = config(targets={"crm": provider.section}, policy=POLICY)
        stage = Stage(redis, found, {})
        place = place_of(redis, "crm", found.targets["crm"], http)
        with place.aside() as talk:
            place.discovery.refresh(talk)
        places: Any = stage.world.places
        places["crm"] = place
        return stage

    yield make
    http.close()


def tell(stage: Stage, told: Event) -> None:
    """Hear an event and work on it, as the one job that waits."""
    stage.hear(told)
    stage.redis.delete("rq:queue:people", "rq:queue:leavers")
    stage.work(told.person)


@dataclass(frozen=True)
class Seen:
    """What a stranger sees of one account."""

    active: bool
    external_id: str | None
    name: str
    title: str | None
    department: str | None
    phones: tuple[str, ...]


def seen(provider: Provider) -> dict[str, Seen]:
    """Return what a stranger sees of everybody, by userName in lower case."""
    return {each["userName"].lower(): _seen(each) for each in provider.users()}


def there(provider: Provider) -> set[str]:
    """Return the names of everybody but those that a server keeps in hiding."""
    return {each["userName"].lower() for each in provider.users() if each.get("state") != "deleted"}


def _seen(user: dict[str, Any]) -> Seen:
    phones = tuple(each["value"].removeprefix("tel:") for each in user.get("phoneNumbers", []))
    department = user.get(ENTERPRISE, {}).get("department")
    return Seen(user["active"], user.get("externalId"), user["displayName"], user.get("title"), department, phones)


def test_story_ends_in_the_same_state_on_every_server(server: Provider, play: Callable[[Provider], Stage]) -> None:
    """Somebody joins, moves, leaves and comes back; an account that was there is adopted; nobody else is touched."""
    stage = play(server)
    before, kim = seen(server), server.user("kim@acme.example")["id"]

    tell(stage, event(Kind.JOINER, "bo joined", **BO))
    tell(stage, event(Kind.JOINER, "kim joined", person="E7", **KIM))
    joined, joined_groups = seen(server), server.members()
    own_id = server.user("bo.ray@acme.example")["id"]
    tell(stage, event(Kind.MOVER, "bo moved", minute=1, title=None, department="Sales", display_name="Bo Ray-Lee"))
    moved, moved_groups = seen(server), server.members()
    tell(stage, event(Kind.MOVER, "told again", minute=2, title=None, department="Sales", display_name="Bo Ray-Lee"))
    tell(stage, event(Kind.LEAVER, "bo left", minute=3, external_id="E1042"))
    left, left_groups = seen(server), server.members()
    tell(stage, event(Kind.JOINER, "bo returned", minute=4, **BO))

    bo = Seen(True, "E1042", "Bo Ray", "Agent", "Support", ("+35315550100",))
    sales = Seen(True, "E1042", "Bo Ray-Lee", None, "Sales", ("+35315550100",))
    gone = Seen(False, "E1042", "Bo Ray-Lee", None, "Sales", ("+35315550100",))
    states = [stage.state(name) for name in ("bo joined", "kim joined", "bo moved", "told again", "bo left")]
    assert states == ["applied", "applied", "applied", "unchanged", "applied"], stage.found("told again")
    others = {name: account for name, account in before.items() if name != "kim@acme.example"}
    adopted = {"kim@acme.example": Seen(True, "E7", "Kim New", "Chief", "Support", ("+35315550100",))}
    assert [joined, moved, left, seen(server)] == [
        others | adopted | {"bo.ray@acme.example": each} for each in (bo, sales, gone, bo)
    ]
    name, old = "bo.ray@acme.example", {"anna@acme.example", server.user("kim@acme.example")["userName"]}
    choir = {"Choir": old}
    assert joined_groups == choir | {"Support Agents": old | {name}, "Sellers": set()}
    assert moved_groups == choir | {"Support Agents": old, "Sellers": {name}}
    assert left_groups == choir | {"Support Agents": old, "Sellers": set()}
    assert server.members() == joined_groups
    assert (own_id, kim) == (server.user(name)["id"], server.user("kim@acme.example")["id"])
    assert stage.state("bo returned") == "applied"


def test_leaver_is_deleted_and_restored_on_every_server(server: Provider, play: Callable[[Provider], Stage]) -> None:
    """The account goes and nobody else's; a restore makes it anew, in the group that it was in."""
    stage = play(replace(server, section=server.section | {"leaver": "delete"}))
    name = "bo.ray@acme.example"
    before = there(server)
    tell(stage, event(Kind.JOINER, "bo joined", **BO))

    tell(stage, event(Kind.LEAVER, "bo left", minute=1, external_id="E1042"))
    left, left_groups = there(server), server.members()
    tell(stage, event(Kind.LEAVER, "told again", minute=2, external_id="E1042"))
    stage.records.restore("E1042", timedelta(days=30), actor="test")
    stage.work()

    assert (stage.state("bo left"), stage.state("told again")) == ("applied", "unchanged")
    assert left == before
    assert name not in left_groups["Support Agents"]
    assert there(server) == before | {name}
    assert name in server.members()["Support Agents"]


def test_leaver_of_a_genesys_has_no_session_left(tmp_path: Path, play: Callable[[Provider], Stage]) -> None:
    """Who leaves is logged out there and then, and subscribers are told so."""
    with sandbox(tmp_path) as genesys:
        stage = play(populated(genesys))
        tell(stage, event(Kind.JOINER, "bo joined", **BO))
        bo = genesys.user("bo.ray@acme.example")["id"]
        genesys.client.post(f"{genesys.control}/users/{bo}/sessions").raise_for_status()

        tell(stage, event(Kind.LEAVER, "bo left", minute=1, external_id="E1042"))

        found = genesys.user("bo.ray@acme.example")
        assert (found["state"], found["sessions"]) == ("inactive", 0)


# ---- a server that cannot be brought to agree


@contextmanager
def stubborn() -> Iterator[Provider]:
    """Run a server that has no PATCH and refuses PUT."""
    with refusing({"PUT": "accounts are changed by hand here"}, BARE) as provider:
        yield populated(provider)


@pytest.mark.parametrize(
    ("kind", "told"),
    [(Kind.MOVER, {"title": "Lead"}), (Kind.LEAVER, {"external_id": "E1042"})],
    ids=["mover", "leaver"],
)
def test_server_that_cannot_agree_is_quoted(
    kind: Kind, told: dict[str, Any], play: Callable[[Provider], Stage]
) -> None:
    """No PATCH, and PUT refused: the event fails in the server's own words, and nothing is claimed of the account."""
    with stubborn() as server:
        stage = play(server)
        tell(stage, event(Kind.JOINER, "joined", **{**BO, "department": "Nowhere"}))
        before = seen(server)

        tell(stage, event(kind, "changed", minute=1, **told))

        found = stage.found("changed")
        assert (stage.state("joined"), found["state"]) == ("applied", "failed")
        assert "accounts are changed by hand here" in str(found["timeline"])
        assert before == seen(server)
        assert [each["type"] for each in stage.signals()][-1:] != ["person.suspended"]
