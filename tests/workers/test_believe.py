"""What is believed of a directory's answer: of whom it is, who is gone, and what may be older than what is known."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from redis import Redis
from structlog.testing import capture_logs

from lifecycle.errors import GatepostError, Postponed, Refused
from lifecycle.event import Kind, Profile
from lifecycle.person import Fact
from lifecycle.queue import LEAVERS, LOOKUPS, lanes
from lifecycle.settlement import Looked
from tests.conftest import MakeConfig
from tests.workers.fake_scim import FakeScim
from tests.workers.looking import (
    ACTIVE,
    JOINED,
    LEFT,
    LOOK,
    Copies,
    Counted,
    StaffFile,
    claim,
    jobs,
    looked,
    make_stage,
    run,
    status,
    steps,
    tell,
    wait_out,
    with_directory,
)
from tests.workers.stories import AT, BO, Stage, event, person
from workers.agree import RETRY_CAP_SECONDS, TRIES_MAX
from workers.believe import CONTRADICTED_BY_COPIES_SECONDS, CONTRADICTED_SECONDS, is_gone, is_guess, shown_at
from workers.directories.base import COPIES_LAG, SET_UP, Record, Subject
from workers.directories.file import FileDirectory

MAIL = "bo.ray@acme.example"
OTHER = {"external_id": "E7", "status": "active", "email": "ada@acme.example"}


@pytest.fixture
def hr(tmp_path: Path) -> StaffFile:
    """Give the file of people of the source ``hris``."""
    return StaffFile(tmp_path / "people.jsonl")


@pytest.fixture
def stage(redis: Redis, config: MakeConfig, fake: FakeScim, hr: StaffFile) -> Stage:
    """Give a stage with one target, where the source ``hris`` has a directory and ``okta`` has none."""
    return make_stage(redis, config, fake, hr)


@pytest.fixture
def copies(stage: Stage, hr: StaffFile) -> Copies:
    """Let the directory of ``hris`` be one that lags."""
    found = Copies(FileDirectory(hr.path))
    with_directory(stage, found)
    return found


def is_active(fake: FakeScim) -> bool:
    """Tell whether the account is."""
    return bool(fake.user(MAIL)["active"])


# ---- of a source that signs nothing


def test_claimed_leaver_who_left_is_one(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """What the directory shows acts, at once."""
    hr.say(LEFT)
    tell(stage, JOINED)

    assert tell(stage, claim(Kind.LEAVER)) == [LOOKUPS, LEAVERS]
    assert fake.user("bo.ray@acme.example")["active"] is False


def test_forged_leaver_is_a_refresh_and_no_more(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """Somebody who works here stays, whatever one claims; it is looked some times more, for a late directory."""
    hr.say(ACTIVE)
    tell(stage, JOINED)

    with capture_logs() as logs:
        tell(stage, claim(Kind.LEAVER))
        states = [stage.state("look")]
        for _ in CONTRADICTED_SECONDS:
            wait_out(stage)
            states.append(stage.state("look"))

    assert states == [*["postponed"] * len(CONTRADICTED_SECONDS), "unchanged"]
    assert fake.user("bo.ray@acme.example")["active"] is True
    assert status(stage) == "active"
    assert "event.contradicted" in {line["event"] for line in logs}


def test_directory_that_shows_the_leave_a_little_later_is_believed(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """A webhook may overtake its own directory."""
    hr.say(ACTIVE)
    tell(stage, JOINED)
    tell(stage, claim(Kind.LEAVER))

    hr.say(LEFT)
    wait_out(stage)

    assert (stage.state("look"), status(stage)) == ("applied", "left")
    assert fake.user("bo.ray@acme.example")["active"] is False


def test_claimed_leaver_whom_nobody_has_any_more_has_left(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """Who was deleted is in no directory; the source had told of them by that very id."""
    hr.say({**ACTIVE, "external_id": "E1", "email": "ada@acme.example"})
    tell(stage, JOINED)

    assert tell(stage, claim(Kind.LEAVER)) == [LOOKUPS, LEAVERS]
    assert fake.user("bo.ray@acme.example")["active"] is False
    tell(stage, claim(Kind.CHANGED, "late", 6))
    assert stage.state("late") in {"unchanged", "superseded"}


def test_claimed_leaver_of_another_sources_person_is_none(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """That a directory does not have somebody of whom its source never told says nothing of them."""
    hr.say({**ACTIVE, "external_id": "E1", "email": "ada@acme.example"})
    tell(stage, JOINED.model_copy(update={"source": "okta"}))

    tell(stage, claim(Kind.LEAVER))

    assert (stage.state("look"), stage.found("look")["reason"]) == ("failed", "not_in_directory")
    assert fake.user("bo.ray@acme.example")["active"] is True


def test_claim_of_a_source_that_proves_nothing_waits_for_a_directory(stage: Stage, fake: FakeScim) -> None:
    """Nobody's word acts; the event is kept for whoever names a directory."""
    tell(stage, JOINED)

    tell(stage, claim(Kind.LEAVER).model_copy(update={"source": "okta"}))

    found = stage.records.event("okta:look", [])
    assert (found["state"], found["reason"]) == ("failed", "no_directory")
    assert fake.user("bo.ray@acme.example")["active"] is True


