"""Delivery of signals: real Redis, and a receiver on loopback that checks what it gets with the published libraries."""

import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
import standardwebhooks
import svix
from redis import Redis

from lifecycle import keys
from lifecycle.people import People
from lifecycle.person import Person
from lifecycle.queue import lanes
from lifecycle.records import Records
from lifecycle.settlement import Settled
from lifecycle.signal import RETRY_AFTER_SECONDS_MAX, RETRY_JITTER, RETRY_SECONDS, Signal, make_signal
from tests.conftest import SUBSCRIBER_SECRET, MakeConfig, free_port
from tests.lossy import lossy
from tests.redis_server import RedisServer
from tests.workers.receiver import Receiver, Taken, told
from workers.deliver import ANSWER_BYTES_KEPT, Deliverer
from workers.http import Http

OLD_SECRET = "whsec_b2xkLXNlY3JldC1vZi1hLXN1YnNjcmliZXItISE="
SLACK = timedelta(seconds=3)
DATA = {"person": {"external_id": "E1042", "user_name": "bo ø 界"}, "latency_ms": 412}


class Post(NamedTuple):
    """A post office: who subscribes, what is kept, and a signal on its way."""

    redis: Redis
    deliverer: Deliverer
    records: Records
    signal: Signal

    def attempt(self, name: str = "siem") -> dict[str, Any]:
        """Make one attempt and return where the delivery stands."""
        self.deliverer.deliver(self.signal.id, name)
        (found,) = self.records.signal(self.signal.id)["deliveries"]
        return dict(found)

    def due_at(self) -> datetime:
        """Return when the one scheduled attempt is due; it is taken out of the schedule."""
        found: Any = self.redis.zrange("rq:scheduled:signals", 0, -1, withscores=True)
        ((job, score),) = found
        self.redis.zrem("rq:scheduled:signals", job)
        return datetime.fromtimestamp(score, UTC)

    def failures(self) -> list[str]:
        """Return what waits for a person."""
        return [failure["id"] for failure in self.records.failures().items]


MakePost = Callable[..., Post]


