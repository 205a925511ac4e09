"""``leaver = "suspend_then_delete"``: an event of ours deletes later, if nobody came back."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.config import Config
from lifecycle.event import Event, Kind, State
from lifecycle.metrics import FleetCollector
from lifecycle.person import Account, Person
from lifecycle.queue import CONVERGE, lanes
from lifecycle.settlement import Kept
from tests.conftest import MakeConfig
from tests.workers.fake_scim import FakeScim, Quirk, answers
from tests.workers.leaving import (
    AGAIN,
    BACK,
    JOINED,
    LATER,
    LEFT,
    MAIL,
    bo,
    data,
    deletion,
    deletions,
    fall_due,
    make_scene,
    said,
    told,
)
from tests.workers.stories import AT, BO, Stage, event, person, target
from workers.agree import _rank
from workers.deletions import Later, with_deletions
from workers.fold import fold
from workers.policy import Wanted

MakeScene = Callable[..., Stage]
GONE = event(Kind.LEAVER, "gone", minute=8, external_id="E1042")


@pytest.fixture
def scene(redis: Redis, config: MakeConfig, fake: FakeScim) -> MakeScene:
    """Make a stage whose target deletes leavers after thirty days; what is given is more of its section."""
    return lambda **given: make_scene(redis, config, fake, **LATER | given)


def left(scene: MakeScene, **given: Any) -> Stage:  # noqa: ANN401 - a section of the configuration
    """Make a stage on which Bo joined and left."""
    stage = scene(**given)
    stage.tell(JOINED)
    stage.tell(LEFT)
    return stage


def state(stage: Stage, found: Event) -> str:
    """Return where an event of ours stands."""
    return str(stage.records.event(found.ref, [])["state"])


def drain(stage: Stage) -> None:
    """Run every job that is offered, and no scheduled one."""
    for queue in lanes(stage.redis).values():
        for job in queue.get_jobs():
            queue.remove(job)
            if job.func_name == CONVERGE:
                stage.work(*job.args)


# ---- how it is made


def test_suspension_makes_a_deletion_that_is_scheduled(scene: MakeScene, fake: FakeScim) -> None:
    """It is an event like any other: its moment, its place among what is due, and why it is there can be asked for."""
    stage = left(scene)
    now = datetime.now(UTC)

    drain(stage)

    found = deletion(stage)
    assert (found.source, found.kind, found.about, found.vendor_kind) == ("gatepost", "leaver", "crm", "delete_due")
    assert found.effective_at is not None
    assert abs(found.effective_at - now - timedelta(days=30)) < timedelta(seconds=10)
    assert stage.redis.zscore(keys.DUE, found.ref) == pytest.approx(found.effective_at.timestamp() * 1000, abs=1)
    assert stage.later("leavers")[-1] >= found.effective_at
    shown = stage.records.event(found.id, ["hris"])
    assert shown["state"] == "scheduled"
    assert [each["step"] for each in shown["timeline"]] == ["kept", "suspended", "fold"]
    assert shown["timeline"][1]["detail"] == {
        "target": "crm",
        "account": bo(fake)["id"],
        "because_of": "hris:left",
    }
    assert stage.person().accounts["crm"].deletion == found.ref
    assert (stage.state("left"), bo(fake)["active"]) == ("applied", False)


def test_repeat_of_the_leaver_makes_no_second(scene: MakeScene, fake: FakeScim) -> None:
    """Nor does it move the first."""
    stage = left(scene)
    drain(stage)
    first = deletion(stage)

    stage.tell(AGAIN)
    drain(stage)

    assert deletion(stage) == first
    assert (stage.state("again"), state(stage, first)) == ("unchanged", "scheduled")


def test_worker_that_dies_makes_none_or_one(scene: MakeScene, fake: FakeScim) -> None:
    """It is made in the step that settles the suspension."""
    stage = scene()
    stage.tell(JOINED)

    def rob(proceed: Callable[[], httpx.Response]) -> httpx.Response:
        answer = proceed()
        stage.redis.set(keys.lease("E1042"), "another job")
        return answer

    fake.next(rob, on="PATCH /Users")
    stage.tell(LEFT)
    before = deletions(stage)
    stage.redis.delete(keys.lease("E1042"))

    stage.work()

    assert before == []
    assert deletion(stage).about == "crm"


def test_suspension_that_is_not_confirmed_makes_none(scene: MakeScene, fake: FakeScim) -> None:
    """What is not known to be out is not deleted."""
    stage = scene()
    stage.tell(JOINED)
    fake.quirks = frozenset({Quirk.IGNORES_PATCH, Quirk.NO_PUT})

    stage.tell(LEFT)

    assert (stage.state("left"), deletions(stage)) == ("postponed", [])


def test_who_fell_out_of_scope_has_none_until_he_leaves(scene: MakeScene, fake: FakeScim) -> None:
    """A rule may be wrong for everybody at once."""
    stage = scene(policy={"scope": "person.department == 'Support'"})
    stage.tell(JOINED)
    stage.tell(event(Kind.MOVER, "moved", minute=1, department="Sales"))
    before = (bo(fake)["active"], deletions(stage))

    stage.tell(LEFT)

    assert before == (False, [])
    assert deletion(stage).about == "crm"


@pytest.mark.parametrize(("leaver", "delete_after"), [("suspend", None), ("delete", None)])
def test_other_targets_make_none(leaver: str, delete_after: str | None) -> None:
    """One that only suspends, one that deletes at once, one that is not configured."""
    account = Account(id="u-7", active=False)
    known = person("left", **BO).model_copy(update={"accounts": {"crm": account, "desk": account}})
    config = make_config(leaver=leaver, delete_after=delete_after)

    assert with_deletions(config, known, frozenset(), AT) == (known, [])


def test_deletion_that_is_made_anew_has_a_name_of_its_own() -> None:
    """The policy changed its mind and back: the first one is settled, and would be taken for the second."""
    config = make_config(**LATER)
    names = set()
    for minute in (0, 0, 1):
        account = Account(id="u-7", active=False, settled_at=AT + timedelta(minutes=minute))
        known = person("left").model_copy(update={"accounts": {"crm": account}})
        _, made = with_deletions(config, known, frozenset(), AT)
        names.add(made[0].event.id)

    assert len(names) == 2


def test_accounts_of_who_works_here_and_that_are_not_out_make_none() -> None:
    """Neither is somebody who left, and locked out."""
    inactive, active, unknown = Account(id="u-7", active=False), Account(id="u-7", active=True), Account(id="u-7")
    config = make_config(**LATER)

    for known, account in (
        (person("active"), inactive),
        (person(None), inactive),
        (person("left"), active),
        (person("left"), unknown),
    ):
        found = known.model_copy(update={"accounts": {"crm": account}})
        assert with_deletions(config, found, frozenset(), AT) == (found, [])


def make_config(**section: Any) -> Config:  # noqa: ANN401 - a section of the configuration
    """Make a configuration with one target."""
    return Config(targets={"crm": target(**section)})


# ---- what it does


def test_account_is_deleted_when_it_is_due(scene: MakeScene, fake: FakeScim) -> None:
    """A look and a DELETE; the signal is the deletion's, and nothing else has changed."""
    stage = left(scene)
    account = bo(fake)["id"]
    drain(stage)
    found = deletion(stage)
    fall_due(stage, found)
    start, status = len(fake.log), stage.person().status

    stage.work(lane="leavers")

    assert said(fake, start) == ["GET", "DELETE"]
    assert (state(stage, found), fake.users(), stage.mailbox()) == ("applied", [], [])
    assert (stage.person().accounts, stage.person().deleted["crm"].id) == ({}, account)
    assert stage.person().status == status
    assert told(stage) == ["provisioned", "suspended", "deleted"]
    body = data(stage, "deleted")
    assert (body["event"], body["source"], body["account"]) == (found.id, "gatepost", {"id": account, "active": False})
    assert body["entitlements_before"]["groups"] == ["Agents", "Leads"]
    assert body["latency_ms"] < 60_000
    assert stage.redis.zscore(keys.DUE, found.ref) is None