def expire() -> None:
    """Refuse a token, as a service does."""
    raise Refused("HR: 401", reason="credentials")


def test_leaver_outlives_a_token_that_expired(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """Nobody has to retry who left meanwhile: they are looked up as soon as the token is a new one."""
    hr.say(LEFT)
    tell(stage, JOINED)
    with_directory(stage, Counted(FileDirectory(hr.path), expire))
    tell(stage, claim(Kind.LEAVER))
    state = (stage.state("look"), stage.found("look")["reason"])

    with_directory(stage, FileDirectory(hr.path))
    wait_out(stage)

    assert state == ("postponed", "credentials")
    assert fake.user("bo.ray@acme.example")["active"] is False


def test_claimed_leaver_is_looked_up_before_all_others(stage: Stage) -> None:
    """Ten thousand changes do not keep a leaver waiting."""
    stage.hear(event(Kind.CHANGED, "first", person="E1"), event(Kind.CHANGED, "second", person="E2"))
    stage.hear(claim(Kind.LEAVER))

    assert jobs(stage, LOOKUPS)[0] == "E1042"


def test_claimed_leaver_whose_look_is_put_off_comes_before_all_others_again(stage: Stage, hr: StaffFile) -> None:
    """When its moment has come, RQ's scheduler puts it to the front."""
    tell(stage, claim(Kind.LEAVER))

    (job_id,) = lanes(stage.redis)[LOOKUPS].scheduled_job_registry.get_job_ids()

    job = lanes(stage.redis)[LOOKUPS].fetch_job(job_id)
    assert job is not None
    assert job.should_enqueue_at_front()


# ---- what is contradicted


def test_contradicted_leave_is_left_alone_until_its_own_look(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """Whatever else is told of the person meanwhile uses up none of its looks."""
    hr.say(ACTIVE)
    tell(stage, JOINED, claim(Kind.LEAVER))
    before = looked(stage)

    for number in range(5):
        tell(stage, event(Kind.CHANGED, f"group{number}", minute=6, external_id="E1042"))
    after = (looked(stage), stage.state("look"))
    hr.say(LEFT)
    wait_out(stage)

    assert (before.times, before.contradicted, after) == (0, 1, (before, "postponed"))
    assert stage.state("group4") == "unchanged"
    assert (status(stage), is_active(fake)) == ("left", False)


def test_leave_that_anothers_look_shows_is_done_at_once(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """Nobody waits for a moment that was only to see it."""
    hr.say(ACTIVE)
    tell(stage, JOINED, claim(Kind.LEAVER))

    hr.say(LEFT)
    tell(stage, event(Kind.CHANGED, "group", minute=6, external_id="E1042"))

    assert (stage.state("look") in {"applied", "superseded"}, status(stage), is_active(fake)) == (True, "left", False)


def test_last_wait_of_a_contradicted_leave_is_waited_out(stage: Stage, hr: StaffFile) -> None:
    """Another's look within it is none of its own."""
    hr.say(ACTIVE)
    tell(stage, JOINED, claim(Kind.LEAVER))
    for _ in CONTRADICTED_SECONDS[1:]:
        wait_out(stage)

    tell(stage, event(Kind.CHANGED, "group", minute=6, external_id="E1042"))
    before = stage.state("look")
    wait_out(stage)

    assert (before, stage.state("look")) == ("postponed", "unchanged")


@pytest.mark.usefixtures("copies")
def test_leave_that_copies_do_not_show_is_looked_for_longer(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """Longer than any copy lags, so that the last look sees what is so."""
    hr.say(ACTIVE)
    tell(stage, JOINED, claim(Kind.LEAVER))

    waits = []
    for _ in CONTRADICTED_BY_COPIES_SECONDS:
        retry_at = looked(stage).retry_at
        assert retry_at is not None
        waits.append(round((retry_at - datetime.now(UTC)).total_seconds()))
        wait_out(stage)

    assert waits == list(CONTRADICTED_BY_COPIES_SECONDS)
    assert timedelta(seconds=sum(waits)) > COPIES_LAG
    assert (stage.state("look"), is_active(fake)) == ("unchanged", True)


def test_trouble_of_the_directory_uses_up_no_look_for_a_leave(stage: Stage, hr: StaffFile) -> None:
    """How often it failed, and how often it showed the opposite, are two counts."""
    hr.say(ACTIVE)
    tell(stage, JOINED)
    with_directory(stage, Counted(FileDirectory(hr.path), failing(Postponed("away", reason="unreachable"))))
    tell(stage, claim(Kind.LEAVER))
    wait_out(stage)
    failed = looked(stage)

    with_directory(stage, FileDirectory(hr.path))
    wait_out(stage)

    assert (failed.times, failed.contradicted) == (2, 0)
    assert (looked(stage).times, looked(stage).contradicted, stage.state("look")) == (0, 1, "postponed")


def test_wait_for_a_leave_delays_no_look_of_others(stage: Stage, hr: StaffFile) -> None:
    """Only those that wait for a directory in trouble are looked up together."""
    hr.say(ACTIVE)
    tell(stage, JOINED, claim(Kind.LEAVER))
    far = Looked(retry_at=datetime.now(UTC) + timedelta(hours=1), contradicted=1)
    stage.redis.hset("gatepost:event:hris:look", "looked", far.to_json())
    with_directory(stage, Counted(FileDirectory(hr.path), failing(Postponed("away", reason="unreachable"))))

    tell(stage, event(Kind.CHANGED, "group", minute=6, external_id="E1042"))

    retry_at = looked(stage, "group").retry_at
    assert retry_at is not None
    assert retry_at < datetime.now(UTC) + timedelta(minutes=1)
    assert looked(stage) == far


# ---- who is gone


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_nobody_is_gone_by_anothers_names(stage: Stage, fake: FakeScim, hr: StaffFile, order: tuple[int, int]) -> None:
    """Of two claims under one key the one has the id, and the other nothing that anybody bears: each is asked for."""
    bo = {**BO, "external_id": "1042"}
    hr.say({**bo, "status": "active"})
    tell(stage, event(Kind.JOINER, "joined", person="1042", **bo))
    left = event(Kind.CHANGED, "left", minute=5, person="1042", external_id="1042")
    moved = event(Kind.CHANGED, "moved", minute=6, person="1042", email="1042")
    claims = (left.model_copy(update={"hint": Kind.LEAVER}), moved.model_copy(update={"hint": Kind.MOVER}))

    for place in order:
        tell(stage, claims[place])

    assert (stage.state("left"), stage.found("moved")["reason"]) == ("postponed", "not_in_directory")
    assert (status(stage, "1042"), is_active(fake)) == ("active", True)


def test_who_is_said_to_come_is_not_gone(stage: Stage, hr: StaffFile) -> None:
    """Whoever had left and is hired again may not be in the directory yet; they fail, and are not taken for leavers."""
    hr.say(LEFT)
    tell(stage, JOINED)
    tell(stage, claim(Kind.LEAVER, "left"))
    hr.say(OTHER)

    tell(stage, claim(Kind.JOINER, "back", 9))

    assert (stage.state("back"), stage.found("back")["reason"]) == ("failed", "not_in_directory")


@pytest.mark.usefixtures("copies")
def test_copy_without_somebody_who_had_left_says_nothing(stage: Stage, hr: StaffFile) -> None:
    """They may be back, and only this copy not know it yet."""
    hr.say(LEFT)
    tell(stage, JOINED)
    tell(stage, claim(Kind.LEAVER, "left"))
    hr.say(OTHER)

    tell(stage, event(Kind.CHANGED, "late", minute=9, external_id="E1042"))

    assert (stage.state("late"), stage.found("late")["reason"]) == ("postponed", "not_in_directory")


def test_rehire_through_a_directory_that_lags_comes_through(
    stage: Stage, fake: FakeScim, hr: StaffFile, copies: Copies
) -> None:
    """It is not shown, then shown as of before the leave, then as of after it: only then is somebody back."""
    hr.say(LEFT)
    tell(stage, JOINED)
    tell(stage, claim(Kind.LEAVER, "left"))
    hr.say(OTHER)
    tell(stage, claim(Kind.JOINER, "look", 9))
    reasons = [stage.found("look")["reason"]]

    hr.say(ACTIVE)
    wait_out(stage)
    reasons.append(stage.found("look")["reason"])
    was_active = is_active(fake)
    copies.catch_up()
    wait_out(stage)

    assert (reasons, was_active) == (["not_in_directory", "older_than_leave"], False)
    assert (stage.state("look"), status(stage), is_active(fake)) == ("applied", "active", True)


# ---- copies that lag


def leave_now(stage: Stage, source: str) -> datetime:
    """Tell of a leave that a source proves, three seconds ago; return when."""
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=3)
    told = event(Kind.LEAVER, "left", external_id="E1042")
    tell(stage, told.model_copy(update={"source": source, "occurred_at": at, "received_at": at}))
    return at


@pytest.mark.usefixtures("copies")
@pytest.mark.parametrize("source", ["okta", "operator"])
def test_copy_takes_back_no_leave_of_another(stage: Stage, fake: FakeScim, hr: StaffFile, source: str) -> None:
    """What shows how it was before the leave outranks it not, and nobody waits until it might."""
    hr.say(ACTIVE)
    tell(stage, JOINED)
    leave_now(stage, source)

    tell(stage, LOOK)

    assert (stage.state("look"), status(stage), is_active(fake)) == ("superseded", "left", False)


def test_copy_takes_back_no_leave_of_its_own_source(
    stage: Stage, fake: FakeScim, hr: StaffFile, copies: Copies
) -> None:
    """It is read again when each copy has to show the leave, or that somebody took it back."""
    hr.say(ACTIVE)
    tell(stage, JOINED)
    at = leave_now(stage, "hris")

    tell(stage, LOOK)
    first = (stage.state("look"), stage.found("look")["reason"], looked(stage), is_active(fake))
    tell(stage, event(Kind.CHANGED, "other", minute=9, external_id="E1042"))
    count = len(steps(stage))
    copies.catch_up()
    wait_out(stage)

    again = at + COPIES_LAG + timedelta(seconds=1)
    assert first == ("postponed", "older_than_leave", Looked(retry_at=again), False)
    assert count == 1
    assert (status(stage), is_active(fake)) == ("active", True)


def test_copy_that_shows_the_leave_later_ends_it(stage: Stage, fake: FakeScim, hr: StaffFile, copies: Copies) -> None:
    """Then nothing has changed."""
    hr.say(ACTIVE)
    tell(stage, JOINED)
    leave_now(stage, "hris")
    tell(stage, LOOK)

    hr.say(LEFT)
    copies.catch_up()
    wait_out(stage)

    assert (stage.state("look"), status(stage), is_active(fake)) == ("unchanged", "left", False)


def test_rehire_after_anothers_leave_comes_through(stage: Stage, fake: FakeScim, hr: StaffFile, copies: Copies) -> None:
    """Whose source says that they come is looked up again, whoever said that they had left."""
    hr.say(ACTIVE)
    tell(stage, JOINED)
    leave_now(stage, "okta")

    tell(stage, claim(Kind.JOINER))
    first = (stage.state("look"), is_active(fake))
    copies.catch_up()
    wait_out(stage)

    assert (first, status(stage), is_active(fake)) == (("postponed", False), "active", True)


def test_claimed_joiner_whom_a_copy_shows_as_gone_is_looked_for_again(
    stage: Stage, fake: FakeScim, hr: StaffFile, copies: Copies
) -> None:
    """The copy may be of before; of who works here as far as we know it is believed at once."""
    hr.say(LEFT)
    tell(stage, JOINED)
    tell(stage, claim(Kind.LEAVER, "left"))

    tell(stage, claim(Kind.JOINER, "look", 9))
    first = (stage.state("look"), stage.found("look")["reason"])
    hr.say(ACTIVE)
    copies.catch_up()
    wait_out(stage)

    assert (first, is_active(fake)) == (("postponed", "contradicted"), True)
    hr.say(LEFT)
    tell(stage, claim(Kind.JOINER, "again", 10))
    assert (stage.state("again"), is_active(fake)) == ("applied", False)


def test_rehire_that_overtakes_its_directory_comes_through(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """Whichever directory it is: a webhook may be there before what it tells of is shown."""
    hr.say(LEFT)
    tell(stage, JOINED)
    tell(stage, claim(Kind.LEAVER, "left"))

    tell(stage, claim(Kind.JOINER, "look", 9))
    first = (stage.state("look"), stage.found("look")["reason"])
    hr.say(ACTIVE)
    wait_out(stage)

    assert (first, status(stage), is_active(fake)) == (("postponed", "contradicted"), "active", True)


@pytest.mark.parametrize(("sources", "waits"), [({"hris", "okta"}, True), ({"hris"}, False)])
def test_leave_that_another_source_of_the_directory_told_is_its_own(sources: set[str], *, waits: bool) -> None:
    """Two webhooks of one directory tell of it; what it shows later takes back what either said."""
    told = Fact(value="left", at=AT, event="okta:e1")
    left = person("left").model_copy(update={"status": told})
    record = Record(Profile(external_id="E1042"), True, AT)

    at = shown_at(event(Kind.CHANGED, external_id="E1042"), record, left, AT + timedelta(seconds=9), sources)

    assert (at is not None) is waits


@pytest.mark.usefixtures("copies")
def test_leave_that_an_operator_told_waits_for_no_copy(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """Whatever the source claims: who was locked out by hand is not let in by what a copy shows some minutes later."""
    hr.say(ACTIVE)
    tell(stage, JOINED)
    leave_now(stage, "operator")

    tell(stage, claim(Kind.JOINER))

    assert (stage.state("look"), status(stage), is_active(fake)) == ("superseded", "left", False)


# ---- of whom a record is


def test_forged_address_of_who_left_locks_out_nobody_else(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """A file without ids knows the address, and we do not know that it is this person's: a human decides."""
    tell(stage, JOINED)
    hr.say({"email": MAIL, "status": "active"}, {"email": "old.leaver@acme.example", "status": "left"})

    tell(stage, claim(Kind.LEAVER, external_id="E1042", email="old.leaver@acme.example"))

    assert (stage.state("look"), stage.found("look")["reason"]) == ("held", "weaker_name")
    assert (status(stage), is_active(fake)) == ("active", True)
    assert [held["id"] for held in stage.records.holds().items] == ["hris:look"]


def test_forged_address_beside_a_user_name_locks_out_nobody_else(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """A directory without user names finds the address alone, and its id is nobody's whom we know."""
    bo = {**BO, "user_name": "bo.ray"}
    del bo["external_id"]
    told = event(Kind.JOINER, "joined", person="bo.ray", **bo)
    tell(stage, told.model_copy(update={"source": "okta"}))
    hr.say({"external_id": "78", "email": "old.leaver@acme.example", "status": "left"})

    claimed = event(Kind.CHANGED, "look", person="bo.ray", user_name="bo.ray", email="old.leaver@acme.example")
    tell(stage, claimed.model_copy(update={"hint": Kind.LEAVER}))

    assert (stage.state("look"), stage.found("look")["reason"]) == ("held", "weaker_name")
    assert (status(stage, "bo.ray"), fake.user("bo.ray")["active"]) == ("active", True)


def test_address_by_which_we_know_the_person_is_believed(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """A file without ids is a directory too."""
    tell(stage, JOINED)
    hr.say({"email": MAIL.upper(), "status": "left"})

    tell(stage, claim(Kind.LEAVER, external_id="E1042", email=MAIL))

    assert (stage.state("look"), is_active(fake)) == ("applied", False)


def test_address_of_somebody_new_is_believed(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """There is nobody whom it could be taken to by mistake."""
    hr.say({**ACTIVE, "external_id": None})

    tell(stage, claim(Kind.JOINER, external_id="E1042", email=MAIL))

    assert (stage.state("look"), status(stage), is_active(fake)) == ("applied", "active", True)


def test_record_whose_id_is_the_persons_key_is_no_guess() -> None:
    """By whatever name it was found."""
    told = event(Kind.CHANGED, person="1042", user_name="1042", email=MAIL)
    known = person(key="1042", title="Agent")
    records = [Record(Profile(external_id=found, email=MAIL), True, AT) for found in ("1042", "7", None)]

    guesses = [is_guess(told, Subject(None, "1042", MAIL), record, known) for record in records]

    assert guesses == [False, True, True]


@pytest.mark.parametrize("hint", [None, *Kind])
def test_who_had_left_is_gone_unless_they_are_said_to_come(hint: Kind | None) -> None:
    """Of a directory that lags only who is said to leave."""
    left = person("left").model_copy(update={"ids": ("hris:E1042",)})
    told = event(Kind.CHANGED, external_id="E1042").model_copy(update={"hint": hint})

    found = [is_gone(told, left, lags=lags) for lags in (False, True)]

    assert found == [hint is not Kind.JOINER, hint is Kind.LEAVER]


# ---- who is let in no more


@pytest.mark.parametrize("reason", sorted(SET_UP))
def test_leaver_waits_until_the_set_up_was_mended(stage: Stage, fake: FakeScim, hr: StaffFile, reason: str) -> None:
    """A weekend, or longer: it is asked every few minutes, and no try of another trouble is used up."""
    hr.say(LEFT)
    tell(stage, JOINED)
    with_directory(stage, Counted(FileDirectory(hr.path), failing(Refused("no", reason=reason))))
    tell(stage, claim(Kind.LEAVER))
    stage.redis.hset("gatepost:event:hris:look", "looked", Looked(3, None, barred=2 * TRIES_MAX).to_json())

    run(stage, "E1042", LOOKUPS)
    state, found = (stage.state("look"), stage.found("look")["reason"]), looked(stage)
    with_directory(stage, FileDirectory(hr.path))
    wait_out(stage)

    assert (state, found.times, found.barred) == (("postponed", reason), 3, 2 * TRIES_MAX + 1)
    assert found.retry_at is not None
    assert found.retry_at < datetime.now(UTC) + timedelta(seconds=RETRY_CAP_SECONDS)
    assert is_active(fake) is False


def failing(error: GatepostError) -> Callable[[], None]:
    """Return what fails in a directory's place."""

    def fail() -> None:
        raise error

    return fail
