"""What operators do: retry what failed, and send signed samples."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from lifecycle.event import State
from tests import seed
from tests.conftest import Serve
from tests.gatepost.conftest import Run
from tests.notices import canonical, okta, okta_entry


def _waiting(redis: Redis, lane: str) -> int:
    return len(redis.lrange(f"rq:queue:{lane}", 0, -1))


@pytest.mark.parametrize("name", ["evt-1", "event:hris:evt-1"])
def test_failed_event_is_offered_again(redis: Redis, gatepost: Run, toml: Path, name: str) -> None:
    """``gatepost retry`` takes the listed id or the event's own, and puts the event back into its lane."""
    seed.put(redis, seed.event())
    seed.settle(redis, "E1042", State.FAILED, reason="credentials")
    before = _waiting(redis, "leavers")

    done = gatepost("retry", name, config=toml)

    assert (done.returncode, done.stdout) == (0, f"{name}: offered again\n")
    assert redis.hget("gatepost:event:hris:evt-1", "state") == b"kept"
    assert _waiting(redis, "leavers") == before + 1
    assert redis.zcard("gatepost:failures") == 0


def test_what_is_unknown_does_not_stop_the_rest(redis: Redis, gatepost: Run, toml: Path) -> None:
    """Of several ids those that wait are retried; the others are named and the command fails."""
    seed.put(redis, seed.event("evt-1", "E1"), seed.event("evt-2", "E2"))
    seed.settle(redis, "E1", State.FAILED)
    seed.settle(redis, "E2", State.APPLIED)

    done = gatepost("retry", "evt-9", "evt-2", "evt-1", config=toml)

    assert done.returncode == 1
    assert done.stdout == "evt-1: offered again\n"
    assert done.stderr.splitlines() == ["no event 'evt-9'", "nothing called 'event:hris:evt-2' waits for a retry"]


def _held(redis: Redis, number: int) -> None:
    for place in range(1, number + 1):
        seed.put(redis, seed.event(f"evt-{place}", f"E{place}"))
        seed.settle(redis, f"E{place}", State.HELD, reason="too_many_leavers", holds=[seed.hold(f"evt-{place}")])


def test_held_events_are_released_and_dropped(redis: Redis, gatepost: Run, toml: Path) -> None:
    """Several at once, by the event's own id or a listed one; whoever typed it is on the event."""
    _held(redis, 3)
    before = _waiting(redis, "leavers")

    released = gatepost("release", "evt-1", "hris:evt-2", config=toml, GATEPOST_ACTOR="ada")
    dropped = gatepost("drop", "event:hris:evt-3", "--as", "bo", config=toml)

    assert (released.returncode, released.stdout) == (0, "evt-1: released\nhris:evt-2: released\n")
    assert (dropped.returncode, dropped.stdout) == (0, "event:hris:evt-3: dropped\n")
    rulings = [json.loads(redis.hget(f"gatepost:event:hris:evt-{each}", "ruling") or b"")[:2] for each in (1, 2, 3)]
    assert rulings == [["released", "ada"], ["released", "ada"], ["dropped", "bo"]]
    assert _waiting(redis, "leavers") == before + 3
    assert redis.zcard("gatepost:holds") == 0


def test_what_is_not_held_does_not_stop_the_rest(redis: Redis, gatepost: Run, toml: Path) -> None:
    """Each that cannot be released is named with why, and the command fails."""
    _held(redis, 1)
    seed.put(redis, seed.event("evt-8", "E8"))
    seed.settle(redis, "E8", State.APPLIED)

    done = gatepost("release", "evt-9", "evt-8", "evt-1", config=toml)

    assert (done.returncode, done.stdout) == (1, "evt-1: released\n")
    assert done.stderr.splitlines() == ["no event 'evt-9'", "hris:evt-8 is not held: it is applied"]