@pytest.fixture
def make_post(redis: Redis, config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> MakePost:
    """Make a post office for one subscriber: ``make_post(url)``."""
    monkeypatch.setenv("SIEM_WHSEC_OLD", OLD_SECRET)

    def make(url: str, *, bytes_max: int = 65_536, **section: Any) -> Post:  # noqa: ANN401 - configuration
        default = {"url": url, "secrets": ["env:SIEM_WHSEC"], "allow_private": True}
        found = config(subscribers={"siem": default | section})
        people = People(redis, lanes(redis))
        token = people.take("E1042")
        signal = make_signal(
            "person.suspended", person="E1042", event="hris:e1", target="crm", data=DATA, at=datetime.now(UTC)
        )
        people.settle(str(token), Settled(Person(key="E1042"), [], [(signal, ["siem"])]))
        http = Http(bytes_max=bytes_max)
        return Post(redis, Deliverer(redis, lanes(redis), dict(found.subscribers), http), Records(redis), signal)

    return make


def verify(taken: Taken, secret: str = SUBSCRIBER_SECRET) -> None:
    """Let both published libraries check a signal; each raises its own error for one that does not fit."""
    standardwebhooks.Webhook(secret).verify(taken.body.decode(), taken.headers)
    svix.Webhook(secret).verify(taken.body.decode(), taken.headers)


def test_name_with_an_address_where_nobody_listens_is_reached_by_its_next(
    make_post: MakePost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subscriber may listen on one of its name's addresses only: one attempt asks each in turn."""
    with Receiver() as receiver:
        places = [(family, 1, 6, "", (host, receiver.port)) for family, host in ((10, "::1"), (2, "127.0.0.1"))]
        monkeypatch.setattr("socket.getaddrinfo", lambda *_args, **_options: places)
        post = make_post(receiver.url)

        found = post.attempt()

    assert (found["state"], found["attempts"]) == ("delivered", 1)


def test_signal_is_delivered_and_verified_by_the_published_libraries(make_post: MakePost) -> None:
    """What we sign, the libraries that subscribers use accept; a secret of somebody else does not fit."""
    with Receiver() as receiver:
        post = make_post(receiver.url)

        found = post.attempt()

    (taken,) = receiver.taken
    verify(taken)
    assert (found["state"], found["attempts"], found["next_attempt_at"]) == ("delivered", 1, None)
    assert taken.path == "/hooks/gatepost"
    assert taken.headers["content-type"] == "application/json"
    assert taken.headers["webhook-id"] == post.signal.id
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verify(taken, OLD_SECRET)
    with pytest.raises(svix.WebhookVerificationError):
        svix.Webhook(SUBSCRIBER_SECRET).verify(taken.body.decode() + " ", taken.headers)


def test_every_secret_of_a_rotation_signs(make_post: MakePost) -> None:
    """A receiver may switch to the new secret at its own moment."""
    with Receiver() as receiver:
        make_post(receiver.url, secrets=["env:SIEM_WHSEC", "env:SIEM_WHSEC_OLD"]).attempt()

    verify(receiver.taken[0], SUBSCRIBER_SECRET)
    verify(receiver.taken[0], OLD_SECRET)


def test_body_is_sent_byte_for_byte_and_the_id_stays(make_post: MakePost) -> None:
    """Over all attempts a signal is the same to the receiver; only its time and signature are new."""
    with Receiver([told(500), told(503), told(204)]) as receiver:
        post = make_post(receiver.url)
        for _ in range(3):
            post.attempt()

    assert {post.signal.body.encode()} == {taken.body for taken in receiver.taken}
    assert {post.signal.id} == {taken.headers["webhook-id"] for taken in receiver.taken}
    assert len(receiver.taken) == 3
    for taken in receiver.taken:
        verify(taken)


def test_every_attempt_is_recorded(make_post: MakePost) -> None:
    """When, what was answered, how long it took: an operator can show it to the subscriber."""
    with Receiver([told(500, b"out of order"), told(202)]) as receiver:
        post = make_post(receiver.url)
        post.attempt()

        found = post.attempt()

    first, second = found["tried"]
    assert (first["number"], first["status"], first["answer"]) == (1, 500, "out of order")
    assert (second["number"], second["status"]) == (2, 202)
    assert all(datetime.fromisoformat(each["at"]).tzinfo and each["duration_ms"] >= 0 for each in found["tried"])


def test_attempts_follow_the_schedule_within_its_jitter(make_post: MakePost) -> None:
    """Each wait is the schedule's, moved by up to a fifth; after the last one the delivery has failed and is listed."""
    with Receiver([told(500)] * 20) as receiver:
        post = make_post(receiver.url)
        for seconds in RETRY_SECONDS:
            now = datetime.now(UTC)
            found = post.attempt()
            wait = post.due_at() - now

            assert found["state"] == "waiting"
            assert timedelta(seconds=seconds * (1 - RETRY_JITTER)) <= wait
            assert wait <= timedelta(seconds=seconds * (1 + RETRY_JITTER)) + SLACK
        before = post.failures()

        last = post.attempt()
        post.attempt()

    assert before == []
    assert ("failed", "500", len(RETRY_SECONDS) + 1) == (last["state"], last["reason"], last["attempts"])
    assert [f"signal:{post.signal.id}:siem"] == post.failures()
    assert len(RETRY_SECONDS) + 1 == len(receiver.taken)


def test_waits_differ(make_post: MakePost) -> None:
    """A thousand signals that failed together do not come back together."""
    waits = set()
    with Receiver([told(500)] * 20) as receiver:
        post = make_post(receiver.url)
        for _ in range(8):
            post.redis.hset(keys.delivery(post.signal.id, "siem"), "attempts", 2)
            now = datetime.now(UTC)
            post.attempt()
            waits.add(round((post.due_at() - now).total_seconds()))

    assert len(waits) > 3


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("600", 600, 600), ("1", 4, 6), ("999999999", RETRY_AFTER_SECONDS_MAX, RETRY_AFTER_SECONDS_MAX), ("soon", 4, 6)],
)
@pytest.mark.parametrize("status", [429, 503])
def test_time_that_the_receiver_names_is_obeyed_within_bounds(
    make_post: MakePost,
    status: int,
    text: str,
    low: int,
    high: int,
) -> None:
    """Retry-After makes the wait longer, never shorter than the schedule, and never longer than a day."""
    with Receiver([told(status, retry_after=text)]) as receiver:
        post = make_post(receiver.url)
        now = datetime.now(UTC)
        post.attempt()

    wait = post.due_at() - now
    assert timedelta(seconds=low) <= wait + timedelta(milliseconds=1)
    assert wait <= timedelta(seconds=high) + SLACK


