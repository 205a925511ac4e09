"""What a target tells us back of our own writing is ignored; what it tells us anew is not."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle.config import Config, Source
from lifecycle.event import Event, Kind, State
from lifecycle.person import Account, Person
from lifecycle.queue import lanes
from lifecycle.secrets import Secret
from lifecycle.settlement import Delivery, Kept
from tests.workers.fake_scim import FakeScim
from tests.workers.stories import AT, BO, Stage, event, person, target
from workers.echo import ECHO_AFTER_MAX, ECHO_BEFORE_MAX, is_echo
from workers.fold import fold

SECRET = Secret("env:HRIS_WHSEC", "whsec_x")
SECOND = timedelta(seconds=1)


def config(*names: str) -> Config:
    """Make a configuration of sources that each report of the target crm, and of HR, which comes last."""
    sources = {name: Source(adapter="standard_webhooks", secrets=[SECRET], target="crm") for name in names}
    sources["hris"] = Source(adapter="standard_webhooks", secrets=[SECRET])
    return Config(sources=sources, targets={"crm": target(), "desk": target()})


def report(kind: Kind, event_id: str = "r1", after: timedelta = SECOND, **told: Any) -> Event:  # noqa: ANN401
    """Make an event by which the target's own source tells of the account."""
    found = event(kind, event_id, **{"external_id": "E1042", **told})
    return found.model_copy(update={"source": "crm-log", "occurred_at": AT + after})


def known(status: str = "active", desk: int | None = None) -> Person:
    """Make somebody whose account was settled just now, and shows what the status says."""
    account = Account(id="u-7", user_name="bo.ray@acme.example", active=status == "active", settled_at=AT)
    desks: dict[str, Any] = {"custom.desk": desk} if desk else {}
    found = person(status, **BO, **desks)
    return found.model_copy(update={"accounts": {"crm": account}, "ids": ("hris:E1042",)})


def is_one(told: Event, somebody: Person, **deliveries: Delivery) -> bool:
    """Tell whether an event is an echo."""
    return is_echo(config("crm-log"), somebody, Kept(told, State.KEPT, deliveries))


@pytest.mark.parametrize(
    ("told", "somebody"),
    [
        pytest.param(report(Kind.JOINER), known(), id="created"),
        pytest.param(report(Kind.JOINER, **BO), known(), id="created, with all that we wrote"),
        pytest.param(report(Kind.JOINER, external_id="u-7", user_name="Bo.Ray@acme.example"), known(), id="by its id"),
        pytest.param(report(Kind.LEAVER), known("left"), id="deactivated"),
        pytest.param(report(Kind.MOVER, title="Agent"), known(), id="changed"),
        pytest.param(report(Kind.MOVER, title="Agent"), known("left"), id="changed, of somebody who left"),
        pytest.param(report(Kind.MOVER, email="BO.RAY@acme.example"), known(), id="in other letters"),
        pytest.param(report(Kind.MOVER, custom={"desk": 7}), known(desk=7), id="a field of one's own"),
        pytest.param(report(Kind.MOVER, custom=None), known(), id="no field of one's own"),
        pytest.param(report(Kind.JOINER, after=ECHO_AFTER_MAX), known(), id="late"),
        pytest.param(report(Kind.JOINER, after=-ECHO_BEFORE_MAX), known(), id="by a clock that is behind"),
    ],
)
def test_report_of_what_we_wrote_is_an_echo(told: Event, somebody: Person) -> None:
    """It says what we know, of an account that we settled just now."""
    assert is_one(told, somebody)


@pytest.mark.parametrize(
    ("told", "somebody"),
    [
        pytest.param(report(Kind.LEAVER), known(), id="deactivated by somebody else"),
        pytest.param(report(Kind.JOINER), known("left"), id="activated by somebody else"),
        pytest.param(report(Kind.MOVER, title="Lead"), known(), id="another title"),
        pytest.param(report(Kind.MOVER, title=None), known(), id="a title that was cleared"),
        pytest.param(report(Kind.MOVER, phone="+353 1 555 0100"), known(), id="a phone that nobody told of"),
        pytest.param(report(Kind.MOVER, email="ray@acme.example"), known(), id="another address"),
        pytest.param(report(Kind.MOVER, external_id="E7"), known(), id="another id"),
        pytest.param(report(Kind.MOVER, custom={"desk": 8}), known(desk=7), id="another desk"),
        pytest.param(report(Kind.MOVER, custom=None), known(desk=7), id="a desk that was cleared"),
        pytest.param(report(Kind.CHANGED), known(), id="look again"),
        pytest.param(report(Kind.JOINER, after=ECHO_AFTER_MAX + SECOND), known(), id="too late"),
        pytest.param(report(Kind.JOINER, after=-ECHO_BEFORE_MAX - SECOND), known(), id="before we wrote"),
        pytest.param(report(Kind.JOINER), person(**BO), id="of no account of ours"),
    ],
)
def test_report_of_something_else_is_none(told: Event, somebody: Person) -> None:
    """What differs is news; so is what nobody told us, and what may be older or newer than our own writing."""
    assert not is_one(told, somebody)


def test_leaver_whose_account_is_active_yet_is_none() -> None:
    """Only the report of a suspension that we made ourselves says nothing new."""
    somebody = known("left")
    shown = somebody.accounts["crm"].model_copy(update={"active": True})

    assert not is_one(report(Kind.LEAVER), somebody.model_copy(update={"accounts": {"crm": shown}}))


