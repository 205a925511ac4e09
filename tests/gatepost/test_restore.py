"""``gatepost restore``: takes back who left, and says clearly why not."""

import json
from collections.abc import Callable
from pathlib import Path

from redis import Redis

from lifecycle.event import State
from tests import seed
from tests.gatepost.conftest import Run


def leave(redis: Redis) -> None:
    """Keep somebody who left."""
    seed.put(redis, seed.event())
    seed.settle(redis, "E1042", State.APPLIED)


def test_leaver_is_taken_back(redis: Redis, gatepost: Run, toml: Path) -> None:
    """By address as by id; what it says is enough to ask why, also as JSON."""
    leave(redis)

    done = gatepost("restore", "e1042@acme.example", config=toml)
    as_json = gatepost("restore", "E1042", "--json", "--as", "ada", config=toml)

    event = json.loads(as_json.stdout)["event"]
    assert done.returncode == as_json.returncode == 0
    assert done.stdout.startswith("E1042: on the way back; see gatepost why operator:restore-")
    assert json.loads(as_json.stdout)["restored"] == "E1042"
    why = gatepost("why", event.partition(":")[2], config=toml)
    assert why.stdout.startswith(f"{event}  joiner of E1042\n")
    assert "by=ada" in why.stdout


def test_who_has_not_left_and_who_is_unknown_are_refused(redis: Redis, gatepost: Run, toml: Path) -> None:
    """Exit 1 and a sentence each."""
    redis.set("gatepost:person:E1", '{"key": "E1"}')

    works_here, unknown = (gatepost("restore", key, config=toml) for key in ("E1", "E9"))

    assert (works_here.returncode, works_here.stderr) == (1, "nothing to restore: the person has not left\n")
    assert (unknown.returncode, unknown.stderr) == (1, "nobody is known by this name\n")


def test_time_that_is_over_is_named(redis: Redis, gatepost: Run, config_file: Callable[..., Path]) -> None:
    """``policy.restore_within`` of the configuration counts."""
    leave(redis)

    done = gatepost("restore", "E1042", config=config_file(policy={"restore_within": "0s"}))

    assert done.returncode == 1
    assert done.stderr.startswith("too late: policy.restore_within ended at 20")


def test_person_shows_accounts_that_were_deleted(redis: Redis, gatepost: Run, toml: Path) -> None:
    """Beside those that are there."""
    leave(redis)

    done = gatepost("person", "E1042", config=toml)

    (line,) = [line for line in done.stdout.splitlines() if line.startswith("desk")]
    assert line.split() == ["desk", "d-1", "deleted"]