def test_gone_is_final(make_post: MakePost) -> None:
    """410 says that nobody listens there any more (Standard Webhooks): no further attempt, and a person is told."""
    with Receiver([told(410)]) as receiver:
        post = make_post(receiver.url)

        found = post.attempt()
        post.attempt()

    assert (found["state"], found["reason"]) == ("failed", "410")
    assert [f"signal:{post.signal.id}:siem"] == post.failures()
    assert post.redis.zcard("rq:scheduled:signals") == 0
    assert len(receiver.taken) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_a_failure_and_is_not_followed(make_post: MakePost, status: int) -> None:
    """A signal goes where the configuration says, or nowhere; a redirect could lead past the guard."""
    with Receiver() as elsewhere, Receiver([told(status, location=elsewhere.url)]) as receiver:
        found = make_post(receiver.url).attempt()

    assert ("waiting", str(status)) == (found["state"], found["reason"])
    assert elsewhere.taken == []


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_is_success(make_post: MakePost, status: int) -> None:
    """Standard Webhooks asks for no more."""
    with Receiver([told(status)]) as receiver:
        assert make_post(receiver.url).attempt()["state"] == "delivered"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 500, 502])
def test_everything_else_is_tried_again(make_post: MakePost, status: int) -> None:
    """A receiver that is being rolled out may answer anything for a while."""
    with Receiver([told(status)]) as receiver:
        assert make_post(receiver.url).attempt()["state"] == "waiting"


def test_big_answer_is_capped(make_post: MakePost) -> None:
    """A receiver cannot fill our memory or our records."""
    with Receiver([told(200, b"x" * 3_000_000)]) as receiver:
        found = make_post(receiver.url, bytes_max=10_000).attempt()

    assert found["state"] == "delivered"
    assert len(found["tried"][0]["answer"]) == ANSWER_BYTES_KEPT


def test_receiver_that_is_away_is_tried_again(make_post: MakePost) -> None:
    """Nobody listens: the attempt is recorded with its reason, the next one is in the schedule."""
    post = make_post(f"http://127.0.0.1:{free_port()}/")
    now = datetime.now(UTC)

    found = post.attempt()

    assert (found["state"], found["reason"]) == ("waiting", "unreachable")
    assert now < post.due_at()


def test_private_address_is_refused_at_once(make_post: MakePost) -> None:
    """A name that leads inside is no matter of time: nothing is sent, and a person is told."""
    with Receiver() as receiver:
        url = receiver.url.replace("http://", "https://")
        post = make_post(url, allow_private=False)

        found = post.attempt()

    assert (found["state"], found["reason"]) == ("failed", "private_address")
    assert [f"signal:{post.signal.id}:siem"] == post.failures()
    assert receiver.taken == []


