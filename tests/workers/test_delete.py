"""``leaver = "delete"``: suspended first, then deleted; and never the wrong account."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.errors import Held
from lifecycle.event import Kind
from lifecycle.person import Account
from lifecycle.settlement import DROPPED
from tests.conftest import MakeConfig
from tests.workers.fake_scim import FakeScim, Quirk, answers, cuts_after
from tests.workers.leaving import AGAIN, AT_ONCE, BACK, JOINED, LEFT, MAIL, bo, data, groups, make_scene, said, told
from tests.workers.stories import BO, Meeting, Stage, event, person

MakeScene = Callable[..., Stage]


@pytest.fixture
def scene(redis: Redis, config: MakeConfig, fake: FakeScim) -> MakeScene:
    """Make a stage whose target deletes leavers; what is given is more of its section, or the policy."""

    def make(**given: Any) -> Stage:  # noqa: ANN401 - a section of the configuration
        return make_scene(redis, config, fake, **AT_ONCE | given)

    return make


def rob(stage: Stage) -> Callable[[Callable[[], httpx.Response]], httpx.Response]:
    """Do what was asked; then the worker is taken for dead, and nothing of it is settled."""

    def fault(proceed: Callable[[], httpx.Response]) -> httpx.Response:
        answer = proceed()
        stage.redis.set(keys.lease("E1042"), "another job")
        return answer

    return fault


# ---- what is done


def test_leaver_is_suspended_and_then_deleted(scene: MakeScene, fake: FakeScim) -> None:
    """The access ends first, whatever becomes of the DELETE; the account is nobody's any more, and both are told.

    It leaves its groups before it goes: some servers keep a member that is no more.
    """
    stage = scene()
    stage.tell(JOINED)
    account, start = bo(fake)["id"], len(fake.log)

    stage.tell(LEFT)

    assert said(fake, start) == ["GET", "PATCH", "GET", "PATCH", "PATCH", "DELETE"]
    assert (stage.state("left"), fake.users()) == ("applied", [])
    assert stage.person().accounts == {}
    assert stage.person().deleted["crm"].id == account
    assert stage.people.owner_of("crm", account) is None
    assert told(stage) == ["provisioned", "suspended", "deleted"]
    body = data(stage, "deleted")
    assert (body["event"], body["account"], body["reason"]) == ("left", {"id": account, "active": False}, "left")
    assert body["entitlements_before"] == {"groups": ["Agents", "Leads"], "roles": ["employee", "supervisor"]}
    assert (body["groups_removed"], data(stage, "suspended")["groups_removed"]) == ([], ["Agents", "Leads"])
    assert body["confirmed_at"] == body["applied_at"] >= data(stage, "suspended")["confirmed_at"]
    assert stage.found("left")["timeline"][-1]["detail"]["deleted"] is True


def test_repeat_of_the_leaver_costs_nothing(scene: MakeScene, fake: FakeScim) -> None:
    """The name was given to somebody else meanwhile, by hand: nobody looks for it, and nobody deletes it."""
    stage = scene()
    stage.tell(JOINED)
    stage.tell(LEFT)
    other = fake.add("Users", userName=MAIL, active=True)
    start = len(fake.log)

    stage.tell(AGAIN)
    stage.tell(event(Kind.MOVER, "moved", minute=4, title="Agent"))

    assert len(fake.log) == start
    assert (stage.state("again"), stage.state("moved")) == ("unchanged", "unchanged")
    assert fake.user(MAIL)["id"] == other["id"]
    assert told(stage) == ["provisioned", "suspended", "deleted"]


def test_rehire_gets_a_new_account(scene: MakeScene, fake: FakeScim) -> None:
    """And is deleted again when he leaves again."""
    stage = scene()
    stage.tell(JOINED)
    first = bo(fake)["id"]
    stage.tell(LEFT)

    stage.tell(BACK)
    second = bo(fake)
    known = stage.person()
    stage.tell(event(Kind.LEAVER, "gone", minute=6))

    assert second["id"] != first
    assert (second["active"], known.accounts["crm"].id, known.deleted) == (True, second["id"], {})
    assert fake.users() == []
    assert told(stage) == ["provisioned", "suspended", "deleted", "provisioned", "suspended", "deleted"]


def test_account_that_comes_back_under_its_id_is_the_persons_again(scene: MakeScene, fake: FakeScim) -> None:
    """Genesys Cloud restores a deleted user at the next create of the address."""
    fake.quirks = frozenset({Quirk.RESTORES})
    stage = scene(profile={"restores": True})
    stage.tell(JOINED)
    first = bo(fake)["id"]
    stage.tell(LEFT)

    stage.tell(BACK)

    assert (stage.state("back"), bo(fake)["id"]) == ("applied", first)
    assert stage.people.owner_of("crm", first) == "E1042"
    assert groups(fake) == ["Agents", "Leads"]


def test_who_fell_out_of_scope_is_not_deleted(scene: MakeScene, fake: FakeScim) -> None:
    """A rule may be wrong for everybody at once; only who left is deleted."""
    stage = scene(policy={"scope": "person.department == 'Support'"})
    stage.tell(JOINED)

    stage.tell(event(Kind.MOVER, "moved", minute=1, department="Sales"))
    suspended = bo(fake)["active"]
    stage.tell(LEFT)

    assert suspended is False
    assert fake.users() == []


# ---- what is in the way


@pytest.mark.parametrize(
    ("status", "reason"), [(405, "refused"), (501, "refused"), (403, "forbidden"), (400, "refused")]
)
def test_target_that_does_not_delete_keeps_the_account_suspended(
    scene: MakeScene, fake: FakeScim, status: int, reason: str
) -> None:
    """The event fails in the target's words; all that a suspension is is done and told, and a retry deletes."""
    stage = scene()
    stage.tell(JOINED)
    fake.next(answers(status, {"detail": "accounts are for ever"}), on="DELETE")

    stage.tell(LEFT)
    failed = stage.found("left")
    active, left_in = bo(fake)["active"], groups(fake)
    stage.records.retry("event:hris:left", actor="test")
    stage.work()

    assert (failed["state"], failed["reason"], failed["detail"]) == (
        "failed",
        reason,
        f"{status} accounts are for ever",
    )
    assert (active, left_in) == (False, [])
    assert told(stage) == ["provisioned", "suspended", "delivery.failed", "deleted"]
    assert (stage.state("left"), fake.users()) == ("applied", [])


