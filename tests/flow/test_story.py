"""The main story: joiner, mover, repeat, late event, forgery, leaver, rehire; what target and subscriber saw of it."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest

from tests.flow.patience import eventually
from tests.flow.security_tool import Delivery
from tests.flow.stage import Somebody, Stage, Told
from tests.notices import SECRETS, okta, okta_entry, signed

FORGER = "whsec_" + "Zm9yZ2VkLXNlY3JldC1vZi1zb21lYm9keS1lbHNl"


class Scene(NamedTuple):
    """What one event came to: the answer, the event, the requests it made, and the account after it."""

    answer: int
    state: str | None
    requests: list[str]
    account: dict[str, Any]
    groups: set[str]


class Story(NamedTuple):
    """All scenes by name, the signals, and every other resource of the target before and after."""

    bo: Somebody
    scenes: dict[str, Scene]
    signals: list[Delivery]
    others_before: dict[str, Any]
    others_after: dict[str, Any]


@pytest.fixture(scope="module")
def story(one_stage: Stage) -> Story:
    """Play the story once."""
    bo = Somebody()
    bystander = one_stage.create(f"by-{bo.email}", displayName=bo.name, title="Agent")
    _join(one_stage, "Support Agents", bystander["id"])
    before = _others(one_stage, bo)
    leaver = bo.leaves(180)
    tales: list[tuple[str, Told, str]] = [
        ("joiner", bo.joins(department="Support", title="Agent"), SECRETS["standard_webhooks"]),
        ("mover", bo.moves(60, title="Senior Agent"), SECRETS["standard_webhooks"]),
        ("repeat", bo.moves(60, title="Senior Agent"), SECRETS["standard_webhooks"]),
        ("late", bo.moves(30, "late", title="Junior Agent"), SECRETS["standard_webhooks"]),
        ("transfer", bo.moves(120, "transfer", department="Sales"), SECRETS["standard_webhooks"]),
        ("forgery", bo.leaves(150, "forged"), FORGER),
        ("plain", bo.moves(160, "plain", department="Research"), SECRETS["standard_webhooks"]),
        ("leaver", leaver, SECRETS["standard_webhooks"]),
        ("rehire", bo.joins(240, "again", department="Support"), SECRETS["standard_webhooks"]),
    ]
    scenes = {name: _play(one_stage, bo, told, secret) for name, told, secret in tales}
    return Story(bo, scenes, one_stage.signals(bo, 6), before, _others(one_stage, bo))


def _play(stage: Stage, bo: Somebody, told: Told, secret: str) -> Scene:
    seen = len(stage.requests(bo))
    answer = stage.tell(told, secret=secret)
    state = stage.settled(told)["state"] if answer.is_success else None
    requests = [f"{sent.method} {sent.path.split('/')[2].partition('?')[0]}" for sent in stage.requests(bo)[seen:]]
    account = stage.account(bo)
    return Scene(answer.status_code, state, requests, account, stage.groups_of(account["id"]))


def _join(stage: Stage, group: str, account_id: str) -> None:
    (group_id,) = (found["id"] for found in stage.resources("Groups").values() if found["displayName"] == group)
    operation = {"op": "add", "path": "members", "value": [{"value": account_id}]}
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [operation]}
    stage.target.patch(f"/Groups/{group_id}", json=body).raise_for_status()


def _others(stage: Stage, bo: Somebody) -> dict[str, Any]:
    """Return every account but Bo's as it is, and every group's other members."""
    mine = {account["id"] for account in stage.accounts(bo)}
    users = {key: user for key, user in stage.resources("Users").items() if key not in mine}
    members = {
        group["displayName"]: sorted({member["value"] for member in group.get("members", [])} - mine)
        for group in stage.resources("Groups").values()
    }
    return {"users": {key: _without_groups(user) for key, user in users.items()}, "members": members}


def _without_groups(user: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in user.items() if name != "groups"}


def test_joiner_gets_an_account_and_its_group(story: Story) -> None:
    """A signed joiner is answered 202 and ends as one active account with what was told, in the group of the policy."""
    scene = story.scenes["joiner"]

    assert (scene.answer, scene.state) == (202, "applied")
    assert scene.account["active"] is True
    assert (scene.account["displayName"], scene.account["title"]) == (story.bo.name, "Agent")
    assert scene.account["emails"][0]["value"] == story.bo.email
    assert scene.groups == {"Support Agents"}


def test_joiner_costs_a_look_up_a_create_and_one_request_a_group(story: Story) -> None:
    """A joiner's requests are the look-up, the create and one PATCH for the group, no more."""
    assert story.scenes["joiner"].requests == ["GET Users", "POST Users", "PATCH Groups"]


