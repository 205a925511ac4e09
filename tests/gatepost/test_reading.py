"""What operators read: events, one event, one person, failures; as a table for people and as JSON for programs."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from lifecycle import __version__
from lifecycle.event import State
from tests import seed
from tests.gatepost.conftest import Run


@pytest.fixture
def told(redis: Redis) -> None:
    """Keep two persons' events: one leaver applied and told, one failed."""
    seed.put(redis, seed.event("evt-1", "E1042"))
    seed.settle(redis, "E1042", State.APPLIED, signals=[(seed.signal(), ["siem"])])
    seed.put(redis, seed.event("evt-2", "E2000", source="okta"))
    seed.settle(redis, "E2000", State.FAILED, reason="credentials")


def _json(done: subprocess.CompletedProcess[str]) -> Any:  # noqa: ANN401 - JSON
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def _refused(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one sentence of a command that failed."""
    assert done.returncode == 1
    assert done.stdout == ""
    (sentence,) = done.stderr.splitlines()
    return sentence


def test_events_are_listed_newest_first(told: None, gatepost: Run, toml: Path) -> None:
    """``gatepost events`` shows every event in one line: source, id, kind, person, state."""
    done = gatepost("events", config=toml)

    heading, *rows = done.stdout.splitlines()
    assert done.returncode == 0
    assert heading.split() == ["received", "source", "event", "kind", "person", "state", "requests", "reason"]
    assert sorted(tuple(row.split()[2:]) for row in rows) == [
        ("hris", "evt-1", "leaver", "E1042", "applied", "2"),
        ("okta", "evt-2", "leaver", "E2000", "failed", "2", "credentials"),
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ["evt-1", "evt-2"]),
        (("--state", "failed", "--source", "okta", "--person", "E2000"), ["evt-2"]),
        (("--state", "held"), []),
    ],
    ids=["all", "filtered", "none"],
)
def test_events_as_json(told: None, gatepost: Run, toml: Path, options: tuple[str, ...], expected: list[str]) -> None:
    """``--json`` prints the same page that the API gives, filtered as asked."""
    page = _json(gatepost("events", "--json", *options, config=toml))

    assert sorted(item["id"] for item in page["items"]) == expected
    assert page["next"] is None


def test_page_ends_at_the_limit_and_names_the_next(told: None, gatepost: Run, toml: Path) -> None:
    """``--limit 1`` gives one event and the place of the next page."""
    page = _json(gatepost("events", "--json", "--limit", "1", config=toml))

    assert len(page["items"]) == 1
    assert page["next"]


def test_empty_lists_say_so(redis: Redis, gatepost: Run, toml: Path) -> None:
    """Where nothing waits, the command says that in a sentence instead of a heading without rows."""
    assert gatepost("failed", config=toml).stdout == "Nothing waits for a person.\n"


def test_unknown_state_is_a_sentence(redis: Redis, gatepost: Run, toml: Path) -> None:
    """A state that is none is refused with the states that there are."""
    sentence = _refused(gatepost("events", "--state", "lost", config=toml))

    assert sentence.startswith("no state 'lost'; there are: kept, scheduled")


def test_why_explains_an_event_step_by_step(told: None, gatepost: Run, toml: Path) -> None:
    """``gatepost why`` shows what the event is, where it stands, and each step it took."""
    done = gatepost("why", "evt-1", config=toml)

    assert done.returncode == 0
    assert "hris:evt-1  leaver of E1042" in done.stdout
    assert "applied" in done.stdout
    assert "target=crm, method=PATCH, status=200" in done.stdout


def test_why_as_json(told: None, gatepost: Run, toml: Path) -> None:
    """``--json`` has the whole timeline, from the moment the event was kept."""
    event = _json(gatepost("why", "hris:evt-1", "--json", config=toml))

    assert (event["id"], event["state"]) == ("evt-1", "applied")
    assert [step["step"] for step in event["timeline"]] == ["kept", "apply"]
    moments = {"retry_at": None, "confirm_by": None}
    assert event["deliveries"] == [
        {"target": "crm", "outcome": "applied", "requests": 2, "attempts": 1, "reason": None, **moments}
    ]


def test_why_of_an_unknown_event_is_a_sentence(redis: Redis, gatepost: Run, toml: Path) -> None:
    """An event that was never kept is not explained, and the command fails."""
    assert _refused(gatepost("why", "evt-9", config=toml)) == "no event 'evt-9'"


def test_why_of_an_id_of_two_sources_asks_which(redis: Redis, gatepost: Run, toml: Path) -> None:
    """Where two sources use the same id, the command names both instead of guessing."""
    seed.put(redis, seed.event("evt-1", "E1"), seed.event("evt-1", "E2", source="okta"))

    sentence = _refused(gatepost("why", "evt-1", config=toml))

    assert "okta:evt-1" in sentence
    assert "hris:evt-1" in sentence


@pytest.mark.parametrize("name", ["E1042", "e1042@ACME.example"])
def test_person_is_found_by_any_name(told: None, gatepost: Run, toml: Path, name: str) -> None:
    """External id and e-mail address lead to the same person: what is known, from whom, and the accounts."""
    person = _json(gatepost("person", name, "--json", config=toml))

    assert (person["key"], person["status"]) == ("E1042", "left")
    assert person["attributes"]["email"]["source"] == "hris"
    assert person["accounts"]["crm"]["id"] == "2819c223"
    assert [event["id"] for event in person["events"]] == ["evt-1"]


def test_person_is_shown_for_people(told: None, gatepost: Run, toml: Path) -> None:
    """Without ``--json`` the same is shown in tables."""
    done = gatepost("person", "E1042", config=toml)

    assert done.returncode == 0
    for part in ("E1042  left since", "E1042@acme.example", "2819c223", "inactive", "Support", "evt-1"):
        assert part in done.stdout


def test_unknown_person_is_a_sentence(redis: Redis, gatepost: Run, toml: Path) -> None:
    """Somebody of whom nothing is known is not shown, and the command fails."""
    assert (
        _refused(gatepost("person", "nobody@acme.example", config=toml)) == "nobody is known as 'nobody@acme.example'"
    )


def test_failures_are_listed_with_the_id_to_retry(told: None, gatepost: Run, toml: Path) -> None:
    """``gatepost failed`` shows what waits for a person, why, and under which id it can be tried again."""
    table = gatepost("failed", config=toml).stdout
    page = _json(gatepost("failed", "--json", config=toml))

    assert "event:okta:evt-2" in table
    assert "credentials" in table
    assert [(item["id"], item["reason"]) for item in page["items"]] == [("event:okta:evt-2", "credentials")]


def test_holds_are_listed_with_what_would_be_done(redis: Redis, gatepost: Run, toml: Path) -> None:
    """``gatepost held`` shows each hold with its id, the target and the limit, and ``gatepost person`` shows it too."""
    seed.put(redis, seed.event("evt-1", "E1042"), seed.event("evt-2", "E2000"))
    hold = seed.hold().model_copy(update={"limit": "group_removals", "names": ("Agents", "Leads")})
    seed.settle(redis, "E1042", State.HELD, reason="too_many_leavers", holds=[seed.hold(), hold])
    seed.settle(redis, "E2000", State.HELD, reason="several_accounts")

    table = gatepost("held", config=toml).stdout
    page = _json(gatepost("held", "--json", config=toml))
    person = gatepost("person", "E1042", config=toml).stdout

    for part in ("hris:evt-1", "suspend", "remove Agents, Leads", "20 of at most 20 within 10m", "several_accounts"):
        assert part in table
    assert sorted((item["id"], len(item["holds"])) for item in page["items"]) == [("hris:evt-1", 2), ("hris:evt-2", 0)]
    assert "Held" in person
    assert "remove Agents, Leads" in person


def test_nothing_held_says_so(redis: Redis, gatepost: Run, toml: Path) -> None:
    """A sentence, instead of a heading without rows."""
    assert gatepost("held", config=toml).stdout == "Nothing is held.\n"


def test_version_is_the_packages(gatepost: Run) -> None:
    """``gatepost version`` prints the version, and needs neither configuration nor Redis."""
    done = gatepost("version")

    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")


def test_sentence_that_quotes_what_came_steers_no_terminal(gatepost: Run, toml: Path, redis: Redis) -> None:
    """Whoever sends events chooses their ids."""
    for source in ("hris", "okta"):
        seed.put(redis, seed.event("evt-\x1b[2J", "E1", source=source))

    sentence = _refused(gatepost("why", "evt-\x1b[2J", config=toml))

    assert "hris:evt-?[2J" in sentence
    assert sentence.isprintable()