def test_it_does_not_come_before_its_moment(scene: MakeScene, fake: FakeScim) -> None:
    """Whatever else is told of the person meanwhile."""
    stage = left(scene)
    drain(stage)

    stage.tell(event(Kind.MOVER, "moved", minute=4, title="Agent"))
    stage.tell(AGAIN)

    assert (state(stage, deletion(stage)), len(fake.users())) == ("scheduled", 1)


def test_it_is_about_its_target_alone(scene: MakeScene, fake: FakeScim) -> None:
    """Others are not asked, and are no part of what it came to."""
    desk = FakeScim()
    stage = left(scene, others={"desk": desk})
    drain(stage)
    found = deletion(stage)
    fall_due(stage, found)
    start = len(desk.log)

    stage.work()

    assert len(desk.log) == start
    assert [each["target"] for each in stage.records.event(found.ref, [])["deliveries"]] == ["crm"]
    assert (fake.users(), desk.user(MAIL)["active"]) == ([], False)
    assert stage.person().accounts.keys() == {"desk"}


def test_events_that_fall_together_keep_to_what_they_are_about(scene: MakeScene, fake: FakeScim) -> None:
    """A mover is for both targets, the deletion for one; the signal names the deletion and not the newest event."""
    desk = FakeScim()
    stage = left(scene, others={"desk": desk})
    drain(stage)
    found = deletion(stage)
    fall_due(stage, found)

    stage.tell(event(Kind.MOVER, "moved", minute=9, title="Agent"))

    assert [each["target"] for each in stage.records.event(found.ref, [])["deliveries"]] == ["crm"]
    assert {each["target"] for each in stage.found("moved")["deliveries"]} == {"crm", "desk"}
    assert (state(stage, found), data(stage, "deleted")["event"]) == ("applied", found.id)


