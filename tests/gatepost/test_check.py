"""``gatepost check``: each line ok or what to do, exit 1 if any is wrong. What is found at targets is tested there."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.conftest import Serve
from tests.flow.patience import eventually
from tests.gatepost.conftest import Run
from tests.notices import canonical, signed
from tests.redis_server import RedisServer

NOWHERE = {"adapter": "scim", "base_url": "http://127.0.0.1:9/scim/v2", "token": "env:CRM_SCIM_TOKEN"}
MANAGED_REDIS = ["on", ">secret", "~*", "+@all", "-config", "-info"]


@pytest.fixture
def set_redis(redis: Redis) -> Iterator[Callable[..., None]]:
    """Set the server otherwise: ``set_redis(appendfsync="everysec")``; it is as it was afterwards."""
    before: dict[str, str] = {}

    def change(**settings: str) -> None:
        for name, value in settings.items():
            option = name.replace("_", "-")
            before.setdefault(option, str(redis.config_get(option)[option]))
            redis.config_set(option, value)

    yield change
    for option, value in before.items():
        redis.config_set(option, value)


def _lines(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["ok"] is (done.returncode == 0)
    return {line.pop("what"): line for line in found["items"]}


def test_all_is_well_where_redis_is_durable(redis: Redis, gatepost: Run, toml: Path) -> None:
    """Configuration and Redis are looked at; that there is no target yet is told, and is no fault."""
    table, lines = gatepost("check", config=toml), _lines(gatepost("check", "--json", config=toml))

    assert table.returncode == 0
    assert "redis appendfsync" in table.stdout
    assert {what: line["ok"] for what, line in lines.items()} == {
        "configuration": True,
        "redis": True,
        "redis appendonly": True,
        "redis appendfsync": True,
        "redis maxmemory-policy": True,
        "sources.okta": None,
        "sources.hris": True,
        "sources.okta secret 1": True,
        "sources.hris secret 1": True,
        "sources.hris secret 2": True,
        "sources.okta heard": None,
        "sources.hris heard": None,
        "targets": None,
    }


def test_redis_that_may_lose_what_was_accepted_is_wrong(
    set_redis: Callable[..., None], gatepost: Run, toml: Path
) -> None:
    """Each setting that loses data is named with what it loses and what to set."""
    set_redis(appendfsync="everysec", maxmemory_policy="allkeys-lru")

    done = gatepost("check", "--json", config=toml)

    lines = _lines(done)
    assert done.returncode == 1
    assert lines["redis appendfsync"]["found"] == "everysec"
    assert lines["redis appendfsync"]["do"].startswith("set it to always: ")
    assert lines["redis maxmemory-policy"]["do"].startswith("set it to noeviction: ")
    assert lines["redis appendonly"]["ok"] is True


def test_managed_redis_that_tells_nothing_is_unsure(
    redis: Redis, redis_server: RedisServer, gatepost: Run, config_file: Callable[..., Path]
) -> None:
    """Who may not ask for the settings is told what to make sure of; that is no failure."""
    redis.execute_command("ACL", "SETUSER", "bo", *MANAGED_REDIS)  # type: ignore[no-untyped-call]
    try:
        url = redis_server.url.replace("unix://", "unix://bo:secret@")
        done = gatepost("check", "--json", config=config_file(redis={"url": url}))
    finally:
        redis.execute_command("ACL", "DELUSER", "bo")  # type: ignore[no-untyped-call]

    lines = _lines(done)
    assert done.returncode == 0
    assert {what: line["ok"] for what, line in lines.items() if what.startswith("redis")} == {
        "redis": None,
        "redis appendonly": None,
        "redis appendfsync": None,
        "redis maxmemory-policy": None,
    }
    assert lines["redis appendonly"]["do"].startswith("make sure that it is yes: ")
    assert "bo:secret" not in done.stdout


def test_redis_away_is_a_line(redis_server: RedisServer, gatepost: Run, config_file: Callable[..., Path]) -> None:
    """Nothing else can be looked at then, and nothing else is said to be wrong."""
    redis_server.kill()

    done = gatepost("check", "--json", config=config_file(targets={"crm": NOWHERE}))

    assert done.returncode == 1
    assert {what: line["ok"] for what, line in _lines(done).items()} == {
        "configuration": True,
        "sources.okta": None,
        "sources.hris": True,
        "redis": False,
        "targets": None,
    }


def test_target_away_is_a_line(redis: Redis, gatepost: Run, config_file: Callable[..., Path]) -> None:
    """What the workers find stands among the other lines."""
    done = gatepost("check", "--json", config=config_file(targets={"crm": NOWHERE}))

    lines = _lines(done)
    assert done.returncode == 1
    assert lines["targets.crm access"]["found"] == "no answer: ConnectError"
    assert lines["redis"]["ok"] is True


@pytest.mark.parametrize(
    ("sections", "found"),
    [
        ({"service": {"max_body_bytes": 12}}, ["service.max_body_bytes: found 12; "]),
        (
            {
                "sources": {"hr": {"adapter": "workday", "secrets": ["env:SIEM_WHSEC"]}},
                "directories": {"hr": {"adapter": "file", "pth": "x"}},
            },
            ["sources.hr.adapter: found ", "directories.hr.path: found nothing; required"],
        ),
        ({"targets": {"crm": NOWHERE | {"adapter": "ldap"}}}, ["targets.crm.adapter: found 'ldap'; allowed: "]),
    ],
    ids=["a value", "a source and a directory", "a target"],
)
def test_wrong_configuration_is_lines_like_any_other(
    redis_server: RedisServer,
    gatepost: Run,
    config_file: Callable[..., Path],
    sections: dict[str, Any],
    found: list[str],
) -> None:
    """Faults that only the receiver or the workers know are found before either is started, even without Redis."""
    redis_server.kill()

    done = gatepost("check", "--json", config=config_file(**sections))

    wrong = [line for line in json.loads(done.stdout)["items"] if line["ok"] is False]
    assert done.returncode == 1
    assert {line["what"] for line in wrong} == {"configuration"}
    assert all(any(line["found"].startswith(start) for line in wrong) for start in found)


def test_last_use_of_each_secret_and_what_a_source_says_are_told(
    serve: Serve, gatepost: Run, toml: Path, redis: Redis
) -> None:
    """That the old one was not used yet is no reason to remove it; see ``test_rotation``.

    Where nobody of ours sees to what a source says, an operator does: a channel that ends, a subscription that is gone.
    """
    receiver, body = serve(), canonical()
    httpx.post(f"{receiver.url}/hooks/hris", content=body, headers=signed(body)).raise_for_status()
    eventually(lambda: redis.exists("gatepost:heard:hris"))
    redis.rpush("gatepost:upkeep:okta", "channel:c-1 expires 2026-03-02T10:00:00Z")

    lines = _lines(gatepost("check", "--json", config=toml))

    used, unused = lines["sources.hris secret 1"], lines["sources.hris secret 2"]
    assert re.fullmatch(r"env:HRIS_WHSEC: last used \d+ seconds? ago", used["found"])
    assert (unused["ok"], unused["do"]) == (True, "")
    assert unused["found"] == "env:HRIS_WHSEC_OLD: never used"
    assert lines["sources.okta secret 1"]["found"] == "env:OKTA_HOOK_SECRET: never used"
    assert lines["sources.okta says"] == {
        "ok": None,
        "found": "channel:c-1 expires 2026-03-02T10:00:00Z",
        "do": "see to it at the vendor",
    }


def test_how_far_a_source_is_believed_is_told(
    redis: Redis, gatepost: Run, config_file: Callable[..., Path], tmp_path: Path
) -> None:
    """By what it proves itself, and that a directory is read before the word of one that signs nothing acts."""
    (tmp_path / "people.csv").write_text("external_id,status\nE1,active\n")
    okta = {"adapter": "okta", "secrets": ["env:OKTA_HOOK_SECRET"], "directory": "hr"}
    hris = {"adapter": "standard_webhooks", "secrets": ["env:HRIS_WHSEC"]}
    thin = {"adapter": "bamboohr", "secrets": ["env:OKTA_HOOK_SECRET"]}
    path = config_file(
        sources={"okta": okta, "hris": hris, "thin": thin, "whole": thin | {"directory": "hr"}},
        directories={"hr": {"adapter": "file", "path": "people.csv"}},
    )

    lines = _lines(gatepost("check", "--json", config=path))

    assert lines["sources.okta"]["found"].endswith("what it says is read in the directory hr before it acts")
    assert lines["sources.hris"]["found"] == "proves itself by a signed body and time"
    assert lines["sources.thin words"]["ok"] is None
    assert not {"sources.hris words", "sources.whole words"} & set(lines)