def test_other_sources_have_no_echo() -> None:
    """Whoever does not report of a target, or reports of another one, tells us something."""
    by_hris = report(Kind.JOINER).model_copy(update={"source": "hris"})
    elsewhere = known().model_copy(update={"accounts": {"desk": known().accounts["crm"]}})

    assert not is_one(by_hris, known())
    assert not is_one(report(Kind.JOINER), elsewhere)


def test_event_with_a_date_is_none() -> None:
    """It is not about what we wrote."""
    assert not is_one(report(Kind.JOINER).model_copy(update={"effective_on": "2026-03-02"}), known())


def test_event_that_was_begun_is_none() -> None:
    """It told something new: since its first attempt it is known, and another target is still to be asked."""
    assert not is_one(report(Kind.MOVER, title="Agent"), known(), desk=Delivery(State.POSTPONED, attempts=1))


@pytest.mark.parametrize("order", [1, -1], ids=["echo first", "leaver first"])
def test_leaver_beside_an_echo_counts(order: int) -> None:
    """The account was made, HR tells of a leaver, and the target still tells of the account."""
    leaver = event(Kind.LEAVER, "left", minute=1)
    mailbox = [Kept(each, State.KEPT, {}) for each in (report(Kind.JOINER, after=90 * SECOND), leaver)]

    found = fold(config("crm-log"), known(), mailbox[::order], AT + timedelta(minutes=5))

    assert [each.ref for each in found.counting] == ["hris:left"]
    assert {ref: each.reason for ref, each in found.left_out.items()} == {"crm-log:r1": "echo"}
    assert found.person.status
    assert found.person.status.value == "left"


def test_id_of_the_account_that_is_the_persons_own_stays_a_fact() -> None:
    """Some targets take our id for theirs."""
    account = Account(id="E1042", settled_at=AT)
    somebody = known().model_copy(update={"accounts": {"crm": account}})

    found = fold(config(), somebody, [Kept(event(Kind.MOVER, "e2", minute=5, **BO), State.KEPT, {})], AT)

    assert found.person.facts["external_id"].event == "hris:e2"


# ---- the whole way


@pytest.fixture
def fake() -> FakeScim:
    """Give an empty server."""
    return FakeScim()


@pytest.fixture
def stage(redis: Redis, fake: FakeScim) -> Stage:
    """Give a stage whose target is reported of."""
    found = config("crm-log")
    return Stage(redis, found.model_copy(update={"targets": {"crm": target()}}), {"crm": httpx.MockTransport(fake)})


def work(stage: Stage) -> None:
    """Run all jobs that are offered, until there is none."""
    queues = lanes(stage.redis)
    while jobs := [job for lane in ("leavers", "people") for job in queues[lane].get_jobs()]:
        for job in jobs:
            queues[job.origin].remove(job)
            stage.work(*job.args)


def hear(stage: Stage, told: Event, person: str) -> None:
    """Hear what the target's source tells now, about whom it names so."""
    now = datetime.now(UTC)
    stage.hear(told.model_copy(update={"person": person, "occurred_at": now, "received_at": now}))
    work(stage)


def found(stage: Stage, event_id: str = "r1") -> tuple[str, str | None]:
    """Return where a report stands, and why."""
    record = stage.records.event(event_id, ["crm-log"])
    return record["state"], record["reason"]


@pytest.mark.parametrize("by_id", [False, True], ids=["by its external id", "by its own id"])
def test_account_that_we_made_and_that_is_reported_makes_no_request(stage: Stage, fake: FakeScim, by_id: bool) -> None:
    """The target calls the account by an id of its own: that is the person whose account it is, and no stranger."""
    stage.hear(event(Kind.JOINER, "joined", **BO))
    work(stage)
    key = str(fake.user("bo.ray@acme.example")["id"]) if by_id else "E1042"
    seen = len(fake.log)

    hear(stage, report(Kind.JOINER, external_id=key, user_name="bo.ray@acme.example"), key)

    assert found(stage) == ("ignored", "echo")
    assert stage.records.event("r1", ["crm-log"])["person"] == "E1042"
    assert len(fake.log) == seen
    assert len(fake.users()) == 1


def test_suspension_that_we_made_and_that_is_reported_makes_no_request(stage: Stage, fake: FakeScim) -> None:
    """Who is locked out already is not looked up again for the target's saying so."""
    stage.hear(event(Kind.JOINER, "joined", **BO))
    work(stage)
    stage.hear(event(Kind.LEAVER, "left", minute=1))
    work(stage)
    seen = len(fake.log)

    hear(stage, report(Kind.LEAVER), "E1042")

    assert found(stage) == ("ignored", "echo")
    assert len(fake.log) == seen


def test_deactivation_by_somebody_else_locks_out(stage: Stage, fake: FakeScim) -> None:
    """The target's own administrator takes the account away: that is a leaver, and no echo, under whatever id."""
    stage.hear(event(Kind.JOINER, "joined", **BO))
    work(stage)
    account = str(fake.user("bo.ray@acme.example")["id"])

    hear(stage, report(Kind.LEAVER, external_id=account), account)

    assert found(stage)[0] == "applied"
    assert (status := stage.person().status)
    assert status.value == "left"
    assert stage.person().value("external_id") == "E1042"
    assert fake.user("bo.ray@acme.example")["active"] is False


def test_id_that_another_source_uses_too_is_its_own_person(stage: Stage, fake: FakeScim) -> None:
    """Only who reports of the target calls people by its accounts' ids."""
    stage.hear(event(Kind.JOINER, "joined", **BO))
    work(stage)
    account = str(fake.user("bo.ray@acme.example")["id"])

    stage.hear(event(Kind.JOINER, "other", person=account, external_id=account, email="zoe@acme.example"))
    work(stage)

    assert len(fake.users()) == 2