def test_trouble_is_tried_again_and_a_refusal_waits_for_a_person(scene: MakeScene, fake: FakeScim) -> None:
    """As for every event."""
    stage = left(scene)
    drain(stage)
    found = deletion(stage)
    fall_due(stage, found)
    fake.next(answers(503), on="DELETE")
    fake.next(answers(405, {"detail": "for ever"}), on="DELETE")

    stage.work()
    first = state(stage, found)
    stage.work()
    second = stage.records.event(found.ref, [])
    stage.records.retry(f"event:{found.ref}", actor="test")
    stage.work()

    assert (first, second["state"], second["detail"], state(stage, found)) == (
        "postponed",
        "failed",
        "405 for ever",
        "applied",
    )
    assert told(stage) == ["provisioned", "suspended", "delivery.failed", "deleted"]
    (alarm,) = [each["data"] for each in stage.signals() if each["type"] == "delivery.failed"]
    assert (alarm["event"], alarm["source"]) == (found.id, "gatepost")


def test_account_that_is_gone_already_is_told_and_nobody_else_is_touched(scene: MakeScene, fake: FakeScim) -> None:
    """The name was given to somebody else, whose account bears no id of a source."""
    stage = left(scene)
    drain(stage)
    found = deletion(stage)
    fall_due(stage, found)
    del fake.held["Users"][bo(fake)["id"]]
    other = fake.add("Users", userName=MAIL, active=True)
    start = len(fake.log)

    stage.work()

    assert said(fake, start) == ["GET", "GET"]
    assert (state(stage, found), told(stage)[-1]) == ("applied", "deleted")
    assert (bo(fake)["id"], bo(fake)["active"]) == (other["id"], True)


def test_account_that_somebody_reactivated_is_held(scene: MakeScene, fake: FakeScim) -> None:
    """The person left, so it is suspended again; whether it is deleted is for a human to say, by a retry."""
    stage = left(scene)
    drain(stage)
    found = deletion(stage)
    fall_due(stage, found)
    fake.held["Users"][bo(fake)["id"]]["active"] = True

    stage.work()
    held, active = stage.records.event(found.ref, []), bo(fake)["active"]
    stage.records.retry(f"event:{found.ref}", actor="test")
    stage.work()

    assert (held["state"], held["reason"], active) == ("held", "reactivated", False)
    assert (state(stage, found), fake.users()) == ("applied", [])
    assert told(stage) == ["provisioned", "suspended", "suspended", "deleted"]