def test_subscriber_that_is_no_longer_configured_ends_the_delivery(make_post: MakePost, redis: Redis) -> None:
    """The job of a subscriber that was taken out of the configuration ends among the failures."""
    post = make_post("http://127.0.0.1:9/")
    gone = Deliverer(redis, lanes(redis), {}, Http())

    gone.deliver(post.signal.id, "siem")

    (found,) = post.records.signal(post.signal.id)["deliveries"]
    assert (found["state"], found["reason"]) == ("failed", "subscriber_unknown")


def test_delivery_that_has_ended_is_left_alone(make_post: MakePost) -> None:
    """A job that runs twice sends once."""
    with Receiver() as receiver:
        post = make_post(receiver.url)
        post.attempt()
        post.attempt()

    assert len(receiver.taken) == 1


def test_delivery_that_has_ended_is_no_more_to_be_looked_for(make_post: MakePost, redis: Redis) -> None:
    """A job that comes for one that ended takes it off the list of what is on its way."""
    with Receiver() as receiver:
        post = make_post(receiver.url)
        post.attempt()
        redis.zadd(keys.UNDELIVERED, {f"{post.signal.id}:siem": 1})

        post.attempt()

    assert redis.zcard(keys.UNDELIVERED) == 0
    assert len(receiver.taken) == 1


def test_attempt_is_recorded_once_where_redis_dies_before_it_says_so(
    make_post: MakePost, redis_server: RedisServer
) -> None:
    """The step is made again, and finds that it was made: one attempt, counted once."""
    with Receiver() as receiver:
        post = make_post(receiver.url)
        client, answers = lossy(redis_server.url)
        deliverer = Deliverer(client, lanes(client), post.deliverer._subscribers, Http())

        answers.armed = True
        deliverer.deliver(post.signal.id, "siem")
        client.close()
        found = post.attempt()

    counted: Any = post.redis.hget(keys.METRICS, json.dumps(["gatepost_signals", "siem", "delivered"]))
    assert not answers.armed
    kept = post.redis.llen(keys.attempts(post.signal.id, "siem"))
    assert (found["state"], found["attempts"], kept, counted) == ("delivered", 1, 1, b"1")


def test_signal_that_is_forgotten_is_not_sent(make_post: MakePost) -> None:
    """A job that outlived its signal ends quietly."""
    with Receiver() as receiver:
        post = make_post(receiver.url)
        post.deliverer.deliver("sig_unknown", "siem")

    assert receiver.taken == []


def test_failed_signal_that_is_retried_goes_out_again(make_post: MakePost) -> None:
    """A person asks for it: the same signal under the same id, and it leaves the list of failures."""
    with Receiver([told(410), told(204)]) as receiver:
        post = make_post(receiver.url)
        post.attempt()
        post.records.retry(f"signal:{post.signal.id}:siem", actor="anna")

        found = post.attempt()

    assert found["state"] == "delivered"
    assert post.failures() == []
    assert {post.signal.id} == {taken.headers["webhook-id"] for taken in receiver.taken}


def test_secret_and_address_are_in_no_record(make_post: MakePost, redis: Redis) -> None:
    """What is kept of a delivery can be shown to anybody who may see the list."""
    with Receiver([told(500, b"no")]) as receiver:
        post = make_post(f"{receiver.url}?key=of-the-subscriber")
        found = json.dumps(post.attempt())

    assert SUBSCRIBER_SECRET not in found
    assert "of-the-subscriber" not in found


def test_host_header_is_the_name_and_the_connection_goes_to_the_address(
    make_post: MakePost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver that serves several names sees the one that is configured, although an address was dialled."""
    real: Callable[..., list[Any]] = socket.getaddrinfo

    def resolve(host: str, *rest: Any, **named: Any) -> list[Any]:  # noqa: ANN401 - the resolver's own
        return real("127.0.0.1" if host == "siem.example" else host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with Receiver() as receiver:
        found = make_post(f"http://siem.example:{receiver.port}/hook").attempt()

    assert found["state"] == "delivered"
    assert receiver.taken[0].headers["host"] == f"siem.example:{receiver.port}"
