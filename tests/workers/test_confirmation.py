"""A leaver is out when the target shows it: looked at again within seconds, until a deadline, then an alarm."""

from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from lifecycle.event import State
from lifecycle.settlement import Delivery, Kept
from lifecycle.signal import iso
from tests.conftest import MakeConfig
from tests.workers.fake_scim import FakeScim, Quirk, Resource, answers
from tests.workers.leaving import AGAIN, JOINED, LEFT, bo, data, lagging, make_scene, pass_by, roles, said, told
from tests.workers.stories import AT
from workers.confirmation import LOOK_SECONDS_MAX, LOOK_SECONDS_MIN, next_look

WITHIN = timedelta(minutes=15)
DEAF = frozenset({Quirk.IGNORES_PATCH, Quirk.NO_PUT})


def kept(confirm_by: datetime | None = None) -> Kept:
    """Make a leaver that was tried, until when it may be confirmed."""
    delivery = Delivery(State.POSTPONED, attempts=1, confirm_by=iso(confirm_by) if confirm_by else None)
    return Kept(LEFT, State.POSTPONED, {"crm": delivery})


# ---- when it is looked


@pytest.mark.parametrize(
    ("seconds", "wait"), [(0, 2.0), (4, 2.0), (12, 3.0), (60, 15.0), (300, LOOK_SECONDS_MAX), (895, 5.0)]
)
def test_looks_come_every_few_seconds_and_then_seldomer(seconds: int, wait: float) -> None:
    """A quarter of what it took so far, from two seconds to half a minute, and one at the very end."""
    look = next_look([kept(AT + WITHIN)], "crm", WITHIN, AT + timedelta(seconds=seconds))

    assert look is not None
    assert (look.at - AT).total_seconds() - seconds == wait
    assert look.confirm_by == AT + WITHIN


def test_time_begins_with_the_first_look_that_confirms_nothing() -> None:
    """Before that nobody knows whether the target took it at all."""
    look = next_look([kept()], "crm", WITHIN, AT)

    assert look is not None
    assert look == (AT + timedelta(seconds=LOOK_SECONDS_MIN), AT + WITHIN)


def test_time_ends() -> None:
    """At the moment that was told."""
    assert next_look([kept(AT)], "crm", WITHIN, AT) is None


def test_repeat_of_the_leaver_prolongs_nothing() -> None:
    """A source that tells it every minute would put the alarm off for ever."""
    fresh = Kept(AGAIN, State.KEPT, {})

    look = next_look([kept(AT + timedelta(minutes=1)), fresh], "crm", WITHIN, AT)

    assert look is not None
    assert look.confirm_by == AT + timedelta(minutes=1)


# ---- what becomes of it


def test_suspension_that_is_not_shown_is_looked_at_within_seconds(
    redis: Redis, config: MakeConfig, fake: FakeScim
) -> None:
    """Also at the fifth time: no wait grows to minutes while somebody may still be in."""
    stage = make_scene(redis, config, fake)
    stage.tell(JOINED)
    fake.quirks = DEAF

    stage.tell(LEFT)
    first = stage.delivery("left")
    for _ in range(5):
        stage.work()
    fifth = stage.delivery("left")

    now = datetime.now(UTC)
    assert (first["outcome"], first["reason"], fifth["reason"]) == ("postponed", "unconfirmed", "unconfirmed")
    assert datetime.fromisoformat(fifth["retry_at"]) - now <= timedelta(seconds=LOOK_SECONDS_MIN)
    assert fifth["confirm_by"] == first["confirm_by"]
    assert first["attempts"] == fifth["attempts"] == 1
    assert timedelta() < datetime.fromisoformat(first["confirm_by"]) - now <= WITHIN
    assert stage.later("leavers") != []
    assert told(stage) == ["provisioned"]


def test_suspension_that_is_never_shown_is_a_failure(redis: Redis, config: MakeConfig, fake: FakeScim) -> None:
    """The alarm says what the target does not show; the event waits for a person, and no signal claims a suspension."""
    stage = make_scene(redis, config, fake)
    stage.tell(JOINED)
    fake.quirks = DEAF
    stage.tell(LEFT)
    pass_by(stage)

    stage.work()

    assert stage.state("left") == "failed"
    assert told(stage) == ["provisioned", "delivery.failed"]
    alarm = stage.signals()[-1]["data"]
    assert (alarm["reason"], alarm["detail"]) == (
        "unconfirmed",
        "the target does not show the account as inactive",
    )
    assert [each["id"] for each in stage.records.failures().items] == ["event:hris:left"]
    assert stage.person().accounts["crm"].active is True


def test_target_may_have_no_time_at_all(redis: Redis, config: MakeConfig, fake: FakeScim) -> None:
    """``confirm_within`` is the target's own."""
    stage = make_scene(redis, config, fake, confirm_within="0s")
    stage.tell(JOINED)
    fake.quirks = DEAF

    stage.tell(LEFT)

    assert stage.state("left") == "failed"