def test_404_of_a_target_without_delete_is_no_deletion(scene: MakeScene, fake: FakeScim) -> None:
    """Some frameworks answer so to a method that they do not have: the account is there still."""
    stage = scene()
    stage.tell(JOINED)
    fake.next(answers(404, {"detail": "no such route"}), on="DELETE")

    stage.tell(LEFT)

    assert stage.found("left")["detail"] == "the target has no DELETE: 404 no such route"
    assert stage.state("left") == "failed"
    assert "crm" in stage.person().accounts


@pytest.mark.parametrize("status", [404, 410])
def test_account_that_somebody_deleted_in_that_moment_is_deleted(scene: MakeScene, fake: FakeScim, status: int) -> None:
    """Gone is gone."""
    stage = scene()
    stage.tell(JOINED)

    def too_late(proceed: Callable[[], httpx.Response]) -> httpx.Response:
        proceed()
        return httpx.Response(status)

    fake.next(too_late, on="DELETE")

    stage.tell(LEFT)

    assert (stage.state("left"), told(stage)[-1]) == ("applied", "deleted")


def test_deletion_whose_answer_was_lost_is_told_once(scene: MakeScene, fake: FakeScim) -> None:
    """A look by the id that we know shows it, and one by the source's id; nobody is looked for by name."""
    stage = scene()
    stage.tell(JOINED)
    account = bo(fake)["id"]
    fake.next(cuts_after(), on="DELETE")
    stage.tell(LEFT)
    before, start = (stage.state("left"), told(stage)), len(fake.log)
    fake.add("Users", userName=MAIL, active=True)

    stage.work()

    assert before == ("postponed", ["provisioned", "suspended"])
    assert [each.path for each in fake.log[start:]] == [f"/Users/{account}", '/Users?filter=externalId eq "E1042"']
    assert stage.state("left") == "applied"
    assert told(stage) == ["provisioned", "suspended", "deleted"]
    assert bo(fake)["active"] is True


@pytest.mark.parametrize("on", ["PATCH", "DELETE"])
def test_worker_that_dies_on_the_way_leaves_nothing_untold(scene: MakeScene, fake: FakeScim, on: str) -> None:
    """After any of its writes: the next attempt finds what is done, and tells both, once, with all that was there."""
    stage = scene()
    stage.tell(JOINED)
    fake.next(rob(stage), on=f"{on} /Users")
    stage.tell(LEFT)
    before = (stage.state("left"), told(stage))
    stage.redis.delete(keys.lease("E1042"))

    stage.work()

    assert before == ("kept", ["provisioned"])
    assert (stage.state("left"), fake.users(), stage.person().accounts) == ("applied", [], {})
    assert told(stage) == ["provisioned", "suspended", "deleted"]
    had = {"groups": ["Agents", "Leads"], "roles": ["employee", "supervisor"]}
    assert data(stage, "suspended")["entitlements_before"] == data(stage, "deleted")["entitlements_before"] == had


