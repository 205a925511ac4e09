"""A thin event from notice to outcome: looked up in a file of people, and worked on as what it turned out to be."""

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from rq.timeouts import JobTimeoutException
from structlog.testing import capture_logs

from lifecycle import keys
from lifecycle.event import Event, Kind
from lifecycle.lookups import Lookups
from lifecycle.metrics import FleetCollector
from lifecycle.people import People
from lifecycle.queue import LEAVERS, LOOKUPS, PEOPLE, lanes
from lifecycle.settlement import Looked
from tests.conftest import MakeConfig
from tests.workers.fake_scim import FakeScim, answers
from tests.workers.looking import (
    ACTIVE,
    JOINED,
    LEFT,
    LOOK,
    Counted,
    StaffFile,
    jobs,
    make_stage,
    status,
    steps,
    tell,
    with_directory,
    work,
)
from tests.workers.stories import AT, BO, Stage, event
from workers.agree import FEW_TRIES_MAX, TRIES_MAX
from workers.converge import converge
from workers.directories.base import Glance, Record, Subject
from workers.directories.file import FileDirectory
from workers.look import look
from workers.outcome import World
from workers.sweeper import Sweeper


@pytest.fixture
def hr(tmp_path: Path) -> StaffFile:
    """Give the file of people of the source ``hris``."""
    return StaffFile(tmp_path / "people.jsonl")


@pytest.fixture
def stage(redis: Redis, config: MakeConfig, fake: FakeScim, hr: StaffFile) -> Stage:
    """Give a stage with one target, where the source ``hris`` has a directory and ``okta`` has none."""
    return make_stage(redis, config, fake, hr)


@pytest.fixture(autouse=True)
def _redis_is_up_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.sweeper.REDIS_CALM_SECONDS", -1)


# ---- what it turns out to be


