"""A notice that says only "look again", between real parts: a file of people, and a lane of its own for the look."""

import time

from tests.flow.patience import eventually
from tests.flow.stage import Somebody, Stage

BACKLOG = 300
SECONDS_MAX = 3.0


def test_who_left_by_the_directory_is_locked_out_before_a_backlog(stage: Stage, bo: Somebody) -> None:
    """A thin notice says nothing, the directory says that the person left: no joiner that waits delays the lock."""
    stage.write_directory("left", bo)
    stage.state(bo.joins())
    backlog = [Somebody() for _ in range(BACKLOG)]
    stage.tell_at_once(person.joins() for person in backlog)
    waiting = sum(not stage.accounts(person) for person in backlog[-20:])

    stage.tell(bo.changes()).raise_for_status()
    told_at = time.monotonic()
    eventually(lambda: not stage.account(bo)["active"])
    took = time.monotonic() - told_at
    still_waiting = sum(not stage.accounts(person) for person in backlog[-20:])

    assert stage.settled(bo.changes())["state"] == "applied"
    assert min(waiting, still_waiting) > 0
    assert took < SECONDS_MAX
    for person in backlog:
        stage.settled(person.joins(), within=90)


def test_whole_life_by_thin_notices_alone(stage: Stage, bo: Somebody) -> None:
    """Nobody ever says what happened: the directory makes a joiner, a mover, a leaver and a rehire of it."""
    seen = []
    for event, status, name in (
        ("first", "active", "Bo"),
        ("second", "enabled", "Bobby"),
        ("third", "terminated", "Bobby"),
        ("fourth", "active", "Robert"),
    ):
        bo.name = name
        stage.write_directory(status, bo)
        stage.state(bo.changes(event))
        account = stage.account(bo)
        seen.append((account["active"], account["displayName"]))

    assert seen == [(True, "Bo"), (True, "Bobby"), (False, "Bobby"), (True, "Robert")]
    assert [signal.type for signal in stage.signals(bo, 4)] == [
        "person.provisioned",
        "person.updated",
        "person.suspended",
        "person.restored",
    ]


def test_why_shows_what_the_directory_said(stage: Stage, bo: Somebody) -> None:
    """Its name and what it made of the event; nothing of the person."""
    stage.write_directory("active", bo)
    stage.state(bo.changes())

    done = stage.gatepost("why", bo.changes().ref)

    assert "changed: joiner of" in done.stdout
    assert "directory=people, found=joiner" in done.stdout
    assert bo.email not in done.stdout


def test_killed_look_is_made_again(stage: Stage, bo: Somebody) -> None:
    """The worker of the look-ups dies with kill -9 again and again: every notice is looked up in the end."""
    persons = [bo, *(Somebody() for _ in range(20))]
    stage.write_directory("active", *persons)

    for person in persons:
        stage.tell(person.changes()).raise_for_status()
        if person in persons[::7]:
            stage.workers["lookups"].kill()
    states = {stage.settled(person.changes(), within=60)["state"] for person in persons}

    assert states == {"applied"}
    assert all(len(stage.accounts(person)) == 1 for person in persons)


def test_check_tells_who_is_in_the_directory(stage: Stage, bo: Somebody) -> None:
    """Or what is wrong with it."""
    stage.write_directory("active", bo)
    well = stage.gatepost("check")
    stage.write_directory("asleep", bo)
    wrong = stage.gatepost("check")

    assert "1 people: 1 work here, 0 do not" in well.stdout
    assert "line 2: tells in none of our words" in wrong.stdout
    assert wrong.returncode == 1