def test_accepted_deletion_is_looked_for(scene: MakeScene, fake: FakeScim) -> None:
    """RFC 9967: 202 means that the target will do it; it is done when the account is not there."""
    stage = scene()
    stage.tell(JOINED)

    def accepts(proceed: Callable[[], httpx.Response]) -> httpx.Response:
        proceed()
        return httpx.Response(202)

    fake.next(accepts, on="DELETE")
    stage.tell(LEFT)
    before = stage.state("left")
    stage.work()

    assert (before, stage.state("left"), told(stage)[-1]) == ("postponed", "applied", "deleted")


def test_group_that_cannot_be_left_does_not_keep_the_account(scene: MakeScene, fake: FakeScim) -> None:
    """It is in the group no more when it is no more; the signal of the deletion says so."""
    stage = scene()
    stage.tell(JOINED)
    fake.next(answers(400, {"detail": "a rule says who is in"}), on="PATCH /Groups", times=9)
    fake.next(answers(400), on="PUT /Groups", times=9)

    stage.tell(LEFT)

    assert (stage.state("left"), fake.users()) == ("applied", [])
    assert told(stage) == ["provisioned", "suspended", "deleted"]
    assert data(stage, "deleted")["groups_removed"] == ["Agents", "Leads"]


# ---- versions


def versioned(scene: MakeScene, fake: FakeScim) -> Stage:
    """Make a stage whose target honours If-Match."""
    fake.quirks = frozenset({Quirk.USER_VERSIONS})
    stage = scene(profile={"etag": True})
    stage.tell(JOINED)
    return stage


def test_deletion_names_the_version_that_was_read_back(scene: MakeScene, fake: FakeScim) -> None:
    """So that what somebody does between the look and the DELETE is not deleted unseen."""
    stage = versioned(scene, fake)

    stage.tell(LEFT)

    assert fake.log[-1].method == "DELETE"
    assert fake.log[-1].headers["if-match"].startswith('"')
    assert stage.state("left") == "applied"


@pytest.mark.parametrize(
    ("status", "body"), [(400, {"scimType": "invalidVers"}), (412, {}), (409, {"detail": "version"})]
)
def test_change_of_another_kind_meanwhile_is_read_and_deleted(
    scene: MakeScene, fake: FakeScim, status: int, body: dict[str, str]
) -> None:
    """Somebody wrote a title; the account is out still."""
    stage = versioned(scene, fake)

    def changed(_: Callable[[], httpx.Response]) -> httpx.Response:
        fake.held["Users"][bo(fake)["id"]]["title"] = "by hand"
        return httpx.Response(status, json=body)

    fake.next(changed, on="DELETE")

    stage.tell(LEFT)

    assert (stage.state("left"), fake.users()) == ("applied", [])


def test_version_that_is_never_right_is_not_named_again(scene: MakeScene, fake: FakeScim) -> None:
    """The account is as it was read, and the target says that it changed."""
    stage = versioned(scene, fake)
    fake.next(answers(412), on="DELETE")

    stage.tell(LEFT)

    assert [("if-match" in each.headers) for each in fake.log if each.method == "DELETE"] == [True, False]
    assert stage.state("left") == "applied"


def test_conflict_that_does_not_end_is_tried_again_later(scene: MakeScene, fake: FakeScim) -> None:
    """It is no refusal."""
    stage = versioned(scene, fake)
    fake.next(answers(412), on="DELETE", times=2)

    stage.tell(LEFT)

    assert (stage.delivery("left")["outcome"], stage.delivery("left")["reason"]) == ("postponed", "conflict")
    assert bo(fake)["active"] is False


def test_account_that_somebody_let_in_again_is_not_deleted(scene: MakeScene, fake: FakeScim) -> None:
    """Reactivated between the look and the DELETE: suspended again, for the person left; deleted only by a human."""
    stage = versioned(scene, fake)

    def let_in(proceed: Callable[[], httpx.Response]) -> httpx.Response:
        fake.held["Users"][bo(fake)["id"]]["active"] = True
        return proceed()

    fake.next(let_in, on="DELETE")
    stage.tell(LEFT)
    first = stage.delivery("left")
    stage.work()
    held = stage.found("left")
    active = bo(fake)["active"]
    stage.records.retry("event:hris:left", actor="test")
    stage.work()

    assert (first["outcome"], first["reason"]) == ("postponed", "conflict")
    assert (held["state"], held["reason"], active) == ("held", "reactivated", False)
    assert "had been reactivated" in held["detail"]
    assert (stage.state("left"), fake.users()) == ("applied", [])


# ---- whose account it is