def test_release_of_what_no_limit_holds_says_that_it_is_only_tried_again(
    redis: Redis, gatepost: Run, toml: Path
) -> None:
    """Nobody is to believe that a doubt about the person was overruled."""
    seed.put(redis, seed.event("evt-1", "E1"))
    seed.settle(redis, "E1", State.HELD, reason="several_accounts")

    done = gatepost("release", "evt-1", config=toml)

    assert done.stdout == "evt-1: offered again; no safety limit holds it, so there is none to overrule\n"
    assert not redis.hexists("gatepost:event:hris:evt-1", "ruling")
    assert redis.hget("gatepost:event:hris:evt-1", "state") == b"kept"


def test_samples_are_signed_and_sent(serve: Serve, gatepost: Run, redis: Redis, toml: Path, tmp_path: Path) -> None:
    """``gatepost send`` signs a file as its source would; the receiver believes it and keeps the event."""
    receiver = serve()
    sample = tmp_path / "sample.json"

    said = {}
    for source, body in (("hris", canonical()), ("okta", okta(okta_entry("evt-1", user="E1042")))):
        sample.write_bytes(body)
        said[source] = gatepost("send", source, str(sample), "--to", receiver.url, config=toml)

    assert [done.returncode for done in said.values()] == [0, 0]
    assert said["hris"].stdout == '202 {"accepted": 1, "duplicates": 0, "ignored": 0}\n'
    assert said["okta"].stdout == "204\n"
    assert [redis.hget(f"gatepost:event:{source}:evt-1", "state") for source in said] == [b"kept", b"kept"]


def test_sample_that_is_refused_fails(
    serve: Serve, gatepost: Run, config_file: Callable[..., Path], tmp_path: Path
) -> None:
    """A receiver with another secret answers 401, and the command shows that and fails."""
    receiver = serve()
    sample = tmp_path / "sample.json"
    sample.write_bytes(canonical())
    other = {"hris": {"adapter": "standard_webhooks", "secrets": ["env:SIEM_WHSEC"]}}

    done = gatepost("send", "hris", str(sample), "--to", receiver.url, config=config_file(sources=other))

    assert done.returncode == 1
    assert done.stdout.startswith("401 ")


@pytest.mark.parametrize(
    ("source", "to", "ended"),
    [
        ("hris", "http://127.0.0.1:9", (1, "http://127.0.0.1:9/hooks/hris does not answer")),
        ("hris", "ftp://127.0.0.1", (1, "ftp://127.0.0.1/hooks/hris is not an http:// or https:// address")),
        ("workday", "http://127.0.0.1:9", (2, "sources: found no 'workday'; allowed: hris, okta")),
    ],
    ids=["nobody there", "no web address", "no such source"],
)
def test_sample_that_cannot_be_sent_is_a_sentence(
    gatepost: Run, toml: Path, tmp_path: Path, source: str, to: str, ended: tuple[int, str]
) -> None:
    """Nobody at the address, an address that is none: exit 1; a source that is not configured: 2; each one sentence."""
    sample = tmp_path / "sample.json"
    sample.write_bytes(canonical())

    done = gatepost("send", source, str(sample), "--to", to, config=toml)

    assert (done.returncode, done.stdout) == (ended[0], "")
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith(ended[1])


def test_notice_needs_a_receiver_to_be_read_again(redis: Redis, gatepost: Run, toml: Path) -> None:
    """A notice is read by the receiver alone; where none answers, the command says where it asked."""
    done = gatepost("retry", "notice:abc", "--url", "http://127.0.0.1:9", config=toml)

    assert (done.returncode, done.stdout) == (1, "")
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("http://127.0.0.1:9/v1/failures/notice%3Aabc/retry does not answer")


def test_unknown_notice_is_a_sentence(serve: Serve, gatepost: Run, toml: Path) -> None:
    """A notice that was never set aside cannot be read again: the receiver's own words, and exit 1."""
    done = gatepost("retry", "notice:abc", config=toml, GATEPOST_URL=serve().url)

    assert (done.returncode, done.stderr) == (1, "no notice 'abc' was set aside\n")


def test_retry_of_a_notice_needs_a_token(gatepost: Run, config_file: Callable[..., Path]) -> None:
    """Without ``service.admin_tokens`` the command says what is missing instead of asking a receiver in vain."""
    done = gatepost("retry", "notice:abc", config=config_file(service={}))

    assert done.returncode == 1
    assert "service.admin_tokens" in done.stderr