def test_retry_gives_the_whole_time_again(redis: Redis, config: MakeConfig, fake: FakeScim) -> None:
    """Whoever mended the target does not meet the old deadline."""
    stage = make_scene(redis, config, fake)
    stage.tell(JOINED)
    fake.quirks = DEAF
    stage.tell(LEFT)
    pass_by(stage)
    stage.work()

    stage.records.retry("event:hris:left", actor="test")
    stage.work()
    waiting = stage.state("left")
    fake.quirks = frozenset()
    stage.work()

    assert (waiting, stage.state("left")) == ("postponed", "applied")
    assert told(stage) == ["provisioned", "delivery.failed", "suspended"]


def test_other_trouble_on_the_way_does_not_end_the_time(redis: Redis, config: MakeConfig, fake: FakeScim) -> None:
    """An outage between two looks is waited for; the deadline stands as it was."""
    stage = make_scene(redis, config, fake)
    stage.tell(JOINED)
    fake.quirks = DEAF
    stage.tell(LEFT)
    before = stage.delivery("left")["confirm_by"]
    fake.next(answers(500))

    stage.work()

    assert stage.delivery("left")["reason"] == "broken"
    assert stage.delivery("left")["confirm_by"] == before


# ---- where reads lag


def test_lagging_target_is_written_once_and_read_until_it_shows_it(
    redis: Redis, config: MakeConfig, fake: FakeScim
) -> None:
    """It took the suspension; a read that is behind is no ground to write again, and each look is one request."""
    stale: list[Resource] = []
    stage = make_scene(
        redis, config, fake, transport=lagging(fake, stale), profile={"lag_seconds": 180, "discovery": False}
    )
    stage.tell(JOINED)
    stale.append(bo(fake))
    stage.tell(LEFT)
    start = len(fake.log)

    for _ in range(3):
        stage.work()
    looks = said(fake, start)
    before = told(stage)
    stale.clear()
    stage.work()

    assert looks == ["GET"] * 3
    assert sum(each.line().startswith("PATCH /Users") for each in fake.log[3:]) == 1
    assert (before, told(stage)) == (["provisioned"], ["provisioned", "suspended"])
    assert stage.state("left") == "applied"
    body = data(stage, "suspended")
    assert body["applied_at"] < body["confirmed_at"]
    assert body["entitlements_before"] == {"groups": ["Agents", "Leads"], "roles": ["employee", "supervisor"]}
    assert body["groups_removed"] == ["Agents", "Leads"]


def test_lagging_target_is_written_again_when_its_time_is_over(
    redis: Redis, config: MakeConfig, fake: FakeScim
) -> None:
    """What it does not show by then it did not take, or somebody undid it."""
    stage = make_scene(redis, config, fake, profile={"lag_seconds": 180, "discovery": False})
    stage.tell(JOINED)
    fake.quirks = DEAF
    stage.tell(LEFT)
    person = stage.person()
    account = person.accounts["crm"]
    assert account.before is not None
    long_ago = account.before.model_copy(update={"at": datetime.now(UTC) - timedelta(seconds=181)})
    account = account.model_copy(update={"before": long_ago})
    known = person.model_copy(update={"accounts": {"crm": account}})
    redis.set("gatepost:person:E1042", known.model_dump_json())
    fake.quirks = frozenset()

    stage.work()

    assert stage.state("left") == "applied"
    assert bo(fake)["active"] is False
    assert roles(fake) == []


def test_sessions_end_at_once_and_once_though_reads_lag(redis: Redis, config: MakeConfig, fake: FakeScim) -> None:
    """The tokens go with the first attempt; later looks delete none, and the signal says that they are gone."""
    stale: list[Resource] = []
    stage = make_scene(
        redis, config, fake, transport=lagging(fake, stale), adapter="genesys_cloud", profile={"discovery": False}
    )
    stage.tell(JOINED)
    stale.append(bo(fake))
    stage.tell(LEFT)
    at_once = list(fake.revoked)

    stage.work()
    stage.work()
    stale.clear()
    stage.work()

    assert at_once == fake.revoked == [bo(fake)["id"]]
    assert data(stage, "suspended")["sessions_revoked"] is True


def test_sessions_of_who_was_let_in_by_hand_end_again_though_it_fails_at_first(
    redis: Redis, config: MakeConfig, fake: FakeScim
) -> None:
    """That they were ended once says nothing of what began since."""
    stage = make_scene(redis, config, fake, adapter="genesys_cloud", profile={"discovery": False})
    stage.tell(JOINED)
    stage.tell(LEFT)
    account = bo(fake)["id"]
    fake.held["Users"][account]["active"] = True
    fake.next(answers(503), on="DELETE")

    stage.tell(AGAIN)
    first = list(fake.revoked)
    stage.work()

    assert (first, fake.revoked) == ([account], [account, account])
    assert stage.state("again") == "applied"