def test_mover_costs_a_read_and_a_patch(story: Story) -> None:
    """A change of title is one read and one PATCH, and shows."""
    scene = story.scenes["mover"]

    assert scene.requests == ["GET Users", "PATCH Users"]
    assert scene.account["title"] == "Senior Agent"


def test_mover_to_another_department_changes_groups(story: Story) -> None:
    """A transfer leaves the one group and joins the other, by one request each."""
    scene = story.scenes["transfer"]

    assert scene.groups == {"Sales Team"}
    assert scene.requests == ["GET Users", "PATCH Users", "PATCH Groups", "PATCH Groups"]


def test_repeat_costs_nothing(story: Story) -> None:
    """The same event once more is answered alike and makes no request."""
    assert story.scenes["repeat"].answer == 202
    assert story.scenes["repeat"].requests == []


def test_late_older_event_is_superseded(story: Story) -> None:
    """An older title that arrives late is superseded, makes no request and does not show."""
    scene = story.scenes["late"]

    assert (scene.state, scene.requests) == ("superseded", [])
    assert scene.account["title"] == "Senior Agent"


def test_leaver_is_locked_out_and_read_back(story: Story) -> None:
    """A leaver ends inactive on the target: a read, a PATCH, and a read that confirms it."""
    scene = story.scenes["leaver"]

    assert (scene.state, scene.account["active"]) == ("applied", False)
    assert scene.requests == ["GET Users", "PATCH Users", "GET Users"]
    assert scene.groups == set()


def test_leaver_keeps_everything_but_the_access(story: Story) -> None:
    """Of a leaver's account nothing but ``active`` changes."""
    before, after = story.scenes["plain"].account, story.scenes["leaver"].account
    changed = {name for name in before | after if before.get(name) != after.get(name)}

    assert changed == {"active", "meta"}


def test_rehire_revives_the_same_account(story: Story) -> None:
    """Who comes back gets the same account, active again, and the group of the new department."""
    scene = story.scenes["rehire"]

    assert scene.account["id"] == story.scenes["joiner"].account["id"]
    assert scene.account["active"] is True
    assert scene.groups == {"Support Agents"}


def test_each_change_is_told_once_and_in_order(story: Story) -> None:
    """The subscriber verified one signal a change, under ids of its own each."""
    assert [signal.type for signal in story.signals] == [
        "person.provisioned",
        "person.updated",
        "person.updated",
        "person.updated",
        "person.suspended",
        "person.restored",
    ]
    assert len({signal.id for signal in story.signals}) == 6


def test_suspension_is_told_with_its_times(story: Story) -> None:
    """``person.suspended`` names the account, its state, and when it was received, applied and confirmed, in order."""
    (signal,) = (found for found in story.signals if found.type == "person.suspended")
    moments = [datetime.fromisoformat(signal.data[name]) for name in ("received_at", "applied_at", "confirmed_at")]

    assert signal.data["event"] == f"{story.bo.key}-left"
    assert (signal.data["source"], signal.data["target"], signal.data["reason"]) == ("hris", "crm", "left")
    assert signal.data["account"] == {"id": story.scenes["leaver"].account["id"], "active": False}
    assert moments == sorted(moments)
    assert 0 < signal.data["latency_ms"] < 30_000


def test_nobody_else_is_touched(story: Story) -> None:
    """Every other account, a namesake's included, and every other membership is as it was before the story."""
    assert story.others_after == story.others_before


def test_forgery_leaves_nothing_behind(stage: Stage, story: Story) -> None:
    """A notice signed by somebody else is refused with 401; no event is kept, no request made, no account changed."""
    scene = story.scenes["forgery"]
    answer = stage.receiver.get(
        f"/v1/events/hris:{story.bo.key}-forged", headers={"authorization": "Bearer admin-token-of-the-tests"}
    )

    assert (scene.answer, scene.requests) == (401, [])
    assert scene.account["active"] is True
    assert answer.status_code == 404


