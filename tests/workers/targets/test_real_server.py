"""The story of one person against scim2-server, which is not ours, over loopback; a plain client reads the end."""

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle.event import Kind
from tests.conftest import MakeConfig, free_port
from tests.workers.fake_scim import GROUP, TOKEN
from tests.workers.stories import BO, Stage, event
from workers.http import Http
from workers.jobs import place_of

START_SECONDS_MAX = 20
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
HEADERS = {"authorization": f"Bearer {TOKEN}"}
POLICY = {
    "grants": [
        {"when": "person.department == 'Support'", "groups": ["Support Agents"]},
        {"when": "person.department == 'Sales'", "groups": ["Sellers"]},
    ]
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Run the server as a process and give its base URL."""
    port = free_port()
    module = "scim2_server.testserver.cli"
    command = [sys.executable, "-m", module, "--port", str(port), "--bearer-token", TOKEN]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - our own
    try:
        _await(f"http://127.0.0.1:{port}/v2", process)
        yield f"http://127.0.0.1:{port}/v2"
    finally:
        process.kill()
        process.wait()


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"{url}/ServiceProviderConfig", headers=HEADERS).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(url)


@pytest.fixture
def reader(server: str) -> Iterator[httpx.Client]:
    """Give a client that knows nothing of ours, and a server with two groups and nobody in it."""
    with httpx.Client(base_url=server, headers=HEADERS) as client:
        for kind in ("Users", "Groups"):
            for resource in client.get(f"/{kind}").json().get("Resources", []):
                client.delete(f"/{kind}/{resource['id']}").raise_for_status()
        for name in ("Support Agents", "Sellers"):
            client.post("/Groups", json={"schemas": [GROUP], "displayName": name}).raise_for_status()
        yield client


@pytest.fixture
def stage(server: str, reader: httpx.Client, redis: Redis, config: MakeConfig) -> Iterator[Stage]:
    """Give a stage whose one target is the server."""
    section = {"adapter": "scim", "base_url": server, "token": "env:CRM_SCIM_TOKEN"}
    found = config(targets={"crm": section}, policy=POLICY)
    stage = Stage(redis, found, {})
    http = Http()
    places: Any = stage.world.places
    places["crm"] = place_of(redis, "crm", found.targets["crm"], http)
    yield stage
    http.close()


def accounts(reader: httpx.Client) -> list[dict[str, Any]]:
    """Read every account."""
    return list(reader.get("/Users").json().get("Resources", []))


def members(reader: httpx.Client) -> dict[str, list[str]]:
    """Read who is in which group."""
    groups = reader.get("/Groups").json()["Resources"]
    return {group["displayName"]: [member["value"] for member in group.get("members", [])] for group in groups}


def test_joiner_has_an_account_and_the_groups(stage: Stage, reader: httpx.Client) -> None:
    """What the source said stands on the server, in two requests and one for each group and its id."""
    stage.tell(event(Kind.JOINER, "joined", **BO, phone="+353 1 555 0100"))

    (bo,) = accounts(reader)
    assert stage.state("joined") == "applied"
    assert (
        bo["active"],
        bo["externalId"],
        bo["userName"],
        bo["name"]["givenName"],
        bo[ENTERPRISE]["department"],
    ) == (True, "E1042", "bo.ray@acme.example", "Bo", "Support")
    assert [(each["type"], each["value"]) for each in bo["emails"]] == [("work", "bo.ray@acme.example")]
    assert [each["value"].removeprefix("tel:") for each in bo["phoneNumbers"]] == ["+353 1 555 0100"]
    assert {"Support Agents": [bo["id"]], "Sellers": []} == members(reader)


def test_mover_changes_what_was_said_and_nothing_else(stage: Stage, reader: httpx.Client) -> None:
    """A title is cleared, a department and its groups change, and what somebody wrote by hand stays."""
    stage.tell(event(Kind.JOINER, "joined", **BO))
    (before,) = accounts(reader)
    by_hand = [{"op": "add", "path": "emails", "value": [{"type": "home", "value": "bo@home.example"}]}]
    patch = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": by_hand}
    reader.patch(f"/Users/{before['id']}", json=patch).raise_for_status()

    stage.tell(
        event(Kind.MOVER, "moved", minute=1, title=None, department="Sales", email="bo@acme.example", user_name="bo")
    )

    (bo,) = accounts(reader)
    assert stage.state("moved") == "applied"
    assert "title" not in bo
    assert (bo[ENTERPRISE]["department"], bo["userName"], bo["displayName"]) == ("Sales", "bo", "Bo Ray")
    assert {each["type"]: each["value"] for each in bo["emails"]} == {
        "home": "bo@home.example",
        "work": "bo@acme.example",
    }
    assert {"Support Agents": [], "Sellers": [bo["id"]]} == members(reader)


def test_leaver_is_inactive_and_in_no_group(stage: Stage, reader: httpx.Client) -> None:
    """The account is there, locked, and read back; nothing of it is deleted."""
    stage.tell(event(Kind.JOINER, "joined", **BO))

    stage.tell(event(Kind.LEAVER, "left", minute=1, external_id="E1042"))

    (bo,) = accounts(reader)
    assert stage.state("left") == "applied"
    assert (bo["active"], bo["title"]) == (False, "Agent")
    assert members(reader) == {"Support Agents": [], "Sellers": []}
    assert [signal["type"] for signal in stage.signals()] == ["person.provisioned", "person.suspended"]


def test_rehire_has_the_same_account_again(stage: Stage, reader: httpx.Client) -> None:
    """A rehire revives the account with its id and gives the groups back."""
    stage.tell(event(Kind.JOINER, "joined", **BO))
    stage.tell(event(Kind.LEAVER, "left", minute=1, external_id="E1042"))
    (before,) = accounts(reader)

    stage.tell(event(Kind.JOINER, "back", minute=2, **BO))

    (bo,) = accounts(reader)
    assert (before["id"], True) == (bo["id"], bo["active"])
    assert {"Support Agents": [bo["id"]], "Sellers": []} == members(reader)


def test_account_that_was_there_before_us_is_adopted(stage: Stage, reader: httpx.Client) -> None:
    """The real server's conflict leads to the account that is there, which becomes the person's."""
    user = {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": "BO.RAY@acme.example",
        "active": False,
    }
    there = reader.post("/Users", json=user).raise_for_status().json()

    stage.tell(event(Kind.JOINER, "joined", **BO))

    (bo,) = accounts(reader)
    assert (there["id"], "E1042", True) == (bo["id"], bo["externalId"], bo["active"])


def test_whole_story_told_twice_writes_once(stage: Stage, reader: httpx.Client) -> None:
    """The same facts under new event ids change nothing: no account and no version of one is made."""
    stage.tell(event(Kind.JOINER, "joined", **BO))
    (before,) = accounts(reader)

    stage.tell(event(Kind.JOINER, "again", minute=1, **BO))

    assert stage.state("again") == "unchanged"
    assert [before] == accounts(reader)


def test_name_of_odd_letters_is_found_again(stage: Stage, reader: httpx.Client) -> None:
    """Quotes, signs of URLs and letters of all scripts survive filter and path, and inject nothing."""
    odd = 'o"neil\\+&#% or active eq true ø界'
    stage.tell(event(Kind.JOINER, "joined", person=odd, external_id=odd, user_name=odd))
    person = stage.person(odd).model_copy(update={"accounts": {}})
    stage.redis.set(f"gatepost:person:{odd}", person.model_dump_json())

    stage.tell(event(Kind.LEAVER, "left", minute=1, person=odd, external_id=odd))

    (found,) = accounts(reader)
    assert (odd, odd, False) == (found["userName"], found["externalId"], found["active"])
