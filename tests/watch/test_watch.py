"""What operators see: since when a source is silent, since when we are blind, and up to where it was asked."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from redis import Redis

from lifecycle import keys
from lifecycle.check import Line
from lifecycle.config import Config, parse
from lifecycle.errors import Misconfigured
from lifecycle.hearing import heard_commands
from lifecycle.metrics import FleetCollector
from lifecycle.watching import POLL, SUBSCRIPTIONS, TASKS, Watch, name_sources
from tests.conftest import MakeConfig
from tests.watch.okta_org import TOKEN
from workers.check.watch import look_at
from workers.directories import opened
from workers.watch.sources import watching


def ago(seconds: float) -> float:
    """Return a moment in seconds since 1970, counted from when the test runs."""
    return time.time() - seconds


HOOK = "https://gatepost.acme.example/hooks/okta"


@pytest.fixture
def okta_config(config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401 - a function with keys of TOML
    """Make a configuration of an Okta source with its directory: ``okta_config(silent_after="2h")``."""
    monkeypatch.setenv("OKTA_API_TOKEN", TOKEN)

    def make(**source: Any) -> Config:  # noqa: ANN401 - TOML
        directory = {"adapter": "okta", "base_url": "http://127.0.0.1:9", "token": "env:OKTA_API_TOKEN"}
        section = {"adapter": "okta", "secrets": ["env:OKTA_HOOK_SECRET"], "directory": "okta", **source}
        return config(sources={"okta": section}, directories={"okta": directory})

    return make


def lines(redis: Redis, found: Config) -> dict[str, Line]:
    """Return what check says."""
    seen = watching(found, opened(found.directories), redis)
    return {line.what: line for line in look_at(redis, found, seen)}


def stood(redis: Redis, **known: Any) -> None:  # noqa: ANN401 - of a watch
    """Let the poll stand so."""
    watch = Watch(begun_at=ago(9_000), every_seconds=60, due_at=ago(-30), position="p", shown="...abc", **known)
    redis.hset(keys.watch("okta"), POLL, watch.model_dump_json())


def hear(redis: Redis, ago: float) -> None:
    """Let the source be heard so many seconds ago."""
    for command in heard_commands("okta", {"": datetime.now(UTC) - timedelta(seconds=ago)}):
        redis.execute_command(*command)  # type: ignore[no-untyped-call]


def test_source_that_is_heard_and_polled_is_well(redis: Redis, okta_config: Any) -> None:  # noqa: ANN401 - a fixture
    """Both lines say when, and up to where."""
    name_sources(redis, {"okta": [POLL]})
    hear(redis, 300)
    stood(redis, done_at=ago(20))

    found = lines(redis, okta_config())

    assert found["sources.okta heard"].ok is True
    assert found["sources.okta heard"].found == "5 minutes ago"
    assert found["sources.okta poll"].ok is True
    assert "...abc" in found["sources.okta poll"].found


def test_silence_is_a_fault_only_where_it_was_said_after_how_long(redis: Redis, okta_config: Any) -> None:  # noqa: ANN401
    """A small company is silent at night."""
    hear(redis, 8_000)
    stood(redis, done_at=ago(0))

    assert lines(redis, okta_config())["sources.okta heard"].ok is True
    assert lines(redis, okta_config(silent_after="3h"))["sources.okta heard"].ok is True
    assert lines(redis, okta_config(silent_after="2h"))["sources.okta heard"].ok is False


def test_never_heard_is_unsure_until_it_is_too_long(redis: Redis, okta_config: Any) -> None:  # noqa: ANN401
    """It counts from when the source was configured."""
    redis.hset(keys.watch("okta"), "since", str(ago(8_000)))

    assert lines(redis, okta_config())["sources.okta heard"].ok is None
    assert lines(redis, okta_config(silent_after="2h"))["sources.okta heard"].ok is False


def test_blindness_says_since_when_and_why(redis: Redis, okta_config: Any) -> None:  # noqa: ANN401
    """And what to do."""
    at = datetime(2026, 3, 2, 9, tzinfo=UTC).timestamp()
    stood(redis, blind_since=at, fault="credentials: 401 Invalid token provided", tries=7)

    line = lines(redis, okta_config())["sources.okta poll"]

    assert line.ok is False
    assert line.found == "blind since 2026-03-02 09:00:00Z, 7 tries: credentials: 401 Invalid token provided"
    assert line.do


def test_gap_that_is_being_filled_is_unsure(redis: Redis, okta_config: Any) -> None:  # noqa: ANN401
    """It will be well by itself."""
    stood(redis, blind_since=ago(100), note="everybody is looked up once")

    assert lines(redis, okta_config())["sources.okta poll"].ok is None


def test_part_that_is_refused_is_no_gap_that_is_being_filled(redis: Redis, okta_config: Any) -> None:  # noqa: ANN401
    """The rest is done; nobody but whoever gives the permission ends it."""
    stood(redis, blind_since=ago(9_000), done_at=ago(20), note="who was deleted cannot be asked for")

    line = lines(redis, okta_config())["sources.okta poll"]

    assert line.ok is False
    assert line.found.endswith("who was deleted cannot be asked for")
    assert "permission" in line.do


def test_what_was_missed_for_good_is_told_for_a_week(redis: Redis, okta_config: Any) -> None:  # noqa: ANN401
    """Though all goes well since."""
    stood(redis, done_at=ago(20), missed="what happened before is lost", missed_at=ago(6 * 86_400))
    found = lines(redis, okta_config())
    stood(redis, done_at=ago(20), missed="what happened before is lost", missed_at=ago(8 * 86_400))

    assert found["sources.okta poll"].ok is True
    assert found["sources.okta poll missed"].ok is None
    assert found["sources.okta poll missed"].found.endswith("what happened before is lost")
    assert "sources.okta poll missed" not in lines(redis, okta_config())


def test_moment_that_is_yet_to_come_is_a_fault(redis: Redis, okta_config: Any) -> None:  # noqa: ANN401
    """Nothing was done next week."""
    stood(redis, done_at=ago(-7 * 86_400))

    line = lines(redis, okta_config())["sources.okta poll"]

    assert line.ok is False
    assert "a clock of ours" in line.found


def test_permission_that_is_missing_is_unsure(redis: Redis, okta_config: Any) -> None:  # noqa: ANN401
    """All that may be told is told."""
    stood(redis, done_at=ago(20), note="members of groups are not watched")

    line = lines(redis, okta_config())["sources.okta poll"]

    assert line.ok is None
    assert line.found.endswith("members of groups are not watched")


def test_poll_that_nobody_makes_is_a_fault(redis: Redis, okta_config: Any) -> None:  # noqa: ANN401
    """All workers of the look-ups are dead: nobody is left to say so but the time."""
    stood(redis, done_at=ago(4_000))
    watch = Watch(begun_at=ago(9_000), every_seconds=60, due_at=ago(3_940), done_at=ago(4_000))
    redis.hset(keys.watch("okta"), POLL, watch.model_dump_json())

    line = lines(redis, okta_config())["sources.okta poll"]

    assert line.ok is False
    assert "nobody asks any more" in line.found


def test_poll_that_is_off_is_not_told(redis: Redis, okta_config: Any) -> None:  # noqa: ANN401
    """``poll = "0s"``."""
    assert lines(redis, okta_config(poll="0s")).keys() == {"sources.okta heard"}


def test_metrics_say_since_when(redis: Redis) -> None:
    """Silent and blind, in seconds, for each source; what is overdue counts as blind, though nobody notes it."""
    name_sources(redis, {"okta": [POLL, SUBSCRIPTIONS], "hris": TASKS})
    hear(redis, 300)
    stood(redis, done_at=ago(20))
    other = Watch(begun_at=ago(500), every_seconds=60, due_at=ago(400), done_at=ago(450))
    redis.hset(keys.watch("okta"), SUBSCRIPTIONS, other.model_dump_json())
    registry = CollectorRegistry()
    registry.register(FleetCollector(redis))

    text = generate_latest(registry).decode()

    found = {
        line.split(" ")[0]: float(line.split(" ")[1])
        for line in text.splitlines()
        if "gatepost_source_" in line and line[0] != "#"
    }
    assert found['gatepost_source_silent_seconds{source="okta"}'] == pytest.approx(300, abs=30)
    assert found['gatepost_source_silent_seconds{source="hris"}'] < 30
    assert found['gatepost_source_blind_seconds{source="okta"}'] == pytest.approx(450, abs=30)
    assert found['gatepost_source_blind_seconds{source="hris"}'] == 0


def test_source_that_is_gone_is_measured_no_more(redis: Redis) -> None:
    """What is known of it stays, for it may come back."""
    name_sources(redis, {"okta": [POLL], "hris": []})
    since = redis.hget(keys.watch("okta"), "since")
    name_sources(redis, {"hris": []})
    name_sources(redis, {"okta": [POLL]})

    assert redis.smembers(keys.SOURCES) == {b"okta"}
    assert redis.hget(keys.watch("okta"), "since") == since


def test_directory_that_cannot_tell_is_not_to_be_polled(config: MakeConfig, redis: Redis, tmp_path: Path) -> None:
    """The start says so."""
    section = {"adapter": "okta", "secrets": ["env:OKTA_HOOK_SECRET"], "directory": "people", "poll": "5m"}
    directories = {"people": {"adapter": "file", "path": str(tmp_path / "people.csv")}}
    found = config(sources={"okta": section}, directories=directories)

    with pytest.raises(Misconfigured) as raised:
        watching(found, opened(found.directories), redis)

    (line,) = raised.value.lines
    assert line.startswith("sources.okta.poll: found 300s; allowed: 0s")


def test_only_vendors_that_lose_notices_are_polled_unasked(okta_config: Any, redis: Redis) -> None:  # noqa: ANN401
    """Another source with the same directory would be told everything twice."""
    found = okta_config()
    other = okta_config(adapter="standard_webhooks")

    assert [task.name for task in watching(found, opened(found.directories), redis).tasks["okta"]] == [POLL]
    assert watching(other, opened(other.directories), redis).tasks["okta"] == []


def test_keys_of_a_stream_are_checked(raw_config: Any, tmp_path: Path, redis: Redis) -> None:  # noqa: ANN401
    """A typing error is found at the start, and a secret is a reference."""
    section = {"adapter": "ssf", "issuer": "https://idp.example", "stream": {"token": "literal"}}
    found = parse(raw_config(sources={"ssf": section}), tmp_path)

    with pytest.raises(Misconfigured) as raised:
        watching(found, {}, redis)

    (line,) = raised.value.lines
    assert line.startswith("sources.ssf.stream.token: found a literal; a literal is refused")