def test_protected_account_is_not_deleted(redis: Redis, config: MakeConfig, scene: MakeScene, fake: FakeScim) -> None:
    """Also one that was protected since."""
    stage = left(scene)
    drain(stage)
    found = deletion(stage)
    fall_due(stage, found)

    safe = make_scene(redis, config, fake, policy={"protected": [MAIL]}, **LATER)
    safe.work()

    assert (state(safe, found), len(fake.users())) == ("ignored", 1)


@pytest.mark.parametrize("configured", [True, False], ids=["suspends", "gone"])
def test_target_that_deletes_nobody_any_more_is_left_alone(
    redis: Redis, config: MakeConfig, scene: MakeScene, fake: FakeScim, *, configured: bool
) -> None:
    """Nothing is deleted unless the configuration says so at that moment."""
    stage = left(scene)
    drain(stage)
    found = deletion(stage)
    fall_due(stage, found)
    changed = make_scene(redis, config, fake) if configured else Stage(redis, config(), {})
    start = len(fake.log)

    changed.work()

    shown = changed.records.event(found.ref, [])
    assert (shown["state"], shown["reason"]) == ("ignored", "not_wanted")
    assert shown["detail"] == "targets.crm.leaver does not say so any more"
    assert len(fake.log) == start
    assert changed.person().accounts["crm"].deletion is None


def test_moment_stands_though_the_delay_is_changed(
    redis: Redis, config: MakeConfig, scene: MakeScene, fake: FakeScim
) -> None:
    """Each was promised its own."""
    stage = left(scene)
    drain(stage)
    before = deletion(stage)

    longer = make_scene(redis, config, fake, leaver="suspend_then_delete", delete_after="90d")
    longer.tell(AGAIN)
    drain(longer)

    assert deletion(longer) == before


def test_account_made_anew_under_another_id_is_held(scene: MakeScene, fake: FakeScim) -> None:
    """The target was rebuilt from a copy in which the person was still in: the source's id says whose it is."""
    stage = left(scene)
    drain(stage)
    found = deletion(stage)
    fall_due(stage, found)
    copy = fake.held["Users"].pop(bo(fake)["id"])
    fake.add("Users", **copy | {"id": "u-new", "active": True})

    stage.work()

    assert (state(stage, found), bo(fake)["active"]) == ("held", False)


# ---- who came back


def test_rehire_ends_it(scene: MakeScene, fake: FakeScim) -> None:
    """At once, and for good: the timeline says by whom."""
    stage = left(scene)
    drain(stage)
    found = deletion(stage)

    stage.tell(BACK)
    fall_due(stage, found)
    stage.work()

    shown = stage.records.event(found.ref, [])
    assert (shown["state"], shown["detail"]) == ("superseded", "outranked by hris:back")
    assert (bo(fake)["active"], stage.person().accounts["crm"].deletion) == (True, None)
    assert stage.redis.zscore(keys.DUE, found.ref) is None


def test_rehire_ends_it_though_the_target_is_away(scene: MakeScene, fake: FakeScim) -> None:
    """And whoever leaves again before the account was reactivated has the whole time again."""
    stage = left(scene)
    drain(stage)
    first = deletion(stage)
    fake.next(answers(503))
    stage.tell(BACK)
    postponed = stage.state("back")

    stage.tell(GONE)
    drain(stage)

    second = next(each for each in deletions(stage) if each.ref != first.ref)
    assert postponed == "postponed"
    assert (state(stage, first), state(stage, second)) == ("superseded", "scheduled")
    assert stage.person().accounts["crm"].deletion == second.ref


def test_deletion_that_is_held_does_not_outlive_a_return(scene: MakeScene, fake: FakeScim) -> None:
    """Whoever comes back and leaves again has the whole time, though the first deletion waits for a human still."""
    stage = left(scene)
    drain(stage)
    first = deletion(stage)
    fall_due(stage, first)
    fake.held["Users"][bo(fake)["id"]]["active"] = True
    stage.work()
    fake.next(answers(503))
    stage.tell(BACK)
    stage.tell(GONE)
    drain(stage)
    second = next(each for each in deletions(stage) if each.ref != first.ref)

    stage.records.retry(f"event:{first.ref}", actor="test")
    stage.work()

    assert (state(stage, first), state(stage, second)) == ("superseded", "scheduled")
    assert stage.person().accounts["crm"].deletion == second.ref


