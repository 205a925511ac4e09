"""What a leaver had is kept, and ``gatepost restore`` gives it back."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.event import Event, Kind
from lifecycle.person import Entitlements
from tests.conftest import MakeConfig
from tests.workers.fake_scim import FakeScim, answers
from tests.workers.leaving import (
    AGAIN,
    AT_ONCE,
    BACK,
    GRANTS,
    JOINED,
    LATER,
    LEFT,
    bo,
    data,
    deletion,
    groups,
    make_scene,
    roles,
    told,
)
from tests.workers.stories import AT, Stage, event, person
from workers.kinship import united
from workers.policy import Wanted, with_entitlements

MakeScene = Callable[..., Stage]
DAYS = timedelta(days=30)
ALL = ["Agents", "Leads"], ["employee", "supervisor"]


@pytest.fixture
def scene(redis: Redis, config: MakeConfig, fake: FakeScim) -> MakeScene:
    """Make a stage; what is given is more of its target's section, or the policy."""
    return lambda **given: make_scene(redis, config, fake, **given)


def restore(stage: Stage) -> Event:
    """Take Bo back, and work on him."""
    found = stage.records.restore("E1042", DAYS, actor="test")
    stage.work()
    return found


def shown(stage: Stage, found: Event) -> dict[str, Any]:
    """Return an operator's event with its timeline."""
    return stage.records.event(found.ref, [])


def had(stage: Stage) -> tuple[list[str], list[str]]:
    """Return the groups and roles that are kept of before the suspension."""
    before = stage.person().had("crm")
    assert before is not None
    return sorted(before.groups), list(before.roles)


def stop_granting(redis: Redis, config: MakeConfig, fake: FakeScim, **section: Any) -> Stage:  # noqa: ANN401 - a section
    """Return a stage whose policy knows the Leads no more: neither their group nor their role."""
    return make_scene(redis, config, fake, policy={"grants": GRANTS[:1]}, **section)


# ---- what is kept


def test_what_a_leaver_had_is_kept_with_the_account(scene: MakeScene, fake: FakeScim) -> None:
    """Groups and roles as they were before the suspension, though both are gone by now."""
    stage = scene()
    stage.tell(JOINED)

    stage.tell(LEFT)

    assert (groups(fake), roles(fake)) == ([], [])
    assert had(stage) == ALL
    assert stage.person().accounts["crm"].roles == ()


def test_repeat_takes_nothing_from_it(scene: MakeScene, fake: FakeScim) -> None:
    """By then the account has nothing, and the moment is that of the suspension."""
    stage = scene()
    stage.tell(JOINED)
    stage.tell(LEFT)
    before = stage.person().had("crm")

    stage.tell(AGAIN)

    assert stage.person().had("crm") == before


def test_who_was_let_in_by_hand_and_suspended_again_loses_nothing_of_it(scene: MakeScene, fake: FakeScim) -> None:
    """What the account had the first time and the second; the time for a restore begins anew."""
    stage = scene()
    stage.tell(JOINED)
    stage.tell(LEFT)
    first = stage.person().had("crm")
    held = fake.held["Users"][bo(fake)["id"]]
    held["active"], held["roles"] = True, [{"value": "employee"}]

    stage.tell(AGAIN)

    second = stage.person().had("crm")
    assert first is not None
    assert second is not None
    assert (had(stage), second.at > first.at, bo(fake)["active"]) == (ALL, True, False)


def test_rehire_ends_it(scene: MakeScene, fake: FakeScim) -> None:
    """From then on the policy says what the person has."""
    stage = scene()
    stage.tell(JOINED)
    stage.tell(LEFT)

    stage.tell(BACK)

    assert stage.person().had("crm") is None
    assert (groups(fake), roles(fake)) == ALL


