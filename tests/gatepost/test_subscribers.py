"""Subscribers and signals on the command line: who is told, what became of it, and telling again."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from redis import Redis

from gatepost import audience
from lifecycle import asked
from lifecycle.check import Line
from lifecycle.config import load
from lifecycle.outbox_scripts import REPLAYED_MAX
from lifecycle.signal import iso
from lifecycle.subscribers import Subscribers
from tests import seed
from tests.gatepost.conftest import Run

SIEM = {"siem": {"url": "https://siem.example/hook", "secrets": ["env:SIEM_WHSEC"]}}
KEY = {"encryption_keys": ["env:OKTA_HOOK_SECRET"]}


@pytest.fixture
def toml(config_file: Callable[..., Path], redis: Redis) -> Path:
    """Write a configuration with a subscriber, beside which the API made another."""
    redis.set("gatepost:vault-salt", seed.SALT)
    path = config_file(subscribers=SIEM)
    made(redis, path)
    return path


def made(redis: Redis, path: Path, name: str = "soar") -> None:
    """Make a subscriber as the API does."""
    config, now = load(path), datetime.now(UTC)
    body = {"name": name, "url": "https://soar.example/hook", "headers": {"Authorization": "Bearer x"}}
    Subscribers(redis, config).create(*asked.created(body, config, now), actor="test")


def lines(redis: Redis, path: Path) -> dict[str, Line]:
    """Return what ``gatepost check`` says of subscribers."""
    return {line.what: line for line in audience.lines(redis, load(path), datetime.now(UTC))}


def test_subscribers_are_listed(gatepost: Run, toml: Path, redis: Redis) -> None:
    """Those of the file and of the API, with how each stands; no secret."""
    redis.hset("gatepost:subscriber:siem", mapping={"disabled_at": "1000", "reason": "gone", "waiting": "3"})

    table, found = gatepost("subscribers", config=toml), gatepost("subscribers", "--json", config=toml)

    items = json.loads(found.stdout)["items"]
    assert [(item["name"], item["managed_by"], item["state"], item["waiting"]) for item in items] == [
        ("siem", "file", "disabled", 3),
        ("soar", "api", "active", 0),
    ]
    assert "disabled" in table.stdout
    assert "Bearer" not in table.stdout + found.stdout
    assert "whsec_" not in table.stdout + found.stdout


def test_signals_are_listed(gatepost: Run, toml: Path, redis: Redis) -> None:
    """A line for each way, filtered like the API's list; one that goes to nobody has a line too."""
    first, second = seed.signal("1", "E1"), seed.signal("2", "E2")
    seed.tell(redis, first, "siem", "soar")
    seed.tell(redis, second)
    seed.fail(redis, first.id, "siem")

    table = gatepost("signals", config=toml)
    failed = gatepost("signals", "--state", "failed", "--subscriber", "siem", "--json", config=toml)
    wrong = gatepost("signals", "--type", "person.*", config=toml)

    assert [line.split()[2] for line in table.stdout.splitlines()[1:]] == [second.id, first.id, first.id]
    assert [item["id"] for item in json.loads(failed.stdout)["items"]] == [first.id]
    assert (wrong.returncode, wrong.stderr.startswith("no type 'person.*'; there are: ")) == (1, True)


def test_one_signal_is_shown_attempt_by_attempt(gatepost: Run, toml: Path, redis: Redis) -> None:
    """What each was answered, on one line, and nothing in it steers the terminal; where nobody answered, why."""
    one = seed.signal("1", "E1")
    seed.tell(redis, one, "siem", "soar")
    answered = {
        "number": 1,
        "at": iso(seed.NOW),
        "status": 503,
        "duration_ms": 12,
        "answer": "[red]down\nfor \x1b[2Jan hour",
    }
    unheard = {"number": 2, "at": iso(seed.NOW), "status": None, "error": "tls", "detail": "no TLS: expired"}
    redis.rpush(f"gatepost:attempts:{one.id}:siem", json.dumps(answered), json.dumps({**unheard, "duration_ms": 3}))

    table = gatepost("signals", "--id", one.id, config=toml)
    found = gatepost("signals", "--id", one.id, "--json", config=toml)
    wrong = [gatepost("signals", "--id", *each, config=toml) for each in (["sig_none"], [one.id, "--person", "E1"])]

    lines = [line.rstrip().split(maxsplit=5) for line in table.stdout.splitlines()[-2:]]
    assert [line[2:] for line in lines] == [
        ["siem", one.id, "1", "503     12  [red]down for ?[2Jan hour"],
        ["siem", one.id, "2", "3   tls: no TLS: expired"],
    ]
    assert [len(way["tried"]) for way in json.loads(found.stdout)["deliveries"]] == [2, 0]
    assert [(each.returncode, each.stderr) for each in wrong] == [
        (1, "no signal 'sig_none'\n"),
        (1, "--id names one signal, and stands alone\n"),
    ]


