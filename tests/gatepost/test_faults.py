"""What goes wrong is said in one sentence, with an exit code that scripts can tell apart, and never with a trace."""

from collections.abc import Callable
from pathlib import Path

import pytest

from service.sources import SOURCES
from tests.gatepost.conftest import Run
from tests.redis_server import RedisServer

COMMANDS = [("events",), ("why", "evt-1"), ("retry", "evt-1")]


def _id(command: tuple[str, ...]) -> str:
    return command[0]


@pytest.mark.parametrize("command", [("events",), ("up",), ("work", "--lane", "people")], ids=_id)
def test_wrong_configuration_names_key_found_and_allowed(
    config_file: Callable[..., Path], gatepost: Run, command: tuple[str, ...]
) -> None:
    """Every fault of the configuration is a line with the key, what was found and what is allowed; exit 2."""
    wrong = config_file(service={"max_body_bytes": 12, "admin_token": "env:GATEPOST_ADMIN_TOKEN"})

    done = gatepost(*command, config=wrong)

    assert (done.returncode, done.stdout) == (2, "")
    unknown, small = sorted(done.stderr.splitlines())
    assert unknown.startswith("service.admin_token: found ")
    assert unknown.endswith("; unknown key; allowed: max_body_bytes, admin_tokens")
    assert small == "service.max_body_bytes: found 12; allowed: greater than or equal to 1024"


@pytest.mark.parametrize("command", COMMANDS, ids=_id)
def test_redis_away_is_one_sentence(
    redis_server: RedisServer, toml: Path, gatepost: Run, command: tuple[str, ...]
) -> None:
    """While Redis is away a command says so in one sentence, without a trace, and exits 1."""
    redis_server.kill()

    done = gatepost(*command, config=toml)

    assert (done.returncode, done.stdout) == (1, "")
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("Redis does not answer: ")


def test_literal_secret_is_refused_and_not_repeated(config_file: Callable[..., Path], gatepost: Run) -> None:
    """A secret that was written out is refused; the message tells how to refer to one and does not show it."""
    wrong = config_file(sources={"okta": {"adapter": "okta", "secrets": ["opensesame"]}})

    done = gatepost("events", config=wrong)

    assert done.returncode == 2
    assert "sources.okta.secrets.0: found a literal" in done.stderr
    assert "env:NAME or file:PATH" in done.stderr
    assert "opensesame" not in done.stderr


def test_unknown_adapter_names_those_that_exist(config_file: Callable[..., Path], gatepost: Run) -> None:
    """A source of an unknown adapter ends the receiver's start with the adapters that there are."""
    wrong = config_file(sources={"hr": {"adapter": "workday", "secrets": ["env:OKTA_HOOK_SECRET"]}})

    done = gatepost("serve", config=wrong)

    assert done.returncode == 2
    allowed = ", ".join(sorted(SOURCES))
    assert done.stderr.splitlines()[-1] == f"sources.hr.adapter: found 'workday'; allowed: {allowed}"


def test_configuration_that_is_not_there(gatepost: Run, tmp_path: Path) -> None:
    """A file that does not exist is named, with the option that names another; exit 2."""
    done = gatepost("events", config=tmp_path / "nowhere.toml")

    assert done.returncode == 2
    assert done.stderr.startswith(f"{tmp_path / 'nowhere.toml'}: cannot be read")
    assert "--config" in done.stderr


def test_configuration_is_found_by_variable_and_in_the_folder(toml: Path, gatepost: Run) -> None:
    """Without ``--config`` the file is ``$GATEPOST_CONFIG``, else ``gatepost.toml`` in the folder."""
    by_variable = gatepost("events", GATEPOST_CONFIG=str(toml))
    in_folder = gatepost("events", folder=toml.parent)

    assert (by_variable.stdout, in_folder.stdout) == ("No events.\n", "No events.\n")


def test_unknown_lane_is_refused(toml: Path, gatepost: Run) -> None:
    """A lane that does not exist is refused with those that do."""
    done = gatepost("work", "--lane", "joiners", config=toml)

    assert done.returncode == 2
    assert "leavers" in done.stderr