def test_thin_event_of_who_left_is_a_leaver(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """It goes on in the leavers' lane, the account is suspended, and that is told and measured as of any leaver."""
    hr.say(LEFT)
    tell(stage, JOINED)

    lanes_of_it = tell(stage, LOOK)

    assert lanes_of_it == [LOOKUPS, LEAVERS]
    assert fake.user("bo.ray@acme.example")["active"] is False
    assert (stage.state("look"), status(stage)) == ("applied", "left")
    assert steps(stage) == [{"directory": "hr", "found": "leaver"}]
    assert [(signal["type"], signal["data"]["reason"]) for signal in stage.signals()][1:] == [
        ("person.suspended", "left")
    ]
    found: Any = stage.redis.hgetall(keys.METRICS)
    assert found[b'["gatepost_time_to_revoke_seconds", "crm", "sum"]'] is not None
    assert found[b'["gatepost_events", "hris", "changed", "applied"]'] == b"1"
    assert (stage.found("look")["kind"], stage.found("look")["read_as"]) == ("changed", "leaver")


def test_thin_event_of_a_stranger_who_works_here_is_a_joiner(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """All that the directory knows is known of the person then."""
    hr.say(ACTIVE)

    tell(stage, LOOK)

    assert steps(stage) == [{"directory": "hr", "found": "joiner"}]
    assert (stage.state("look"), fake.user("bo.ray@acme.example")["title"]) == ("applied", "Agent")
    assert status(stage) == "active"


def test_thin_event_of_who_is_here_is_a_mover(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """The directory's word counts, and what the event itself said does not."""
    hr.say({**ACTIVE, "title": "Lead"})
    tell(stage, JOINED)

    tell(stage, event(Kind.CHANGED, "look", minute=5, external_id="E1042", title="Forged", department="Forged"))

    assert steps(stage) == [{"directory": "hr", "found": "mover"}]
    assert fake.user("bo.ray@acme.example")["title"] == "Lead"
    assert stage.person().value("department") == "Support"
    assert stage.found("look")["state"] == "applied"


def test_thin_event_of_a_source_without_a_directory_is_taken_at_its_word(stage: Stage, fake: FakeScim) -> None:
    """As a mover: it goes on in the people's lane, says nothing of the status, and nothing was looked up."""
    tell(stage, JOINED)

    told = event(Kind.CHANGED, "look", minute=5, external_id="E1042", title="Lead")
    lanes_of_it = tell(stage, told.model_copy(update={"source": "okta"}))

    found = stage.records.event("okta:look", [])
    assert lanes_of_it == [LOOKUPS, PEOPLE]
    assert (found["state"], found["kind"]) == ("applied", "changed")
    assert fake.user("bo.ray@acme.example")["title"] == "Lead"
    assert [step["step"] for step in found["timeline"] if step["step"] == "find"] == []


def test_thin_event_at_its_word_keeps_its_date(stage: Stage, fake: FakeScim) -> None:
    """What takes effect tomorrow waits for tomorrow."""
    tell(stage, JOINED)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    told = event(Kind.CHANGED, "look", minute=5, effective_at=tomorrow, external_id="E1042", title="Lead")

    tell(stage, told.model_copy(update={"source": "okta"}))

    assert stage.records.event("okta:look", [])["state"] == "scheduled"
    assert fake.user("bo.ray@acme.example")["title"] == "Agent"


def test_thin_event_of_tomorrow_is_looked_up_tomorrow(stage: Stage, hr: StaffFile) -> None:
    """The directory says how it is now, so nobody asks before."""
    hr.say(LEFT)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    told = event(Kind.CHANGED, "look", minute=5, effective_at=tomorrow, external_id="E1042")
    tell(stage, told)
    look(stage.world, "E1042")
    before = (stage.state("look"), stage.later(LOOKUPS), stage.redis.zcard(keys.DUE), status(stage))
    stage.redis.hset(keys.event(told.ref), "doc", told.model_copy(update={"effective_at": AT}).to_json())

    look(stage.world, "E1042")
    work(stage)

    assert before == ("scheduled", [tomorrow], 1, None)
    assert (status(stage), stage.redis.zcard(keys.DUE), stage.state("look")) == ("left", 0, "unchanged")


# ---- order


def test_event_told_after_the_look_wins_over_it(stage: Stage, hr: StaffFile) -> None:
    """The directory says how it is when it is read; what a source says of later is newer."""
    hr.say({**ACTIVE, "title": "Lead"})
    later = event(Kind.MOVER, "later", external_id="E1042", title="Chief")
    later = later.model_copy(update={"occurred_at": datetime.now(UTC) + timedelta(minutes=4)})
    tell(stage, JOINED, later)

    tell(stage, LOOK)

    assert stage.person().value("title") == "Chief"


def test_event_told_before_the_look_overwrites_nothing(stage: Stage, hr: StaffFile) -> None:
    """However late it arrives, and though it is newer than the notice that told us to look."""
    hr.say({**ACTIVE, "title": "Lead"})
    tell(stage, JOINED, LOOK)

    tell(stage, event(Kind.MOVER, "late", minute=9, external_id="E1042", title="Agent"))

    assert (stage.person().value("title"), stage.state("late")) == ("Lead", "superseded")


def test_rehire_by_the_word_of_a_newer_file(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """Who left and is there again comes back."""
    tell(stage, JOINED)
    tell(stage, event(Kind.LEAVER, "left", minute=2, external_id="E1042"))
    hr.say(ACTIVE)

    tell(stage, LOOK)

    assert steps(stage) == [{"directory": "hr", "found": "joiner"}]
    assert (status(stage), fake.user("bo.ray@acme.example")["active"]) == ("active", True)


def test_file_that_is_older_than_a_leave_brings_nobody_back(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """Last night's export does not know who left this morning."""
    hr.say({**ACTIVE, "title": "Lead"}, at=AT + timedelta(minutes=1))
    tell(stage, JOINED)
    tell(stage, event(Kind.LEAVER, "left", minute=2, external_id="E1042"))

    tell(stage, LOOK)

    assert (status(stage), fake.user("bo.ray@acme.example")["active"]) == ("left", False)
    assert (stage.state("look"), stage.found("look")["detail"]) == ("superseded", "outranked by hris:left")


@pytest.mark.parametrize(("written", "deletions"), [(1, "scheduled"), (3, "superseded")])
def test_later_deletion_is_ended_by_a_newer_file_alone(
    redis: Redis, config: MakeConfig, fake: FakeScim, hr: StaffFile, written: int, deletions: str
) -> None:
    """Whoever was hired back by the directory is not deleted; one that is older than the leave hires nobody back."""
    stage = make_stage(redis, config, fake, hr, leaver="suspend_then_delete", delete_after="30d")
    hr.say(ACTIVE, at=AT + timedelta(minutes=written))
    tell(stage, JOINED)
    tell(stage, event(Kind.LEAVER, "left", minute=2, external_id="E1042"))
    (deletion,) = [each["id"] for each in stage.records.events(source="gatepost").items]

    tell(stage, LOOK)

    (found,) = stage.records.events(source="gatepost").items
    assert (found["id"], found["state"]) == (deletion, deletions)


def test_who_left_by_an_old_file_is_out(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """Somebody was told to look and the file says left: it is safer to believe it than to ask how old it is."""
    hr.say(LEFT, at=AT - timedelta(days=1))
    tell(stage, JOINED)

    tell(stage, LOOK)

    assert (status(stage), fake.user("bo.ray@acme.example")["active"]) == ("left", False)


@pytest.mark.parametrize("order", list(permutations(range(4))), ids=lambda order: "".join(map(str, order)))
def test_any_order_of_arrival_ends_in_the_same_state(stage: Stage, fake: FakeScim, hr: StaffFile, order: Any) -> None:  # noqa: ANN401
    """A look among other events: a leave that is newer than the file counts, whichever comes first."""
    hr.say({**ACTIVE, "title": "Lead"}, at=AT + timedelta(minutes=3))
    story = (
        JOINED,
        event(Kind.MOVER, "moved", minute=1, title="Senior", phone="1"),
        event(Kind.LEAVER, "left", minute=4, external_id="E1042"),
        LOOK,
    )

    for place in order:
        tell(stage, story[place])

    person = stage.person()
    assert (status(stage), person.value("title"), person.value("phone")) == ("left", "Lead", "1")
    assert not any(user["active"] for user in fake.users())


@pytest.mark.parametrize("first", ["look", "left"])
def test_leave_that_is_older_than_the_file_is_over(stage: Stage, hr: StaffFile, first: str) -> None:
    """The file was written after it and says that the person is here: so it is, whichever is heard first."""
    hr.say(ACTIVE, at=AT + timedelta(minutes=6))
    left = event(Kind.LEAVER, "left", minute=5, external_id="E1042")
    tell(stage, JOINED)

    for told in (LOOK, left) if first == "look" else (left, LOOK):
        tell(stage, told)

    assert status(stage) == "active"


# ---- one look for all that wait, beside whoever works on the person


def test_one_look_is_for_all_that_wait(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """Five nudges are one read and one conversation; the newest knows the newest names."""
    hr.say(ACTIVE)
    directory = Counted(FileDirectory(hr.path))
    with_directory(stage, directory)
    nudges = [
        event(Kind.CHANGED, f"l{number}", minute=number, external_id="E1042", user_name=f"bo{number}")
        for number in range(5)
    ]

    tell(stage, *reversed(nudges))

    assert directory.asked == [Subject("E1042", "bo4", None)]
    assert [said.method for said in fake.log] == ["GET", "POST"]
    assert {stage.state(each.id) for each in nudges} == {"applied", "superseded"}


def test_look_takes_no_lease(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """A slow directory keeps the person's leaver from nothing: it is done before the directory has answered."""
    hr.say({**ACTIVE, "title": "Lead"}, at=AT)
    tell(stage, JOINED)

    def meanwhile() -> None:
        stage.hear(event(Kind.LEAVER, "left", minute=6, external_id="E1042"))
        converge(stage.world, "E1042", LEAVERS)
        assert fake.user("bo.ray@acme.example")["active"] is False

    with_directory(stage, Counted(FileDirectory(hr.path), meanwhile))

    tell(stage, LOOK)

    assert (stage.state("left"), stage.state("look"), status(stage)) == ("applied", "superseded", "left")


def test_leaver_that_is_read_while_the_person_is_worked_on_is_done_by_whoever_works(
    stage: Stage, fake: FakeScim, hr: StaffFile
) -> None:
    """It arrives in the mailbox, which is drained before the lease is given back: nobody waits for the lease's end."""
    hr.say(LEFT)
    stage.hear(JOINED)

    def slow(proceed: Callable[[], httpx.Response]) -> httpx.Response:
        stage.hear(LOOK)
        look(stage.world, "E1042")
        return proceed()

    fake.next(slow, on="POST")
    converge(stage.world, "E1042", PEOPLE)

    assert fake.user("bo.ray@acme.example")["active"] is False
    assert (stage.state("look"), stage.mailbox()) == ("applied", [])


def test_two_looks_at_once_are_one(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """Whoever is first passes the event on; the other one finds that and changes nothing."""
    hr.say(ACTIVE)
    start = threading.Barrier(3)

    def together() -> None:
        start.wait()

    with_directory(stage, Counted(FileDirectory(hr.path), together))
    stage.hear(LOOK)

    threads = [threading.Thread(target=look, args=(stage.world, "E1042")) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    offered = jobs(stage, PEOPLE)
    work(stage)

    assert (offered, stage.state("look")) == (["E1042"], "applied")
    assert [said.method for said in fake.log] == ["GET", "POST"]


def test_look_that_comes_too_late_brings_nothing_back(stage: Stage, hr: StaffFile) -> None:
    """The event was read and settled while the directory took its time: it stays settled."""
    hr.say(ACTIVE)

    def meanwhile() -> None:
        with_directory(stage, FileDirectory(hr.path))
        tell(stage)
        look(stage.world, "E1042")
        work(stage)

    slow = World(stage.config, stage.people, stage.world.places, {"hr": Counted(FileDirectory(hr.path), meanwhile)})
    stage.hear(LOOK)

    look(slow, "E1042")

    assert (stage.state("look"), stage.mailbox(), jobs(stage, PEOPLE)) == ("applied", [], [])
    assert stage.redis.zcard(keys.open_events(PEOPLE)) == stage.redis.zcard(keys.open_events(LOOKUPS)) == 0


# ---- who is meant


def test_person_whom_the_directory_does_not_have_is_no_leaver(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """It waits for a person, is told, and after the directory was mended a retry looks again."""
    hr.say({"external_id": "E7", "status": "active"})
    tell(stage, JOINED)

    tell(stage, LOOK)
    before = (stage.state("look"), stage.found("look")["reason"], fake.user("bo.ray@acme.example")["active"])
    failures = [failure["id"] for failure in stage.records.failures().items]
    hr.say(LEFT)
    stage.records.retry("event:hris:look", actor="anna")
    lanes_of_it = work(stage)

    assert before == ("failed", "not_in_directory", True)
    assert failures == ["event:hris:look"]
    (told,) = [signal["data"] for signal in stage.signals() if signal["type"] == "delivery.failed"]
    assert (told["reason"], told["kind"], told["target"]) == ("not_in_directory", "changed", None)
    assert (lanes_of_it, fake.user("bo.ray@acme.example")["active"]) == ([LOOKUPS, LEAVERS], False)


def test_person_whom_a_directory_that_lags_does_not_show_yet_is_looked_for_again(stage: Stage, hr: StaffFile) -> None:
    """A few times, half a minute apart; then it waits for a person too."""
    hr.say({"external_id": "E7", "status": "active"})
    directory = Counted(FileDirectory(hr.path))
    directory.lags = True
    with_directory(stage, directory)

    stage.hear(LOOK)
    states = []

    for times in range(FEW_TRIES_MAX):
        stage.redis.hset(keys.event(LOOK.ref), "looked", f"[{times}, null]")
        look(stage.world, "E1042")
        states.append((stage.state("look"), stage.found("look")["reason"]))

    last = FEW_TRIES_MAX - 1
    assert states == [("postponed", "not_in_directory")] * last + [("failed", "not_in_directory")]
    assert len(directory.asked) == FEW_TRIES_MAX


def test_event_that_failed_on_a_target_is_retried_with_what_was_read(
    stage: Stage, fake: FakeScim, hr: StaffFile
) -> None:
    """Who left may be gone from the directory by then, and is locked out all the same."""
    hr.say(LEFT)
    tell(stage, JOINED)
    fake.next(answers(403), on="PATCH")
    tell(stage, LOOK)
    before = stage.state("look")
    failures = [(failure["kind"], failure["read_as"]) for failure in stage.records.failures().items]
    hr.say({"external_id": "E7", "status": "active"})

    stage.records.retry("event:hris:look", actor="anna")
    lanes_of_it = work(stage)

    assert (before, failures, lanes_of_it) == ("failed", [("changed", "leaver")], [LEAVERS])
    assert fake.user("bo.ray@acme.example")["active"] is False


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([LEFT, LEFT], "several_records"),
        ([{**LEFT, "external_id": "E9"}], "another_id"),
    ],
)
def test_record_that_may_be_anothers_is_held(
    stage: Stage, fake: FakeScim, hr: StaffFile, rows: list[dict[str, Any]], reason: str
) -> None:
    """A guess could lock out the wrong person."""
    hr.say(*rows)
    tell(stage, JOINED)

    tell(stage, event(Kind.CHANGED, "look", minute=5, external_id="E1042", email="bo.ray@acme.example"))

    assert (stage.state("look"), stage.found("look")["reason"]) == ("held", reason)
    assert fake.user("bo.ray@acme.example")["active"] is True
    assert "delivery.failed" not in {signal["type"] for signal in stage.signals()}


@pytest.mark.parametrize("rows", [[LEFT, LEFT], [{**LEFT, "external_id": "E9"}]], ids=["several", "another"])
@pytest.mark.parametrize(("verdict", "ends"), [("dropped", "ignored"), ("released", "applied")])
def test_record_that_may_be_anothers_is_ruled_of(
    stage: Stage, fake: FakeScim, hr: StaffFile, rows: list[dict[str, Any]], verdict: str, ends: str
) -> None:
    """It is listed among the holds. Dropped, it is over; released, it is looked up again."""
    hr.say(*rows)
    tell(stage, JOINED)
    tell(stage, event(Kind.CHANGED, "look", minute=5, external_id="E1042", email="bo.ray@acme.example"))
    listed = [held["id"] for held in stage.records.holds().items]
    hr.say(LEFT)

    stage.records.rule("look", ["hris"], verdict, actor="anna")
    work(stage)

    assert (listed, stage.state("look"), stage.records.holds().items) == (["hris:look"], ends, [])
    assert fake.user("bo.ray@acme.example")["active"] is (verdict == "dropped")
    assert not stage.redis.exists(keys.unread("E1042"), keys.mailbox("E1042"))


def by_address(event_id: str = "look", minute: int = 5) -> Event:
    """Return a thin event of a source that tells an address only."""
    told = event(Kind.CHANGED, event_id, minute=minute, email="bo.ray@acme.example")
    return told.model_copy(update={"person": "bo.ray@acme.example"})


def test_person_of_a_mere_address_is_the_one_of_the_id_in_the_directory(
    stage: Stage, fake: FakeScim, hr: StaffFile
) -> None:
    """The address is another's by now, whom we know: who had it before stays as is."""
    tell(stage, JOINED)
    tell(stage, event(Kind.JOINER, "other", minute=1, person="E9", external_id="E9", user_name="bo9"))
    hr.say({"external_id": "E9", "user_name": "bo9", "email": "bo.ray@acme.example", "status": "left"})

    tell(stage, by_address())

    assert (status(stage), status(stage, "E9")) == ("active", "left")
    assert (stage.found("look")["person"], stage.state("look")) == ("E9", "applied")
    assert fake.user("bo9")["active"] is False


def test_person_of_a_mere_address_whose_id_is_known_is_not_whoever_has_the_address(stage: Stage, hr: StaffFile) -> None:
    """One whom we know by the address alone may be anybody; the directory names somebody whom we know by the id."""
    told = event(Kind.JOINER, "joined", **{**BO, "external_id": None})
    tell(stage, told.model_copy(update={"person": "bo.ray@acme.example"}))
    tell(stage, event(Kind.JOINER, "other", minute=1, person="E9", external_id="E9", user_name="bo9"))
    hr.say({**LEFT, "external_id": "E9"})

    tell(stage, by_address())

    assert (status(stage, "bo.ray@acme.example"), status(stage, "E9")) == ("active", "left")


def test_person_of_a_mere_address_who_is_new_gets_the_id(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """What is told of the id later is told of the same person."""
    hr.say(ACTIVE)

    tell(stage, by_address())

    assert (status(stage), stage.found("look")["person"]) == ("active", "E1042")
    assert fake.user("bo.ray@acme.example")["externalId"] == "E1042"


def test_person_of_a_mere_address_which_another_had_is_not_the_other(stage: Stage, hr: StaffFile) -> None:
    """A stranger with the address of somebody whom we know by another id of this source is a stranger."""
    tell(stage, JOINED)
    hr.say({**LEFT, "external_id": "E9"})

    tell(stage, by_address())

    assert (status(stage), stage.found("look")["person"]) == ("active", "E9")


def test_person_who_is_known_by_address_alone_learns_the_id(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """Whoever never had an id from this source is still the same person, and is locked out."""
    told = event(Kind.JOINER, "joined", **{**BO, "external_id": None})
    tell(stage, told.model_copy(update={"person": "bo.ray@acme.example"}))
    hr.say(LEFT)

    tell(stage, by_address())

    assert status(stage, "bo.ray@acme.example") == "left"
    assert not any(user["active"] for user in fake.users())


def test_thin_event_of_a_key_that_was_linked_goes_to_the_other(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """Two sources speak of one human: what is looked up under the one id is done under the other."""
    other = event(Kind.JOINER, "joined", person="00u1", **{**BO, "external_id": "00u1"})
    tell(stage, other.model_copy(update={"source": "okta"}))
    stage.redis.set(keys.link("E1042"), "00u1")
    hr.say(LEFT)

    tell(stage, LOOK)

    assert (status(stage, "00u1"), stage.found("look")["person"]) == ("left", "00u1")
    assert fake.user("bo.ray@acme.example")["active"] is False


def test_person_who_turns_out_to_be_another_under_the_lease_is_left_alone(stage: Stage, hr: StaffFile) -> None:
    """The address went to somebody else between the look and the work: nothing is mixed up, a human decides."""
    hr.say({**LEFT, "external_id": "E9"})
    named = {"person": "bo.ray@acme.example"}
    tell(stage, event(Kind.JOINER, "old", **{**BO, "external_id": None}).model_copy(update=named))
    stage.hear(by_address())
    look(stage.world, "bo.ray@acme.example")
    known = stage.person("bo.ray@acme.example").model_copy(update={"ids": ("hris:E1042",)})
    stage.redis.set(keys.person(known.key), known.model_dump_json())

    work(stage)

    assert (stage.state("look"), stage.found("look")["reason"]) == ("held", "another_id")
    assert status(stage, "bo.ray@acme.example") == "active"


# ---- a directory in trouble


def test_directory_that_cannot_be_read_is_waited_for(stage: Stage, fake: FakeScim, hr: StaffFile) -> None:
    """The event is postponed with the reason, a later look is planned, and everything else of the person flows on."""
    hr.path.write_text('{"external_id": "E1042", "act')
    stage.hear(JOINED, LOOK)
    now = datetime.now(UTC)

    work(stage)
    found, looks = stage.found("look"), stage.later(LOOKUPS)
    joined = fake.user("bo.ray@acme.example")["active"]
    hr.say(LEFT)
    stage.redis.hdel(keys.event(LOOK.ref), "looked")
    look(stage.world, "E1042")
    work(stage)

    assert (found["state"], found["reason"], found["detail"]) == (
        "postponed",
        "directory_unreadable",
        "directory hr: line 1: not JSON",
    )
    assert len(looks) == 1
    assert now - timedelta(seconds=1) <= looks[0] <= now + timedelta(seconds=4)
    assert (joined, fake.user("bo.ray@acme.example")["active"]) == (True, False)
    assert [step.get("reason") for step in steps(stage)] == ["directory_unreadable", None]


class Broken:
    """A directory that fails in a way of its own."""

    needs = ""
    lags = False

    def __init__(self, fault: BaseException) -> None:
        """Keep the fault."""
        self.fault, self.asked = fault, 0

    def find(self, subject: Subject) -> Sequence[Record]:
        """Fail."""
        self.asked += 1
        assert subject
        raise self.fault

    def list(self) -> Iterator[Record]:
        """Fail."""
        raise self.fault

    def glance(self) -> Glance:
        """Fail."""
        raise self.fault

    def notes(self) -> Sequence[str]:
        """Fail."""
        raise self.fault


@pytest.mark.parametrize(
    ("fault", "reason", "tries"),
    [
        (JobTimeoutException(), "slow", TRIES_MAX),
        (ZeroDivisionError("Bo Ray"), "internal", FEW_TRIES_MAX),
    ],
)
def test_looks_in_vain_end(stage: Stage, fault: BaseException, reason: str, tries: int) -> None:
    """A look that always fails makes the event a failure in the end; a fault of ours after a few."""
    with_directory(stage, Broken(fault))
    stage.hear(LOOK)
    states = []

    with capture_logs() as lines:
        for times in (0, 1, tries - 2, tries - 1):
            stage.redis.hset(keys.event(LOOK.ref), "looked", f"[{times}, null]")
            look(stage.world, "E1042")
            states.append((stage.state("look"), stage.found("look")["reason"]))

    assert states == [("postponed", reason)] * 3 + [("failed", reason)]
    assert stage.redis.exists(keys.unread("E1042")) == 0
    assert "Bo Ray" not in str(lines) + str(stage.found("look"))


def test_retry_begins_to_count_anew(stage: Stage) -> None:
    """Whoever mended the directory gives it all tries again."""
    with_directory(stage, Broken(ZeroDivisionError()))
    stage.hear(LOOK)
    stage.redis.hset(keys.event(LOOK.ref), "looked", f"[{FEW_TRIES_MAX - 1}, null]")
    with capture_logs():
        look(stage.world, "E1042")
        stage.records.retry("event:hris:look", actor="anna")
        look(stage.world, "E1042")

    assert stage.state("look") == "postponed"


def test_directory_in_trouble_is_asked_at_the_moment_planned_and_not_before(stage: Stage) -> None:
    """New nudges join those that wait: they do not make a line of their own, and no try of the others is spent."""
    directory = Broken(JobTimeoutException())
    with_directory(stage, directory)
    stage.hear(LOOK)
    stage.redis.hset(keys.event(LOOK.ref), "looked", "[9, null]")
    look(stage.world, "E1042")
    (planned,) = {kept.looked.retry_at for kept in unread(stage)}

    look(stage.world, "E1042")
    asked = directory.asked
    stage.hear(event(Kind.CHANGED, "again", minute=6, external_id="E1042"))
    look(stage.world, "E1042")

    found = {kept.event.id: kept.looked for kept in unread(stage)}
    assert (asked, directory.asked) == (1, 2)
    assert found == {"look": Looked(10, planned), "again": Looked(1, planned)}


def unread(stage: Stage) -> Any:  # noqa: ANN401 - Kept
    """Return the thin events that wait."""
    return Lookups(stage.people).unread("E1042")


def test_many_that_wait_for_a_directory_hide_no_leaver(stage: Stage, fake: FakeScim) -> None:
    """They stand beside the mailbox: however many there are, what came after them is read."""
    with_directory(stage, Broken(JobTimeoutException()))
    tell(stage, JOINED)
    stage.hear(*(event(Kind.CHANGED, f"l{number}", minute=5, external_id="E1042") for number in range(250)))

    tell(stage, event(Kind.LEAVER, "left", minute=6, external_id="E1042"))

    assert fake.user("bo.ray@acme.example")["active"] is False


def test_status_that_nobody_knows_fails_that_person(stage: Stage, hr: StaffFile) -> None:
    """A word that is none of ours is not guessed."""
    hr.say({**BO, "status": "on leave"})

    tell(stage, LOOK)

    assert (stage.state("look"), stage.found("look")["reason"]) == ("failed", "status_unknown")


def test_directory_that_was_taken_out_of_the_configuration(stage: Stage, config: MakeConfig) -> None:
    """What waited for it is taken at its word then."""
    stage.hear(LOOK)
    stage.world = World(config(), stage.people, {}, {})

    work(stage)

    assert stage.state("look") == "ignored"


# ---- nothing is lost


def sweeper(stage: Stage) -> Sweeper:
    """Give a sweeper that leads for long enough to tell who is dead."""
    queues = lanes(stage.redis)
    found = Sweeper(stage.redis, "me", People(stage.redis, queues), queues)
    found.tick()
    found._leads_since = -1e9
    return found


def test_unread_event_whose_job_was_lost_is_offered(
    stage: Stage, hr: StaffFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its own lane, whatever else there is of the person; once it was read, in that of what it turned out to be."""
    monkeypatch.setattr("workers.sweeper.AUDIT_AGE_SECONDS", -10)
    hr.say(LEFT)
    found = sweeper(stage)
    stage.hear(LOOK, JOINED)
    lanes(stage.redis)[LOOKUPS].empty()  # type: ignore[no-untyped-call]
    stage.redis.sadd(keys.TARGETS, "crm")
    stage.redis.zadd(keys.waiting("crm"), {"E1042": 1})
    assert stage.people.take("E1042")

    found.audit()
    unread_ = jobs(stage, LOOKUPS)
    look(stage.world, "E1042")
    for queue in lanes(stage.redis).values():
        queue.empty()  # type: ignore[no-untyped-call]
    stage.redis.delete(keys.lease("E1042"), keys.waiting("crm"))
    found.audit()

    assert (unread_, jobs(stage, LOOKUPS), jobs(stage, LEAVERS)) == (["E1042"], [], ["E1042"])


def test_unread_event_that_has_a_job_is_not_offered_twice(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it waits now or for later."""
    monkeypatch.setattr("workers.sweeper.AUDIT_AGE_SECONDS", -10)
    found = sweeper(stage)
    stage.hear(LOOK)

    found.audit()

    assert jobs(stage, LOOKUPS) == ["E1042"]


def kill_looking(stage: Stage, found: Sweeper) -> None:
    """Pop the next look as a worker that dies with it, and let the sweeper see that."""
    queue = lanes(stage.redis)[LOOKUPS]
    (job, *_) = queue.get_jobs()
    queue.remove(job)
    stage.redis.hset(f"rq:job:{job.id}", "worker_name", "dead")
    stage.redis.zadd(queue.started_job_registry.key, {f"{job.id}:1": 9e12})
    stage.redis.delete(keys.resumed("E1042:lookups"))
    stage.redis.zadd(keys.POPPED, {job.id: 1})
    found.resume_orphans()


def test_look_whose_worker_was_killed_is_offered_again(stage: Stage, hr: StaffFile) -> None:
    """It held no lease, and is found by its job; a killer of three workers fails and is told."""
    hr.say(LEFT)
    found = sweeper(stage)
    stage.hear(LOOK)

    kill_looking(stage, found)
    once = jobs(stage, LOOKUPS)
    for _ in range(2):
        kill_looking(stage, found)
    work(stage)

    assert once == ["E1042"]
    assert (stage.state("look"), stage.found("look")["reason"]) == ("failed", "poison")
    assert [signal["type"] for signal in stage.signals()] == ["delivery.failed"]


def test_look_that_was_done_before_its_worker_died_is_not_offered(stage: Stage, hr: StaffFile) -> None:
    """There is nothing unread any more."""
    hr.say(LEFT)
    found = sweeper(stage)
    stage.hear(LOOK)
    look(stage.world, "E1042")

    kill_looking(stage, found)

    assert (jobs(stage, LOOKUPS), jobs(stage, LEAVERS)) == ([], ["E1042"])


def test_look_that_ends_forgets_the_deaths(stage: Stage, hr: StaffFile) -> None:
    """Only deaths in a row count."""
    hr.say(LEFT)
    found = sweeper(stage)
    stage.hear(LOOK)
    for _ in range(2):
        kill_looking(stage, found)

    work(stage)

    assert stage.state("look") != "failed"
    assert stage.redis.hget(keys.event(LOOK.ref), "deaths") == b"0"


def test_age_of_the_oldest_unread_event_is_shown(stage: Stage) -> None:
    """It is what to alarm on when a directory is away."""
    stage.hear(LOOK)

    ages = {
        sample.labels["lane"]: sample.value
        for metric in FleetCollector(stage.redis).collect()
        for sample in metric.samples
        if sample.name == "gatepost_oldest_event_seconds"
    }

    assert ages["lookups"] > 0
    assert ages["people"] == ages["leavers"] == 0


def test_nothing_personal_is_logged_or_shown(stage: Stage, hr: StaffFile) -> None:
    """Neither the timeline nor the log has a value of the record."""
    hr.say(LEFT)
    tell(stage, JOINED)

    with capture_logs() as lines:
        tell(stage, LOOK)

    timeline = str(stage.found("look")["timeline"])
    assert not [word for word in ("acme.example", "Ray", "Support") if word in timeline + str(lines)]
    assert [line["found"] for line in lines if line["event"] == "event.read"] == ["leaver"]
