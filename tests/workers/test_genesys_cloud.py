"""Genesys Cloud to its depth, against the sandbox over loopback: what it does otherwise than the RFC has it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from itertools import count
from typing import Any

import httpx
import pytest
from redis import Redis

from gatepost.sandbox.genesys import running
from gatepost.sandbox.schema import ENTERPRISE, PURECLOUD
from gatepost.sandbox.settings import Settings
from lifecycle.event import Event, Kind
from tests.conftest import MakeConfig
from tests.workers.fake_scim import USER
from tests.workers.stories import Stage, event
from workers.http import Http
from workers.jobs import place_of

CLIENT, SECRET = "client-of-the-tests", "secret-of-the-tests"
FAST = 60_000
BO: dict[str, Any] = {
    "external_id": "E1042",
    "email": "bo.ray@acme.example",
    "display_name": "Bo Ray",
    "title": "Agent",
    "department": "Support",
    "division": "Support",
}
GRANTS = [
    {"when": "person.department == 'Support'", "groups": ["Agents"], "roles": ["Communicate - User"]},
    {"when": "person.title == 'Lead'", "roles": ["supervisor"]},
    {"when": "person.department == 'Astronauts'", "groups": ["Agents"], "roles": ["Moon"]},
]
SUBSCRIBER = {"url": "https://siem.example/hooks", "secrets": ["env:SIEM_WHSEC"]}


class Scene:
    """A stage whose one target is a sandbox, and the sandbox's control plane."""

    def __init__(self, stage: Stage, http: httpx.Client) -> None:
        """Keep both."""
        self.stage = stage
        self._http = http
        self._minutes = count()

    def tell(self, kind: Kind, name: str, **told: Any) -> str:  # noqa: ANN401 - facts are JSON
        """Hear an event later than those before, work on it, and return where it stands."""
        heard: Event = event(kind, name, minute=next(self._minutes), **told)
        self.stage.hear(heard)
        self.stage.redis.delete("rq:queue:people", "rq:queue:leavers")
        self.forget_requests()
        self.stage.work(heard.person)
        return self.stage.state(name)

    def join(self, name: str = "joined", **told: Any) -> str:  # noqa: ANN401 - facts are JSON
        """Let Bo join."""
        return self.tell(Kind.JOINER, name, **BO | told)

    def leave(self, name: str = "left") -> str:
        """Let Bo leave."""
        return self.tell(Kind.LEAVER, name, external_id="E1042")

    def control(self, method: str, path: str, body: Any = None) -> Any:  # noqa: ANN401 - JSON
        """Use the control plane; it has to work."""
        answer = self._http.request(method, f"/sandbox{path}", json=body).raise_for_status()
        return answer.json() if answer.content else None

    def scim(self, method: str, path: str, body: Any = None) -> Any:  # noqa: ANN401 - JSON
        """Do something by hand; it has to work."""
        answer = self._http.request(method, f"/api/v2/scim/v2{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def bo(self, name: str = "bo.ray@acme.example") -> dict[str, Any]:
        """Return the one account of this name as the control plane shows it."""
        (found,) = [each for each in self.control("GET", "/state")["users"] if each["userName"] == name]
        return dict(found)

    def roles(self) -> set[str]:
        """Return Bo's roles."""
        return {each["value"] for each in self.bo().get("roles", [])}

    def forget_requests(self) -> None:
        """Begin the log of requests anew."""
        self.control("DELETE", "/requests")

    def requests(self) -> list[str]:
        """Return what was asked in the last attempts, the token's own request aside."""
        items = self.control("GET", "/requests")["items"]
        lines = [f"{each['method']} {each['path'].removeprefix('/api/v2')}" for each in items]
        return [line.replace(self.bo()["id"], "BO") for line in lines if "oauth" not in line]

    def fault(self, on: str, **what: Any) -> None:  # noqa: ANN401 - a fault
        """Let the next such request go wrong."""
        self.control("POST", "/faults", [{"on": on, **what}])

    def detail(self, name: str) -> str:
        """Return all that an event's timeline tells."""
        return str(self.stage.found(name)["timeline"])


Play = Callable[..., Scene]


@pytest.fixture
def play(redis: Redis, config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """Make a scene: ``play(section={...}, hide_inactive=True)``; the rest are the sandbox's settings."""
    monkeypatch.setenv("GENESYS_CLIENT_ID", CLIENT)
    monkeypatch.setenv("GENESYS_CLIENT_SECRET", SECRET)
    with ExitStack() as stack:

        def make(section: dict[str, Any] | None = None, **settings: Any) -> Scene:  # noqa: ANN401 - settings
            url = stack.enter_context(running(Settings(CLIENT, SECRET, **{"requests_per_minute": FAST} | settings)))
            client = stack.enter_context(httpx.Client(base_url=url, timeout=10))
            granted = client.post(
                "/login/oauth/token", data={"grant_type": "client_credentials"}, auth=(CLIENT, SECRET)
            )
            client.headers["authorization"] = f"Bearer {granted.json()['access_token']}"
            target = {
                "adapter": "genesys_cloud",
                "base_url": f"{url}/api/v2/scim/v2",
                "token_url": f"{url}/login/oauth/token",
                "client_id": "env:GENESYS_CLIENT_ID",
                "client_secret": "env:GENESYS_CLIENT_SECRET",
                "requests_per_minute": FAST,
            }
            found = config(
                targets={"crm": target | (section or {})}, policy={"grants": GRANTS}, subscribers={"siem": SUBSCRIBER}
            )
            stage = Stage(redis, found, {})
            http = Http()
            stack.callback(http.close)
            place = place_of(redis, "crm", found.targets["crm"], http)
            places: Any = stage.world.places
            places["crm"] = place
            scene = Scene(stage, client)
            scene.control("POST", "/groups", {"displayName": "Agents"})
            with place.aside() as talk:
                place.discovery.refresh(talk)
            return scene

        yield make


@pytest.fixture
def scene(play: Play) -> Scene:
    """Give a sandbox as it is by default."""
    return play()


# ---- leavers


def test_leaver_is_suspended_first_and_logged_out_then(scene: Scene) -> None:
    """The state goes alone; the tokens are deleted when the account is seen to be inactive, not before."""
    scene.join()
    scene.control("POST", f"/users/{scene.bo()['id']}/sessions")

    state = scene.leave()

    bo = scene.bo()
    assert (state, bo["state"], bo["sessions"], bo["groups"]) == ("applied", "inactive", 0, [])
    wanted = ["GET /scim/v2/Users/BO", "PATCH /scim/v2/Users/BO", "PATCH /scim/v2/Users/BO"]
    assert scene.requests()[:5] == [*wanted, "GET /scim/v2/Users/BO", "DELETE /tokens/BO"]


def test_signal_tells_what_was_taken_away(scene: Scene) -> None:
    """Roles that the policy knows are taken and named, others stay; the sessions are said to be over."""
    scene.join()
    admin = {"op": "add", "path": "roles", "value": [{"value": "Communicate - Admin"}]}
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [admin]}
    scene.scim("PATCH", f"/Users/{scene.bo()['id']}", body)

    scene.leave()

    data = scene.stage.signals()[-1]["data"]
    assert (data["roles_removed"], data["groups_removed"]) == (["Communicate - User"], ["Agents"])
    assert data["entitlements_before"] == {"groups": ["Agents"], "roles": ["Communicate - User"]}
    assert data["sessions_revoked"] is True
    assert scene.roles() == {"employee", "Communicate - Admin"}


def test_repeat_logs_nobody_out_again(scene: Scene) -> None:
    """A second word that somebody left finds all done: one request, and nothing to tell."""
    scene.join()
    scene.leave()

    state = scene.leave("left again")

    assert (state, scene.requests()) == ("unchanged", ["GET /scim/v2/Users/BO"])


def test_tokens_that_could_not_be_deleted_are_tried_again_and_told_then(scene: Scene) -> None:
    """The account is out at once, the event waits for its sessions, and each is told when it is so."""
    scene.join()
    scene.control("POST", f"/users/{scene.bo()['id']}/sessions")
    scene.fault("DELETE /tokens/*", do="answer", status=503)

    first, shown = scene.leave(), scene.bo()
    scene.stage.work()

    assert (first, shown["state"], shown["sessions"]) == ("postponed", "inactive", 1)
    assert (scene.stage.state("left"), scene.bo()["sessions"]) == ("applied", 0)
    told = [(each["type"], each["data"]["sessions_revoked"]) for each in scene.stage.signals()]
    assert told == [("person.provisioned", False), ("person.suspended", False), ("person.suspended", True)]


@pytest.mark.parametrize(
    "body",
    [
        {"message": "You are missing a permission", "code": "missing.permissions", "status": 403, "contextId": "c"},
        {
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
            "status": "403",
            "detail": "You are missing a permission",
        },
        "<html>You are missing a permission</html>",
    ],
    ids=["platform", "scim", "html"],
)
def test_permission_to_delete_tokens_is_named_where_it_is_missing(body: Any, scene: Scene) -> None:  # noqa: ANN401 - JSON
    """Whatever the shape of the refusal: the account is out, and the event names what the operator must grant."""
    scene.join()
    scene.fault("DELETE /tokens/*", do="answer", status=403, body=body)

    state = scene.leave()

    assert (state, scene.bo()["state"]) == ("failed", "inactive")
    assert "You are missing a permission" in scene.detail("left")
    assert scene.detail("left").count("(needs oauth:token:delete)") == 1


@pytest.mark.parametrize(
    ("permission", "event_name"),
    [("directory:user:add", "joined"), ("directory:user:edit", "left"), ("directory:group:edit", "joined")],
)
def test_missing_permission_is_named(permission: str, event_name: str, play: Play) -> None:
    """What the request needed that was forbidden, and nothing of another one."""
    scene = play(without=frozenset({permission}))

    scene.join()
    scene.leave()

    assert "forbidden" in scene.detail(event_name)
    assert f"(needs {permission}" in scene.detail(event_name)


@pytest.mark.parametrize("leaves", [False, True])
def test_queues_are_left_where_the_profile_says_so(leaves: bool, play: Play) -> None:
    """Queues are no groups: calls would still be sent to somebody who is gone."""
    scene = play(section={"profile": {"leave_queues": leaves}})
    scene.join()
    for number in range(3):
        scene.control("POST", "/queues", {"name": f"Queue {number}", "members": [scene.bo()["id"]]})

    state = scene.leave()

    assert state == "applied"
    assert scene.bo()["queues"] == ([] if leaves else ["Queue 0", "Queue 1", "Queue 2"])


def test_correlation_ids_are_on_the_timeline(scene: Scene) -> None:
    """The vendor finds each request by the id that its gateway gave, the platform's too."""
    scene.join()
    scene.leave()

    requests = [each["detail"] for each in scene.stage.found("left")["timeline"] if each["step"] == "request"]

    assert len({each["correlation"] for each in requests}) == len(requests) >= 5
    assert any(each["path"].startswith("/api/v2/tokens/") for each in requests)


# ---- leavers who are deleted


def test_leaver_is_logged_out_and_then_deleted(play: Play) -> None:
    """Seen to be inactive, tokens gone, out of its groups, and only then the record, which is kept in hiding."""
    scene = play({"leaver": "delete"})
    scene.join()

    state = scene.leave()

    assert (state, scene.bo()["state"]) == ("applied", "deleted")
    *earlier, read_back, revoked, left, deleted = scene.requests()
    assert earlier == ["GET /scim/v2/Users/BO", "PATCH /scim/v2/Users/BO", "PATCH /scim/v2/Users/BO"]
    assert (read_back, revoked) == ("GET /scim/v2/Users/BO", "DELETE /tokens/BO")
    assert left.startswith("PATCH /scim/v2/Groups/")
    assert deleted == "DELETE /scim/v2/Users/BO"
    types = [each["type"] for each in scene.stage.signals()]
    assert types == ["person.provisioned", "person.suspended", "person.deleted"]


def test_restore_revives_the_deleted_account_with_its_roles(play: Play) -> None:
    """The old id comes back without its roles, groups and division: all are given again."""
    scene = play({"leaver": "delete"})
    scene.join(title="Lead")
    old, roles = scene.bo()["id"], scene.roles()
    scene.leave()

    scene.stage.records.restore("E1042", timedelta(days=30), actor="test")
    scene.stage.work()

    bo = scene.bo()
    assert (bo["id"], bo["state"], bo["groups"]) == (old, "active", ["Agents"])
    assert {"supervisor", "Communicate - User"} <= scene.roles() <= roles
    assert scene.stage.people.owner_of("crm", old) == "E1042"


def test_account_whose_tokens_stay_is_not_deleted(play: Play) -> None:
    """No session outlives its account unseen: the permission is named, and the account stays inactive."""
    scene = play({"leaver": "delete"}, without=frozenset({"oauth:token:delete"}))
    scene.join()

    state = scene.leave()

    assert (state, scene.bo()["state"]) == ("failed", "inactive")
    assert "DELETE /scim/v2/Users/BO" not in scene.requests()
    assert "(needs oauth:token:delete)" in scene.detail("left")


def test_permission_to_delete_users_is_named_where_it_is_missing(play: Play) -> None:
    """The account stays inactive, and is out of its groups."""
    scene = play({"leaver": "delete"}, without=frozenset({"directory:user:delete"}))
    scene.join()

    state = scene.leave()

    assert (state, scene.bo()["state"], scene.bo()["groups"]) == ("failed", "inactive", [])
    assert "(needs directory:user:delete)" in scene.detail("left")


# ---- rehires, and accounts that are hidden or deleted


def test_rehire_is_revived_read_and_given_what_is_his(scene: Scene) -> None:
    """The state goes alone, for what comes with it is not applied; then the rest is asserted again."""
    scene.join()
    own_id = scene.bo()["id"]
    scene.leave()

    state = scene.join("returned", title="Lead")

    bo = scene.bo()
    assert (state, bo["id"], bo["state"], bo["title"], bo["groups"]) == (
        "applied",
        own_id,
        "active",
        "Lead",
        ["Agents"],
    )
    assert scene.roles() == {"employee", "Communicate - User", "supervisor"}
    read, alone = "GET /scim/v2/Users/BO", "PATCH /scim/v2/Users/BO"
    assert scene.requests()[:4] == [read, alone, read, alone]


def test_rehire_that_is_not_shown_is_looked_at_again(scene: Scene) -> None:
    """The answer says done and the account is inactive still: nothing is claimed, and the next attempt ends it."""
    scene.join()
    scene.leave()
    inactive = scene.scim("GET", f"/Users/{scene.bo()['id']}")
    scene.fault("PATCH /users/*", do="answer", status=200, body=inactive)

    first = scene.join("returned", title="Lead")
    scene.stage.work()

    assert (first, scene.stage.state("returned")) == ("postponed", "applied")
    assert (scene.bo()["state"], scene.bo()["title"], scene.bo()["groups"]) == ("active", "Lead", ["Agents"])


def test_leaver_who_returned_and_leaves_again_is_logged_out_again(scene: Scene) -> None:
    """What was revoked of the first stay says nothing of the second."""
    scene.join()
    scene.leave()
    scene.join("returned")
    scene.control("POST", f"/users/{scene.bo()['id']}/sessions")

    scene.leave("left for good")

    assert (scene.bo()["state"], scene.bo()["sessions"]) == ("inactive", 0)


@pytest.mark.parametrize("hide_inactive", [False, True])
def test_inactive_account_of_the_name_is_found_and_taken(hide_inactive: bool, play: Play) -> None:
    """A create runs into somebody whom no list shows: the second look is for the inactive."""
    scene = play(hide_inactive=hide_inactive)
    body = {"schemas": [USER], "userName": "bo.ray@acme.example", "displayName": "Old", "active": False}
    made = scene.scim("POST", "/Users", body)["id"]

    state = scene.join()

    bo = scene.bo()
    assert (state, bo["id"], bo["state"], bo["displayName"]) == ("applied", made, "active", "Bo Ray")
    assert bo["externalId"] == "E1042"


@pytest.mark.parametrize("known", [True, False])
def test_deleted_account_comes_back_whole(known: bool, scene: Scene) -> None:
    """A create restores the old id, without roles and in the division Home: what is wanted is asserted again."""
    if known:
        scene.join()
    else:
        scene.scim("POST", "/Users", {"schemas": [USER], "userName": "bo.ray@acme.example", "displayName": "Old"})
    old = scene.bo()["id"]
    scene.scim("DELETE", f"/Users/{old}")
    scene.stage.redis.delete("gatepost:person:E1042")

    state = scene.join("returned")

    bo = scene.bo()
    assert (state, bo["id"], bo["state"], bo["displayName"]) == ("applied", old, "active", "Bo Ray")
    assert (bo[ENTERPRISE]["division"], bo["groups"]) == ("Support", ["Agents"])
    assert "Communicate - User" in scene.roles()


def test_lists_that_lag_make_no_second_account(play: Play) -> None:
    """The id that the create gave is what counts: for minutes no list shows the account, and the story goes on."""
    scene = play(lag_seconds=60)

    states = [
        scene.join(department="Cafeteria"),
        scene.tell(Kind.MOVER, "moved", title="Lead"),
        scene.leave(),
        scene.join("returned", department="Cafeteria"),
    ]

    assert states == ["applied"] * 4
    assert len(scene.control("GET", "/state")["users"]) == 1
    assert (scene.bo()["state"], scene.bo()["title"]) == ("active", "Agent")


# ---- what only a Genesys has

SKILLS, LANGUAGES = f"{PURECLOUD}:routingSkills", f"{PURECLOUD}:routingLanguages"
MAPPED = {
    "attributes": {
        "displayName": "person.display_name",
        f"{ENTERPRISE}:division": "person.division",
        f"{ENTERPRISE}:manager.value": "person.manager",
        SKILLS: "person.custom.skills",
        LANGUAGES: "person.custom.languages",
        f"{PURECLOUD}:externalIds": "[{'authority': 'hr', 'value': person.external_id}]",
    }
}


def custom(**entries: Any) -> dict[str, Any]:  # noqa: ANN401 - facts are JSON
    """Name fields that the canonical person has not."""
    return {"custom": entries}


def test_skills_languages_and_external_ids_are_changed_entry_by_entry(play: Play) -> None:
    """A proficiency is one replace; the entry under which the vendor keeps our externalId is not ours to change."""
    scene = play(section=MAPPED)
    billing, returns = {"name": "Billing", "proficiency": 1.0}, {"name": "Returns", "proficiency": 2.5}
    scene.join(**custom(skills=[billing, returns], languages=[{"name": "English", "proficiency": 5.0}]))
    before = scene.bo()[PURECLOUD]

    better = [{"name": "Billing", "proficiency": 4.5}, {"name": "Sales", "proficiency": 3.0}]
    state = scene.tell(Kind.MOVER, "moved", **custom(skills=better, languages=[]))
    again = scene.tell(Kind.MOVER, "again", **custom(skills=better, languages=[]))

    assert (state, again) == ("applied", "unchanged"), scene.detail("moved")
    assert {each["name"]: each["proficiency"] for each in before["routingSkills"]} == {"Billing": 1.0, "Returns": 2.5}
    assert [each["name"] for each in before["routingLanguages"]] == ["English"]
    bo = scene.bo()[PURECLOUD]
    assert {each["name"]: each["proficiency"] for each in bo["routingSkills"]} == {"Billing": 4.5, "Sales": 3.0}
    assert bo.get("routingLanguages", []) == []
    reserved = {"authority": f"x-pc:scimv2:v1:{CLIENT}", "value": "E1042"}
    assert bo["externalIds"] == before["externalIds"] == [reserved, {"authority": "hr", "value": "E1042"}]


def test_manager_is_named_by_the_id_of_the_account(play: Play) -> None:
    """A source names a manager as it names everybody; of one who has no account there nothing is said."""
    scene = play(section=MAPPED)
    boss = {"external_id": "E1", "email": "anna@acme.example", "display_name": "Anna One"}
    scene.join(manager="E1")
    before = scene.bo().get(ENTERPRISE, {}).get("manager")
    scene.tell(Kind.JOINER, "boss joined", person="E1", **boss)

    named = [
        scene.tell(Kind.MOVER, name, manager=manager) for name, manager in (("m1", "E1"), ("m2", "anna@acme.example"))
    ]

    assert before is None
    assert named == ["applied", "unchanged"]
    assert scene.bo()[ENTERPRISE]["manager"]["value"] == scene.bo("anna@acme.example")["id"]


@pytest.mark.parametrize("told", [{"division": "Moon"}, {"department": "Astronauts"}], ids=["division", "role"])
def test_value_that_is_not_configured_there_is_told_in_the_vendors_words(told: dict[str, str], scene: Scene) -> None:
    """A division or a role that does not exist is for the operator; the account is made without it and in its group."""
    state = scene.join(**told)

    assert state == "failed"
    assert "'Moon' does not exist" in scene.detail("joined")
    assert (scene.bo()["title"], scene.bo()["groups"]) == ("Agent", ["Agents"])


def test_change_by_somebody_else_meanwhile_is_not_undone(scene: Scene) -> None:
    """400 invalidVers means that the account is another by now: it is read and planned again."""
    scene.join()
    error = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
        "status": "400",
        "scimType": "invalidVers",
        "detail": "If-Match does not match the current version",
    }
    scene.fault("PATCH /Users/*", do="answer", status=400, body=error)

    state = scene.tell(Kind.MOVER, "moved", title="Lead")

    assert (state, scene.bo()["title"]) == ("applied", "Lead")
    read, write = "GET /scim/v2/Users/BO", "PATCH /scim/v2/Users/BO"
    assert scene.requests() == [read, write, read, write]