def test_altered_body_is_refused(stage: Stage, bo: Somebody) -> None:
    """The signature of one leaver does not carry another: a body that was changed on the way is refused."""
    other = Somebody()
    told = bo.leaves()

    answer = stage.receiver.post(
        "/hooks/hris", content=told.body.replace(bo.key.encode(), other.key.encode()), headers=signed(told.body)
    )

    assert answer.status_code == 401
    assert stage.ask(f"/v1/events?person={other.key}")["items"] == []


def test_okta_joiner_and_leaver(stage: Stage, bo: Somebody) -> None:
    """An Okta user that is created gets an account under Okta's id, and loses it when Okta deactivates the user."""
    created = _okta(bo, "created", "user.lifecycle.create", "2026-03-02T09:00:02.400Z")
    deactivated = _okta(bo, "deactivated", "user.lifecycle.deactivate", "2026-03-02T10:00:02.400Z")

    answer = stage.tell(created)
    joined = stage.settled(created)["state"]
    account = stage.account(bo)
    left = stage.state(deactivated)

    assert (answer.status_code, answer.content) == (204, b"")
    assert (joined, account["active"], account["externalId"]) == ("applied", True, bo.key)
    assert (left, stage.account(bo)["active"]) == ("applied", False)
    assert len(stage.requests(bo)) == 2 + 3


def _okta(person: Somebody, event: str, kind: str, at: str) -> Told:
    entry = okta_entry(f"{person.key}-{event}", kind, person.key) | {"published": at}
    entry["target"][0] |= {"alternateId": person.email, "displayName": person.name}
    return Told("okta", entry["uuid"], okta(entry))


def test_stranger_who_leaves_makes_no_account(stage: Stage, bo: Somebody) -> None:
    """A leaver whom the target never knew ends without an account, without a write and without a signal."""
    state = stage.state(bo.leaves())

    assert state == "unchanged"
    assert stage.accounts(bo) == []
    assert {sent.method for sent in stage.requests(bo)} == {"GET"}


def test_leaver_of_another_day_waits(stage: Stage, bo: Somebody) -> None:
    """A leaver whose last day is to come is scheduled; the account stays active and is not even looked at."""
    stage.state(bo.joins())
    seen = len(stage.requests(bo))
    told = bo.leaves(effective_at="2100-01-01T00:00:00Z")

    stage.tell(told).raise_for_status()
    eventually(lambda: stage.ask(f"/v1/events/{told.ref}")["state"] == "scheduled")

    assert stage.account(bo)["active"] is True
    assert len(stage.requests(bo)) == seen


@pytest.mark.parametrize("microsecond", [0, 950_000])
def test_leaver_of_a_moment_takes_effect_then(stage: Stage, bo: Somebody, microsecond: int) -> None:
    """A leaver takes effect at the moment told, not before it and soon after, whatever the fraction of the second."""
    stage.state(bo.joins())
    moment = datetime.now(UTC).replace(microsecond=microsecond) + timedelta(seconds=1)

    event = _settle(stage, bo.leaves(effective_at=moment.isoformat()))
    settled_at = datetime.fromisoformat(event["settled_at"])

    assert (event["state"], stage.account(bo)["active"]) == ("applied", False)
    assert moment <= settled_at < moment + timedelta(seconds=5)


def test_leaver_of_a_local_moment_takes_effect_by_the_persons_clocks(stage: Stage, bo: Somebody) -> None:
    """First told of another day and then of a moment in a few seconds, without a zone: the person's own, in Tokyo."""
    stage.state(bo.joins(timezone="Asia/Tokyo"))
    first = bo.leaves(event="first", effective_at="2099-03-08")
    stage.tell(first).raise_for_status()
    eventually(lambda: stage.ask(f"/v1/events/{first.ref}")["effective_at"] == "2099-03-08T15:00:00.000Z")
    moment = datetime.now(UTC) + timedelta(seconds=2)
    local = moment.astimezone(ZoneInfo("Asia/Tokyo")).replace(tzinfo=None)

    event = _settle(stage, bo.leaves(130, effective_at=local.isoformat()))
    settled_at = datetime.fromisoformat(event["settled_at"])

    assert (event["state"], stage.account(bo)["active"]) == ("applied", False)
    assert moment <= settled_at < moment + timedelta(seconds=5)
    assert stage.ask(f"/v1/events/{first.ref}")["state"] == "superseded"


def _settle(stage: Stage, told: Told) -> dict[str, Any]:
    stage.tell(told).raise_for_status()
    return stage.settled(told, within=10)