def test_account_that_only_has_the_name_is_suspended_and_held(scene: MakeScene, fake: FakeScim) -> None:
    """An address is given again to others; a retry is a human's word that this is the person's."""
    stage = scene()
    fake.add("Users", userName=MAIL, active=True)

    stage.tell(event(Kind.LEAVER, "left", **BO))
    held, active = stage.found("left"), bo(fake)["active"]
    stage.records.retry("event:hris:left", actor="test")
    stage.work()

    assert (held["state"], held["reason"], active) == ("held", "not_proven", False)
    assert (stage.state("left"), fake.users()) == ("applied", [])


def test_account_that_bears_the_persons_id_is_deleted_at_first_sight(scene: MakeScene, fake: FakeScim) -> None:
    """It was never settled, and says itself whose it is."""
    stage = scene()
    fake.add("Users", userName=MAIL, externalId="E1042", active=True)

    stage.tell(event(Kind.LEAVER, "left", **BO))

    assert (stage.state("left"), fake.users()) == ("applied", [])


def test_account_of_somebody_else_is_not_touched(scene: MakeScene, fake: FakeScim) -> None:
    """The id that we know names another person by now."""
    stage = scene()
    stage.tell(JOINED)
    fake.held["Users"][bo(fake)["id"]]["externalId"] = "E2"

    stage.tell(LEFT)

    assert (stage.state("left"), stage.found("left")["reason"]) == ("held", "other_owner")
    assert bo(fake)["active"] is True


def test_protected_account_is_not_touched(scene: MakeScene, fake: FakeScim) -> None:
    """Whatever the person is called, the account has a name that nobody may change."""
    stage = scene(policy={"protected": ["breakglass@acme.example"]})
    stage.tell(JOINED)
    fake.held["Users"][bo(fake)["id"]]["emails"] = [{"type": "work", "value": "breakglass@acme.example"}]

    stage.tell(LEFT)

    assert (stage.state("left"), stage.found("left")["reason"]) == ("ignored", "protected")
    assert bo(fake)["active"] is True


def test_account_made_anew_under_another_id_is_found_and_deleted(scene: MakeScene, fake: FakeScim) -> None:
    """The target was rebuilt while the person worked here; the id of the source says whose the account is."""
    stage = scene()
    stage.tell(JOINED)
    rebuilt = fake.held["Users"].pop(bo(fake)["id"])
    fake.add("Users", **rebuilt | {"id": "u-new"})

    stage.tell(LEFT)

    assert (stage.state("left"), fake.users()) == ("applied", [])
    assert stage.person().deleted["crm"].id == "u-new"


# ---- limits


@pytest.mark.parametrize("adapter", ["scim", "genesys_cloud"])
def test_limit_is_asked_right_before_the_deletion(redis: Redis, adapter: str) -> None:
    """Past it the account is suspended, its groups are left, and the deletion is held."""
    meeting = Meeting(redis, adapter, account=Account(id="u-7", user_name=MAIL, active=True))
    meeting.fake.add("Users", id="u-7", userName=MAIL, externalId="E1042", active=True, displayName="Bo Ray")
    asked: list[tuple[str, bool]] = []

    def allow(kind: str, _names: Iterable[str] = ()) -> None:
        asked.append((kind, bo(meeting.fake)["active"]))
        if kind == "deletions":
            raise Held("too many", reason="limit")

    task = replace(meeting.task(person("left", **BO)), deletes=True, allow=allow)
    agreement = meeting.place.adapter.agree(task)

    assert ("deletions", False) in asked
    assert (agreement.change, agreement.deleted_at) == ("suspended", None)
    assert agreement.trouble is not None
    assert agreement.trouble.reason == "limit"
    assert "DELETE /Users/u-7" not in meeting.fake.lines()


def test_dropped_deletion_leaves_the_leaver_locked_out(redis: Redis, config: MakeConfig, fake: FakeScim) -> None:
    """The suspension took effect before the deletion was held: who left is not said to work here, and can come back."""
    stage = make_scene(redis, config, fake, **AT_ONCE, safety={"deletions": {"max": 1}})
    redis.zadd(keys.window("deletions", "crm"), {"E7": time.time() * 1000})
    stage.tell(JOINED)
    stage.tell(LEFT)
    before = (stage.state("left"), bo(fake)["active"])

    stage.records.rule("left", ["hris"], DROPPED, actor="ada")
    stage.work()
    after = (stage.state("left"), stage.person().has_left, bo(fake)["active"])
    stage.records.restore("E1042", timedelta(days=1), actor="ada")
    stage.work()

    assert (before, after) == (("held", False), ("ignored", True, False))
    assert bo(fake)["active"] is True