def test_deletion_does_not_press_a_target_that_is_to_be_left_alone(scene: MakeScene, fake: FakeScim) -> None:
    """It is in no hurry: what waits for the target waits on."""
    stage = left(scene)
    drain(stage)
    fake.next(answers(500))
    stage.hear(AGAIN)
    stage.work()
    fall_due(stage, deletion(stage))
    start = len(fake.log)

    stage.work(early=True)

    assert len(fake.log) == start
    assert state(stage, deletion(stage)) == "postponed"


@pytest.mark.parametrize("together", [True, False], ids=["at once", "late"])
def test_who_came_back_and_left_again_has_the_whole_time_again(
    scene: MakeScene, fake: FakeScim, *, together: bool
) -> None:
    """Also where the return is heard last, when it changes nothing any more."""
    stage = left(scene)
    drain(stage)
    first = deletion(stage)

    if together:
        stage.hear(BACK, GONE)
        stage.work()
    else:
        stage.tell(GONE)
        stage.tell(BACK)
    drain(stage)

    second = next(each for each in deletions(stage) if each.ref != first.ref)
    assert (state(stage, first), state(stage, second), stage.state("back")) == ("superseded", "scheduled", "superseded")
    assert bo(fake)["active"] is False


def test_every_order_of_arrival_leaves_one_deletion(redis: Redis, config: MakeConfig) -> None:
    """Joined, left, back and gone in all 24 orders, each with its repeats: one stands, and deletes."""
    ends = set()
    for order in permutations((JOINED, LEFT, BACK, GONE)):
        redis.flushall()
        fake = FakeScim()
        stage = make_scene(redis, config, fake, **LATER)
        # An account to begin with: who is heard to leave before he is heard to have joined has none.
        fake.add("Users", userName=MAIL, externalId="E1042", active=True)
        for each in (*order, *order):
            stage.hear(each)
            drain(stage)
        standing = [each for each in deletions(stage) if state(stage, each) == "scheduled"]
        assert {state(stage, each) for each in deletions(stage)} <= {"scheduled", "superseded"}
        assert [each.ref for each in standing] == [stage.person().accounts["crm"].deletion]
        for each in standing:
            fall_due(stage, each)
        stage.work()
        ends.add((len(fake.users()), str(stage.person().status), stage.person().deleted.keys() == {"crm"}))

    assert len(ends) == 1
    assert next(iter(ends))[::2] == (0, True)


def test_deletion_says_nothing_of_the_person() -> None:
    """It is folded into nothing and outranks nothing, in whatever order it lies in the mailbox."""
    account = Account(id="u-7", active=False, deletion="gatepost:delete-x")
    known = person("left", **BO).model_copy(update={"accounts": {"crm": account}})
    later = made(known)
    moved = event(Kind.MOVER, "moved", minute=1, title="Lead")
    config = make_config(**LATER)

    found = [
        fold(config, known, [Kept(each, State.KEPT, {}) for each in order], AT + timedelta(days=60))
        for order in permutations((later, moved))
    ]

    assert {each.ref for each in found[0].counting} == {later.ref, moved.ref}
    assert found[0].person == found[1].person
    assert found[0].person.status == known.status
    assert found[0].superseded == found[1].superseded == {}


def made(known: Person, **changed: Any) -> Event:  # noqa: ANN401 - an event's fields
    """Return the deletion that a person's account waits for."""
    assert known.status is not None
    found = event(Kind.LEAVER, "delete-x", effective_at=known.status.at + timedelta(days=30))
    return found.model_copy(update={"source": "gatepost", "about": "crm", **changed})


