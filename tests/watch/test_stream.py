"""A transmitter goes on sending for as long as we want it to, and shows now and then that it does."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from redis import Redis

from lifecycle.hearing import upkeep, upkeep_commands
from lifecycle.secrets import Secret
from lifecycle.stream import Stream as Section
from lifecycle.verification import check_state
from lifecycle.watching import STREAM
from tests.watch.conftest import SOURCE, Clock, Watching, stands
from tests.watch.loopback import Reply
from tests.watch.transmitter import TOKEN, WELL_KNOWN, Transmitter
from workers.directories.api import Api
from workers.directories.credentials import Static
from workers.http import Http
from workers.watch import stream as module
from workers.watch.sources import Metadata
from workers.watch.stream import Stream

URL = "https://gatepost.acme.example/hooks/ssf"
SECRET = "authorization-header-of-the-tests"
SECTION = Section(token=Secret("env:T", TOKEN))


@pytest.fixture
def ssf() -> Iterator[Transmitter]:
    """Give a transmitter."""
    transmitter = Transmitter()
    yield transmitter
    transmitter.close()


class Make:
    """Makes the task of a source."""

    def __init__(self, redis: Redis, ssf: Transmitter, http: Http) -> None:
        """Keep what all have in common."""
        self._redis, self._ssf, self._http = redis, ssf, http

    def __call__(self, section: Section = SECTION, url: str | None = URL, *secrets: str) -> Stream:
        """Make it."""
        wanted = module.Transmitter(SOURCE, self._ssf.url, section, url, secrets or (SECRET,))
        metadata = Metadata(self._http, self._ssf.url, f"{self._ssf.url}{WELL_KNOWN}")
        return Stream(self._redis, wanted, metadata, lambda url: Api(url, Static("Bearer", TOKEN), self._http))


@pytest.fixture
def make(redis: Redis, ssf: Transmitter, http: Http) -> Make:
    """Make tasks: ``make(section, url, secret)``."""
    return Make(redis, ssf, http)


def say(redis: Redis, *words: str) -> None:
    """Let the receiver note what the transmitter said of the stream."""
    for command in upkeep_commands(SOURCE, words):
        redis.execute_command(*command)  # type: ignore[no-untyped-call]


def again(watching: Watching, task: Stream, clock: Clock, seconds: float = 301) -> None:
    """Let the next look come."""
    clock.go(seconds)
    watching(task).tick()


def test_stream_is_created_once_and_pushes_to_us(
    ssf: Transmitter, make: Make, watching: Watching, clock: Clock, redis: Redis
) -> None:
    """With our address and the header that the receiver compares."""
    task = make()
    watching(task).tick()
    again(watching, task, clock)

    (stream,) = ssf.streams.values()
    assert stream["delivery"] == {
        "method": "urn:ietf:rfc:8935",
        "endpoint_url": URL,
        "authorization_header": SECRET,
    }
    assert all("risc" in event for event in stream["events_requested"])
    assert stands(redis, STREAM).fault is None


def test_status_is_asked_for_so_that_the_stream_lives(
    ssf: Transmitter, make: Make, watching: Watching, clock: Clock
) -> None:
    """Receiving alone is no activity."""
    task = make()
    watching(task).tick()
    for _ in range(3):
        again(watching, task, clock)

    assert ssf.count("GET", "/status") == 3


def test_paused_stream_is_enabled_again(
    redis: Redis, ssf: Transmitter, make: Make, watching: Watching, clock: Clock
) -> None:
    """Also at once, when the transmitter says so."""
    task = make()
    watching(task).tick()
    (stream,) = ssf.streams
    ssf.status[stream] = "paused"
    say(redis, "stream-updated:paused")

    again(watching, task, clock, 2)

    assert ssf.status[stream] == "enabled"
    assert upkeep(redis, SOURCE) == []


def test_stream_that_stays_paused_is_a_fault(
    redis: Redis, ssf: Transmitter, make: Make, watching: Watching, clock: Clock
) -> None:
    """We are blind since it was last seen enabled."""
    task = make()
    watching(task).tick()
    done_at = stands(redis, STREAM).done_at
    ssf.keeps_paused = True
    ssf.status = dict.fromkeys(ssf.streams, "paused")

    again(watching, task, clock)

    assert "paused" in str(stands(redis, STREAM).fault)
    assert stands(redis, STREAM).blind_since == done_at


def test_deleted_stream_is_created_again(ssf: Transmitter, make: Make, watching: Watching, clock: Clock) -> None:
    """The transmitter may delete one after a time without activity."""
    task = make()
    watching(task).tick()
    ssf.streams.clear()

    again(watching, task, clock)

    assert len(ssf.streams) == 1


def test_another_secret_is_sent_to_the_transmitter(
    ssf: Transmitter, make: Make, watching: Watching, clock: Clock
) -> None:
    """The same stream, which loses nothing."""
    watching(make()).tick()
    (stream,) = ssf.streams

    again(watching, make(SECTION, URL, "next-header", SECRET), clock)

    assert list(ssf.streams) == [stream]
    assert ssf.streams[stream]["delivery"]["authorization_header"] == "next-header"


def test_only_stream_of_a_receiver_is_taken(ssf: Transmitter, make: Make, watching: Watching) -> None:
    """Where no second one is allowed, the one that is there is pointed at us."""
    stream = ssf.create(delivery={"method": "urn:ietf:rfc:8935", "endpoint_url": "https://old.example"})
    ssf.streams_max = 1

    watching(make()).tick()

    assert ssf.streams[stream]["delivery"]["endpoint_url"] == URL


def test_stream_that_is_named_is_only_kept_alive(
    ssf: Transmitter, make: Make, watching: Watching, clock: Clock
) -> None:
    """Without an address of ours nothing of it is changed."""
    stream = ssf.create(delivery={"endpoint_url": "https://by.hand.example"})
    task = make(SECTION.model_copy(update={"id": stream}), None)
    watching(task).tick()
    again(watching, task, clock)

    assert ssf.streams[stream]["delivery"] == {"endpoint_url": "https://by.hand.example"}
    assert ssf.count("GET", "/status") == 1


def test_verification_is_asked_for_with_a_state_that_the_receiver_knows(
    redis: Redis, ssf: Transmitter, make: Make, watching: Watching, clock: Clock
) -> None:
    """Once an hour; one that came is noted."""
    task = make()
    watching(task).tick()
    say(redis, "verification")
    again(watching, task, clock, 2)
    again(watching, task, clock, 3_000)
    soon = len(ssf.verifications)
    again(watching, task, clock, 700)

    (stream,) = ssf.streams
    assert (soon, len(ssf.verifications)) == (1, 2)
    assert ssf.verifications[0]["stream_id"] == stream
    assert check_state([SECRET], ssf.verifications[0]["state"], datetime.fromtimestamp(clock.now, UTC))
    assert "verified" in stands(redis, STREAM).shown


def test_verification_that_does_not_come_is_a_fault(
    redis: Redis, ssf: Transmitter, make: Make, watching: Watching, clock: Clock
) -> None:
    """The transmitter says that all is well, and nothing comes through; when one comes, it is mended."""
    task = make()
    watching(task).tick()
    for _ in range(4):
        again(watching, task, clock)
    failing = stands(redis, STREAM)
    say(redis, "verification")
    again(watching, task, clock)

    assert "no verification event came" in str(failing.fault)
    assert failing.blind_since is not None
    assert stands(redis, STREAM).fault is None


def test_metadata_of_another_issuer_are_not_believed(
    redis: Redis, ssf: Transmitter, make: Make, watching: Watching
) -> None:
    """The token would go to whatever they name."""
    ssf.faults = [Reply(200, {"issuer": "https://evil.example"})]

    watching(make()).tick()

    assert "issuer" in str(stands(redis, STREAM).fault)
    assert [each.path for each in ssf.asked] == [WELL_KNOWN]