def test_worker_that_dies_after_the_suspension_forgets_nothing(scene: MakeScene, fake: FakeScim) -> None:
    """The PATCH that suspended took the roles too: the next attempt finds none, and knows what was given."""
    stage = scene()
    stage.tell(JOINED)

    def rob(proceed: Callable[[], httpx.Response]) -> httpx.Response:
        answer = proceed()
        stage.redis.set(keys.lease("E1042"), "another job")
        return answer

    fake.next(rob, on="PATCH /Users")
    stage.tell(LEFT)
    stage.redis.delete(keys.lease("E1042"))
    before = roles(fake)

    stage.work()

    assert before == []
    assert had(stage) == ALL
    assert data(stage, "suspended")["entitlements_before"] == {"groups": ALL[0], "roles": ALL[1]}


# ---- what is given back


def test_restore_puts_back_all_that_was_taken(
    redis: Redis, config: MakeConfig, scene: MakeScene, fake: FakeScim
) -> None:
    """Also what the policy grants no longer; the signal tells it, and the timeline who asked."""
    stage = scene()
    stage.tell(JOINED)
    stage.tell(LEFT)
    stage = stop_granting(redis, config, fake)

    found = restore(stage)

    assert (groups(fake), roles(fake), bo(fake)["active"]) == (*ALL, True)
    shown_now = shown(stage, found)
    assert (shown_now["state"], shown_now["source"], shown_now["kind"]) == ("applied", "operator", "joiner")
    assert [each["detail"] for each in shown_now["timeline"]][:2] == [{"vendor_kind": "restore"}, {"by": "test"}]
    body = data(stage, "restored")
    assert (body["reason"], body["groups_added"], body["roles_added"]) == ("returned", *ALL)
    assert (body["event"], stage.person().had("crm")) == (found.id, None)


def test_next_event_lets_the_policy_count_again(
    redis: Redis, config: MakeConfig, scene: MakeScene, fake: FakeScim
) -> None:
    """Its groups are what it grants; a role that it does not know any more is nobody's of ours."""
    stage = scene()
    stage.tell(JOINED)
    stage.tell(LEFT)
    stage = stop_granting(redis, config, fake)
    restore(stage)

    stage.tell(event(Kind.MOVER, "moved", minute=9, title="Agent"))

    assert groups(fake) == ["Agents"]
    assert roles(fake) == ["employee", "supervisor"]


def test_role_that_the_policy_grants_to_others_goes_with_the_next_event(
    redis: Redis, config: MakeConfig, scene: MakeScene, fake: FakeScim
) -> None:
    """It is ours to take."""
    stage = scene()
    stage.tell(JOINED)
    stage.tell(LEFT)
    nobody = {"when": "person.title == 'King'", "roles": ["supervisor"]}
    stage = make_scene(redis, config, fake, policy={"grants": [GRANTS[0], nobody]})
    restore(stage)
    before = roles(fake)

    stage.tell(event(Kind.MOVER, "moved", minute=9, given_name="Bob"))

    assert (before, roles(fake)) == (["employee", "supervisor"], ["employee"])


def test_restore_ends_a_deletion_that_is_scheduled(scene: MakeScene, fake: FakeScim) -> None:
    """Nobody who came back is deleted."""
    stage = scene(**LATER)
    stage.tell(JOINED)
    stage.tell(LEFT)
    stage.work()
    later = deletion(stage)

    found = restore(stage)

    gone = stage.records.event(later.ref, [])
    assert (gone["state"], gone["detail"]) == ("superseded", f"outranked by {found.ref}")
    assert bo(fake)["active"] is True


def test_account_that_was_deleted_is_created_anew_with_what_it_had(
    redis: Redis, config: MakeConfig, scene: MakeScene, fake: FakeScim
) -> None:
    """Under another id, and with what the policy grants no longer."""
    stage = scene(**AT_ONCE)
    stage.tell(JOINED)
    first = bo(fake)["id"]
    stage.tell(LEFT)
    stage = stop_granting(redis, config, fake, **AT_ONCE)

    found = restore(stage)

    assert (groups(fake), roles(fake), bo(fake)["active"]) == (*ALL, True)
    assert bo(fake)["id"] != first
    assert (shown(stage, found)["state"], stage.person().deleted) == ("applied", {})
    assert told(stage) == ["provisioned", "suspended", "deleted", "provisioned"]
    body = stage.signals()[-1]["data"]
    assert (body["groups_added"], body["roles_added"]) == ALL