@pytest.mark.parametrize("status", ["active", None])
def test_deletion_of_somebody_who_has_not_left_is_over(status: str | None) -> None:
    """However it came that the leave counts no more."""
    account = Account(id="u-7", active=False, deletion="gatepost:delete-x")
    known = person("left", **BO).model_copy(update={"accounts": {"crm": account}})
    later = made(known)
    back = known.model_copy(update={"status": person(status, **BO).status})

    found = Later.of(make_config(**LATER), back, [later], [], AT + timedelta(days=60))

    assert found.superseded.keys() == {later.ref}


@pytest.mark.parametrize("deletion_of_account", [None, "gatepost:delete-y"])
def test_deletion_that_its_account_does_not_wait_for_is_over(deletion_of_account: str | None) -> None:
    """It is of another suspension."""
    account = Account(id="u-7", active=False, deletion=deletion_of_account)
    known = person("left", **BO).model_copy(update={"accounts": {"crm": account}})
    later = made(known)

    found = Later.of(make_config(**LATER), known, [later], [], AT + timedelta(days=60))

    assert found == Later(superseded={later.ref: "hris:e1"})


def test_no_grace_of_the_policy_moves_it(redis: Redis) -> None:
    """Its moment is ours: ``suspend_grace`` and zones are for the dates of sources."""
    account = Account(id="u-7", active=False, deletion="gatepost:delete-x")
    known = person("left", **BO).model_copy(update={"accounts": {"crm": account}})
    later = made(known)
    config = make_config(**LATER)
    config = config.model_copy(update={"policy": config.policy.model_copy(update={"suspend_grace": timedelta(days=9)})})

    before = fold(config, known, [Kept(later, State.SCHEDULED, {})], AT + timedelta(days=29))
    after = fold(config, known, [Kept(later, State.SCHEDULED, {})], AT + timedelta(days=30))

    assert before.scheduled == {later.ref: later.effective_at}
    assert after.counting == (later,)


def test_deletion_takes_no_leavers_place_in_the_line() -> None:
    """Nobody is in any more: it comes after leavers, and counts as heard of when it was due."""
    account = Account(id="u-7", active=False, deletion="gatepost:delete-x")
    known = person("left", **BO).model_copy(update={"accounts": {"crm": account}})
    gone = Wanted("E1042", MAIL, active=False, attributes={}, groups=frozenset())
    later = made(known)

    assert _rank(gone, [later]) == (False, later.effective_at)
    assert _rank(gone, [later, LEFT]) == (True, LEFT.received_at)


def test_deletion_that_waits_is_as_old_as_its_moment(scene: MakeScene, fake: FakeScim) -> None:
    """The oldest leaver is what operators alarm on."""
    stage = left(scene)
    drain(stage)
    found = deletion(stage)
    fall_due(stage, found)
    long_ago = deletion(stage).model_copy(update={"received_at": datetime.now(UTC) - timedelta(days=30)})
    stage.redis.hset(keys.event(found.ref), "doc", long_ago.to_json())
    fake.next(answers(503), on="DELETE")

    stage.work()

    assert state(stage, found) == "postponed"
    score = stage.redis.zscore(keys.open_events("leavers"), found.ref)
    assert score is not None
    assert score / 1000 > datetime.now(UTC).timestamp() - 60


def test_latency_is_counted_from_when_it_was_due(scene: MakeScene, fake: FakeScim) -> None:
    """Thirty days that were wanted are no thirty days of waiting."""
    stage = left(scene)
    drain(stage)
    fall_due(stage, deletion(stage))
    record = stage.redis.hget(keys.event(deletion(stage).ref), "doc")
    assert record is not None
    later = deletion(stage).model_copy(update={"received_at": datetime.now(UTC) - timedelta(days=30)})
    stage.redis.hset(keys.event(later.ref), "doc", later.to_json())
    before = latency(stage)

    stage.work()

    assert latency(stage) - before < 60
    assert data(stage, "deleted")["latency_ms"] < 60_000


def latency(stage: Stage) -> float:
    """Return how many seconds leavers waited in all."""
    samples = [
        sample
        for family in FleetCollector(stage.redis).collect()
        for sample in family.samples
        if sample.name == "gatepost_event_latency_seconds_sum" and sample.labels == {"kind": "leaver"}
    ]
    return samples[0].value