def test_signals_are_replayed(gatepost: Run, toml: Path, redis: Redis) -> None:
    """By id, since a moment, or all failed; exactly one of them."""
    signals = [seed.signal(str(number), f"E{number}") for number in range(3)]
    for each in signals:
        seed.tell(redis, each, "siem")
        seed.fail(redis, each.id, "siem")

    done = [
        gatepost("replay", "siem", "--id", signals[0].id, config=toml),
        gatepost("replay", "siem", "--failed", config=toml),
        gatepost("replay", "soar", "--since", iso(seed.NOW), config=toml),
    ]
    wrong = [
        gatepost("replay", *each, config=toml) for each in (["siem", "--failed", "--id", "x"], ["nobody", "--failed"])
    ]

    assert [each.stdout for each in done] == [
        "siem: 1 delivery waits that did not\n",
        "siem: 2 deliveries wait that did not\n",
        "soar: 3 deliveries wait that did not\n",
    ]
    assert [(each.returncode, each.stderr.splitlines()[-1]) for each in wrong] == [
        (1, "one of --since, --id and --failed says what is replayed"),
        (1, "no subscriber 'nobody'"),
    ]


def test_replay_tells_that_there_is_no_room(gatepost: Run, toml: Path, redis: Redis) -> None:
    """How many found some, and what to say when there is more; that is no success."""
    for number in range(3):
        seed.tell(redis, seed.signal(str(number), f"E{number}"))
    redis.hset("gatepost:subscriber:siem", "waiting", REPLAYED_MAX - 1)

    some = gatepost("replay", "siem", "--since", iso(seed.NOW), config=toml)
    none = gatepost("replay", "siem", "--id", seed.signal("2", "E2").id, config=toml)
    redis.hset("gatepost:subscriber:siem", "waiting", 1)
    following = some.stderr.splitlines()[-1].partition("--since ")[2].partition(" ")[0]
    rest = gatepost("replay", "siem", "--since", following, config=toml)

    assert (some.returncode, some.stdout) == (1, "siem: 1 delivery waits that did not\n")
    assert "siem: no room for the rest, as 80,000 wait already; replay --since " in some.stderr
    assert (none.returncode, none.stdout) == (1, "siem: 0 deliveries wait that did not\n")
    assert none.stderr.endswith("; replay the same when it took some\n")
    assert (rest.returncode, rest.stdout) == (0, "siem: 2 deliveries wait that did not\n")


def test_check_tells_how_each_stands(gatepost: Run, toml: Path, redis: Redis) -> None:
    """A disabled one is wrong, a paused one may be meant so; what waits and what failed is counted."""
    seed.tell(redis, seed.signal(), "soar")
    seed.fail(redis, seed.signal().id, "soar")
    before = lines(redis, toml)
    redis.hset("gatepost:subscriber:siem", mapping={"disabled_at": "1000", "reason": "gone", "waiting": "3"})
    redis.hset("gatepost:subscriber:soar", mapping={"paused_at": "1000", "paused_by": "ada"})

    done = gatepost("check", "--json", config=toml)

    after = {line["what"]: line for line in json.loads(done.stdout)["items"]}
    assert done.returncode == 1
    assert before["subscribers.siem"] == Line("subscribers.siem", ok=True, found="active")
    assert before["subscribers.soar"].found.startswith("failing since ")
    assert before["subscribers.soar"].found.endswith(", its last attempt failed, 1 failed")
    assert (after["subscribers.siem"]["ok"], after["subscribers.siem"]["found"]) == (False, "disabled, gone, 3 waiting")
    assert after["subscribers.soar"]["ok"] is None
    assert "by ada" in after["subscribers.soar"]["found"]


def test_check_tells_which_key_can_go(toml: Path, redis: Redis, config_file: Callable[..., Path]) -> None:
    """Without a key for it the admins' token seals, which is a hint; an old key stays until nothing needs it."""
    by_token = lines(redis, toml)
    with_key = config_file(subscribers=SIEM, signals=KEY)
    by_old = lines(redis, with_key)
    Subscribers(redis, load(with_key)).change("soar", asked.change({}), datetime.now(UTC), actor="test")
    by_first = lines(redis, with_key)
    lost = lines(redis, config_file(subscribers=SIEM, service={}))

    assert by_token["signals.encryption_keys"].ok is None
    assert by_token["signals.encryption_keys"].found.startswith("absent: what the API keeps of 1 is sealed by")
    assert by_old["subscribers sealed"].ok is None
    assert by_old["subscribers sealed"].found == "by a key that is not the first: soar"
    assert "signals.encryption_keys" not in by_old
    assert by_first["subscribers sealed"].ok is True
    assert lost["subscribers.soar"].ok is False
    assert lost["subscribers.soar"].found.startswith("unusable, it was sealed by key ")