@pytest.mark.parametrize("section", [{}, AT_ONCE], ids=["suspended", "deleted"])
def test_trouble_on_the_way_forgets_nothing(
    redis: Redis, config: MakeConfig, scene: MakeScene, fake: FakeScim, section: dict[str, Any]
) -> None:
    """A group that could not be joined at first is joined by the next attempt, though no policy grants it."""
    stage = scene(**section)
    stage.tell(JOINED)
    stage.tell(LEFT)
    stage = stop_granting(redis, config, fake, **section)
    fake.next(answers(503), on="PATCH /Groups", times=2)

    found = restore(stage)
    first = shown(stage, found)["state"]
    stage.work()

    assert (first, shown(stage, found)["state"]) == ("postponed", "applied")
    assert (groups(fake), stage.person().had("crm")) == (ALL[0], None)


def test_leaver_that_is_repeated_with_its_old_time_changes_nothing(scene: MakeScene, fake: FakeScim) -> None:
    """The operator's word is newer; a leave that comes after it counts."""
    stage = scene()
    stage.tell(JOINED)
    stage.tell(LEFT)
    restore(stage)

    stage.tell(AGAIN)
    active = bo(fake)["active"]
    later = event(Kind.LEAVER, "later", minute=9).model_copy(update={"occurred_at": stage_now(stage)})
    stage.tell(later)

    assert (stage.state("again"), active) == ("superseded", True)
    assert (stage.state("later"), bo(fake)["active"]) == ("applied", False)


def stage_now(stage: Stage) -> Any:  # noqa: ANN401 - a moment
    """Return a moment after the operator's word."""
    status = stage.person().status
    assert status is not None
    return status.at + timedelta(seconds=1)


def test_leave_that_was_not_carried_out_yet_is_taken_back(scene: MakeScene, fake: FakeScim) -> None:
    """The target was away; nothing was taken, and nothing is to be."""
    stage = scene()
    stage.tell(JOINED)
    fake.next(answers(503))
    now = stage_now(stage)
    stage.tell(LEFT.model_copy(update={"occurred_at": now}))

    found = stage.records.restore("E1042", DAYS * 1_000, actor="test")
    stage.work()

    assert (stage.state("left"), shown(stage, found)["state"]) == ("superseded", "unchanged")
    assert bo(fake)["active"] is True


def test_operators_word_is_not_taken_for_an_echo(scene: MakeScene, fake: FakeScim) -> None:
    """Another system looks after the person by now: sources' events are ignored, and not what an operator or we say."""
    home = {"home_source": "hris"}
    stage = scene(policy=home)
    stage.tell(JOINED)
    stage.tell(LEFT)
    status = stage.person()
    facts = status.facts | {"source_of_truth": status.facts["email"].model_copy(update={"value": "elsewhere"})}
    stage.redis.set(keys.person("E1042"), status.model_copy(update={"facts": facts}).model_dump_json())

    found = restore(stage)

    assert shown(stage, found)["state"] == "applied"
    assert bo(fake)["active"] is True


# ---- small


def test_leaver_gets_nothing_back() -> None:
    """Whatever event asks: of who has left nothing is wanted."""
    gone = Wanted("E1042", "bo", active=False, attributes={}, groups=frozenset())

    assert with_entitlements(gone, Entitlements(groups={"Agents": "g-1"}, roles=("employee",), at=AT)) == gone


def test_two_persons_that_are_one_keep_what_was_deleted(config: MakeConfig, scene: MakeScene) -> None:
    """Of either."""
    stage = scene(**AT_ONCE)
    stage.tell(JOINED)
    stage.tell(LEFT)

    found = united(config(), stage.person(), person("left", key="00u1"))

    assert found.deleted == stage.person().deleted
    assert found.deleted != {}
