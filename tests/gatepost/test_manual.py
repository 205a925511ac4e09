"""``gatepost manual`` and ``gatepost handshake``, and whole requests as samples of ``gatepost send``."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from redis import Redis

from service.sources import SOURCES
from tests.conftest import Serve
from tests.gatepost.conftest import Run
from tests.notices import FIXTURES
from workers.directories import DIRECTORIES


def test_every_source_has_a_page(gatepost: Run, tmp_path: Path) -> None:
    """Its set-up, its words, and where the vendor says so."""
    listed = gatepost("manual").stdout.split()
    written = gatepost("manual", "--out", str(tmp_path / "pages"))

    assert set(listed) == set(SOURCES) | {f"directories/{name}" for name in DIRECTORIES} | {"signals"}
    assert written.returncode == 0
    pages = {name: (tmp_path / "pages" / f"{name}.md").read_text() for name in listed}
    assert all(page.startswith(f"# {name}\n") for name, page in pages.items())
    okta = gatepost("manual", "okta").stdout
    assert okta.strip() == pages["okta"].strip()
    assert "Set-up at Okta" in okta
    assert "| `user.lifecycle.deactivate` | leaver |" in okta
    assert "| `base_url` | required | The organisation" in pages["directories/okta"]
    assert "| `stream.token_url` |" in pages["ssf"]


def test_unknown_page_is_a_sentence(gatepost: Run) -> None:
    """With the names that there are."""
    done = gatepost("manual", "workday")

    assert done.returncode == 1
    assert done.stderr.startswith("no page called 'workday'; there are: ")


def test_token_of_a_handshake_is_shown_and_forgotten(redis: Redis, gatepost: Run, toml: Path) -> None:
    """An operator confirms it at the vendor; nobody else is shown it."""
    doc = {"token": "the-token", "at": int(datetime.now(UTC).timestamp() * 1000)}
    redis.set("gatepost:handshake:okta", json.dumps(doc))

    checked = gatepost("check", config=toml)
    shown = gatepost("handshake", "okta", "--json", config=toml)
    forgotten = gatepost("handshake", "okta", "--forget", config=toml)
    again = gatepost("handshake", "okta", config=toml)

    assert "gatepost handshake okta" in " ".join(checked.stdout.split())
    assert "the-token" not in checked.stdout
    assert json.loads(shown.stdout)["token"] == "the-token"
    assert forgotten.stdout.splitlines()[1] == "the-token"
    assert (again.returncode, again.stderr) == (1, "source 'okta' has handed over no token\n")


@pytest.mark.parametrize("name", ["okta/user_deactivated", "okta/challenge"])
def test_whole_request_is_a_sample(serve: Serve, gatepost: Run, toml: Path, name: str) -> None:
    """A captured request is sent as it came, but for its credentials, which are made anew; a handshake as well."""
    receiver = serve()

    done = gatepost("send", "okta", str(FIXTURES / f"{name}.http"), "--to", receiver.url, config=toml)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("20")


def test_file_that_is_no_request_is_a_sentence(gatepost: Run, toml: Path, tmp_path: Path) -> None:
    """A captured request has a start line."""
    (tmp_path / "sample.http").write_text("{}")

    done = gatepost("send", "okta", str(tmp_path / "sample.http"), config=toml)

    assert done.returncode == 2
    assert "a captured request starts with METHOD TARGET VERSION" in done.stderr
