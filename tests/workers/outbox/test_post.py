"""Delivery of signals: real Redis, and receivers on loopback that check what they get with the published libraries."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import standardwebhooks
import svix
from redis import Redis

from lifecycle import keys
from lifecycle.signal import RETRY_AFTER_SECONDS_MAX, RETRY_JITTER, RETRY_SECONDS
from tests.conftest import SUBSCRIBER_SECRET, free_port
from tests.workers.outbox.conftest import OLD_SECRET, Open, signal
from tests.workers.receiver import Receiver, Taken, told
from workers.outbox.post import ANSWER_BYTES_KEPT
from workers.subscribers.carrier import Carrier

SLACK = timedelta(seconds=3)


def verify(taken: Taken, secret: str = SUBSCRIBER_SECRET) -> None:
    """Let both published libraries check a signal; each raises its own error for one that does not fit."""
    standardwebhooks.Webhook(secret).verify(taken.body.decode(), taken.headers)
    svix.Webhook(secret).verify(taken.body.decode(), taken.headers)


async def test_signal_is_delivered_and_verified_by_the_published_libraries(office: Open) -> None:
    """What we sign, the libraries that subscribers use accept; a secret of somebody else does not fit."""
    with Receiver() as receiver:
        here, one = await office(receiver.url), signal()

        await here.tell(one)

    (taken,) = receiver.taken
    verify(taken)
    found = here.delivery(one)
    assert (found["state"], found["attempts"], found["next_attempt_at"]) == ("delivered", 1, None)
    assert taken.path == "/hooks/gatepost"
    assert taken.headers["content-type"] == "application/json"
    assert taken.headers["webhook-id"] == one.id
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verify(taken, OLD_SECRET)
    with pytest.raises(svix.WebhookVerificationError):
        svix.Webhook(SUBSCRIBER_SECRET).verify(taken.body.decode() + " ", taken.headers)


async def test_every_secret_of_a_rotation_signs(office: Open) -> None:
    """A receiver may switch to the new secret at its own moment."""
    with Receiver() as receiver:
        here = await office(siem={"url": receiver.url, "secrets": ["env:SIEM_WHSEC", "env:SIEM_WHSEC_OLD"]})

        await here.tell(signal())

    verify(receiver.taken[0], SUBSCRIBER_SECRET)
    verify(receiver.taken[0], OLD_SECRET)


async def test_body_is_sent_byte_for_byte_and_the_id_stays(office: Open) -> None:
    """Over all attempts a signal is the same to the receiver; only its time and signature are new."""
    with Receiver([told(500), told(503), told(204)]) as receiver:
        here, one = await office(receiver.url), signal()
        await here.tell(one)
        await here.again()
        await here.again()

    assert {one.body.encode()} == {taken.body for taken in receiver.taken}
    assert {one.id} == {taken.headers["webhook-id"] for taken in receiver.taken}
    assert len(receiver.taken) == 3
    for taken in receiver.taken:
        verify(taken)


async def test_every_attempt_is_recorded(office: Open) -> None:
    """When, what was answered, how long it took: an operator can show it to the subscriber."""
    with Receiver([told(500, b"out of order"), told(202)]) as receiver:
        here, one = await office(receiver.url), signal()
        await here.tell(one)
        await here.again()

    first, second = here.delivery(one)["tried"]
    assert (first["number"], first["status"], first["answer"]) == (1, 500, "out of order")
    assert (second["number"], second["status"]) == (2, 202)
    assert all(datetime.fromisoformat(each["at"]).tzinfo and each["duration_ms"] >= 0 for each in (first, second))
    assert (here.counted("retried"), here.counted("delivered")) == (1, 1)


async def test_attempts_follow_the_schedule_within_its_jitter(office: Open) -> None:
    """Each wait is the schedule's, moved by up to a fifth; after the last one the delivery has failed and is listed."""
    with Receiver([told(500)] * 20) as receiver:
        here, one = await office(receiver.url), signal()
        here.keep(one)
        await here.spread()
        for seconds in RETRY_SECONDS:
            now = datetime.now(UTC)
            await here.again()
            wait = here.due_at(one) - now

            assert here.delivery(one)["state"] == "waiting"
            assert timedelta(seconds=seconds * (1 - RETRY_JITTER)) <= wait + timedelta(milliseconds=2)
            assert wait <= timedelta(seconds=seconds * (1 + RETRY_JITTER)) + SLACK
        before = here.failures()

        await here.again()
        await here.again()

    last = here.delivery(one)
    assert before == []
    assert ("failed", "500", len(RETRY_SECONDS) + 1) == (last["state"], last["reason"], last["attempts"])
    assert [f"signal:{one.id}:siem"] == here.failures()
    assert len(RETRY_SECONDS) + 1 == len(receiver.taken) == len(last["tried"])


async def test_waits_differ(office: Open) -> None:
    """A hundred signals that failed together do not come back together."""
    ones = [signal(str(number), person=f"E{number}") for number in range(8)]
    with Receiver([told(500)] * 20) as receiver:
        here = await office(receiver.url)
        await here.tell(*ones)

    waits = {round((here.due_at(one) - datetime.now(UTC)).total_seconds(), 1) for one in ones}
    assert len(waits) > 3


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("600", 600, 600), ("1", 4, 6), ("999999999", RETRY_AFTER_SECONDS_MAX, RETRY_AFTER_SECONDS_MAX), ("soon", 4, 6)],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_time_that_the_receiver_names_is_obeyed_within_bounds(
    office: Open, status: int, text: str, low: int, high: int
) -> None:
    """Retry-After makes the wait longer, never shorter than the schedule, and never longer than a day."""
    with Receiver([told(status, retry_after=text)]) as receiver:
        here, one = await office(receiver.url), signal()
        now = datetime.now(UTC)
        await here.tell(one)

    wait = here.due_at(one) - now
    assert timedelta(seconds=low) <= wait + timedelta(milliseconds=2)
    assert wait <= timedelta(seconds=high) + SLACK


async def test_receiver_that_asks_for_a_rest_gets_nothing_else_either(office: Open) -> None:
    """429 with Retry-After is said for all that is sent there: what is new waits too, without an attempt."""
    with Receiver([told(429, retry_after="60")]) as receiver:
        here, other = await office(receiver.url), signal("2", person="E2")
        await here.tell(signal())
        await here.tell(other)
        resting = here.delivery(other)

        await here.again()

    assert (resting["state"], resting["attempts"]) == ("waiting", 0)
    assert here.delivery(other)["state"] == "delivered"


async def test_gone_is_final_and_disables(office: Open) -> None:
    """410 says that nobody listens there any more: no further attempt, nothing new is sent, and the others are told."""
    with Receiver([told(410)]) as receiver, Receiver() as others:
        here, one, later = await office(siem={"url": receiver.url}, pager={"url": others.url}), signal(), signal("2")
        await here.tell(one)
        await here.spread()
        await here.again()
        await here.tell(later)

    found = here.delivery(one)
    types = [json.loads(taken.body)["type"] for taken in others.taken]
    assert (found["state"], found["reason"]) == ("failed", "410")
    assert [f"signal:{one.id}:siem"] == here.failures()
    assert len(receiver.taken) == 1
    assert here.delivery(later)["state"] == "waiting"
    assert types == ["person.suspended", "subscriber.disabled", "person.suspended"]
    assert json.loads(others.taken[1].body)["data"]["subscriber"] == "siem"


async def test_five_days_of_failure_disable(office: Open) -> None:
    """A subscriber that took nothing for so long is disabled, and the others are told why."""
    with Receiver([told(500)] * 3) as receiver, Receiver() as others:
        here = await office(siem={"url": receiver.url}, pager={"url": others.url})
        one = signal()
        await here.tell(one)
        days_ago = int((datetime.now(UTC) - timedelta(days=5, minutes=1)).timestamp() * 1000)
        here.redis.hset(keys.subscriber("siem"), "failing_since", days_ago)

        await here.again()
        await here.spread()
        await here.send()
        await here.again()

    assert here.redis.hget(keys.subscriber("siem"), "reason") == b"failing"
    assert len(receiver.taken) == 2
    assert json.loads(others.taken[-1].body)["data"]["reason"] == "failing"
    assert here.delivery(one)["state"] == "waiting"


async def test_failure_after_days_of_silence_begins_anew(office: Open) -> None:
    """Nobody tried meanwhile, so nobody knows that it was away all the time."""
    with Receiver([told(500)] * 3) as receiver:
        here = await office(receiver.url)
        await here.tell(signal())
        days_ago = int((datetime.now(UTC) - timedelta(days=6)).timestamp() * 1000)
        old: dict[Any, Any] = {"failing_since": days_ago, "last_failure_at": days_ago}
        here.redis.hset(keys.subscriber("siem"), mapping=old)

        await here.again()

    assert here.redis.hget(keys.subscriber("siem"), "disabled_at") is None


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_every_2xx_is_success(office: Open, status: int) -> None:
    """Standard Webhooks asks for no more."""
    with Receiver([told(status)]) as receiver:
        here, one = await office(receiver.url), signal()
        await here.tell(one)

    assert here.delivery(one)["state"] == "delivered"


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 409, 500, 502])
async def test_everything_else_is_tried_again(office: Open, status: int) -> None:
    """A receiver that is being rolled out may answer anything for a while; a redirect is not followed."""
    with Receiver() as elsewhere, Receiver([told(status, location=elsewhere.url)]) as receiver:
        here, one = await office(receiver.url), signal()
        await here.tell(one)

    assert (here.delivery(one)["state"], here.delivery(one)["reason"]) == ("waiting", str(status))
    assert elsewhere.taken == []


async def test_big_answer_is_capped(office: Open) -> None:
    """A receiver cannot fill our memory or our records."""
    with Receiver([told(200, b"x" * 3_000_000)]) as receiver:
        here, one = await office(receiver.url), signal()
        await here.tell(one)

    found = here.delivery(one)
    assert found["state"] == "delivered"
    assert len(found["tried"][0]["answer"]) == ANSWER_BYTES_KEPT


async def test_what_is_due_goes_out_as_its_subscriber_is_now(office: Open) -> None:
    """Whoever changed it a moment ago, and lets it go on, has seen the last of what it was before."""
    with Receiver() as old, Receiver() as new:
        here, one = await office(new.url), signal()
        here.keep(one)
        await here.spread()
        section = here.config.subscribers["siem"].model_copy(update={"url": old.url})
        here.known.roster = here.known.roster._replace(subscribers={"siem": section})
        here.redis.incr(keys.REVISION)

        await here.post.step()
        await here.post.settle()

    assert (len(old.taken), len(new.taken)) == (0, 1)


async def test_receiver_that_is_away_is_tried_again(office: Open) -> None:
    """Nobody listens: the attempt is recorded with its reason, the next one is in the line."""
    here, one = await office(f"http://127.0.0.1:{free_port()}/"), signal()
    now = datetime.now(UTC)

    await here.tell(one)

    found = here.delivery(one)
    assert (found["state"], found["reason"]) == ("waiting", "unreachable")
    assert found["tried"][0]["duration_ms"] >= 0
    assert now < here.due_at(one)


async def test_name_that_leads_inside_gets_nothing(office: Open) -> None:
    """The attempt is recorded with its reason, and the next one looks again: a name server may be mended."""
    with Receiver() as receiver:
        here, one = await office(siem={"url": "https://siem.example/hooks", "allow_private": False}), signal()
        inside = partial(Carrier, ports=frozenset({443}), connections_max=1, resolve=lambda _name, _port: ["127.0.0.1"])
        here.post._open = inside

        await here.tell(one)

    found = here.delivery(one)
    assert (found["state"], found["reason"]) == ("waiting", "private_address")
    assert receiver.taken == []


async def test_delivery_that_has_ended_is_left_alone(office: Open) -> None:
    """What was taken is not sent again, whoever looks for work."""
    with Receiver() as receiver:
        here = await office(receiver.url)
        await here.tell(signal())

        assert await here.again() == 0

    assert len(receiver.taken) == 1


async def test_attempt_that_is_recorded_again_counts_once(office: Open) -> None:
    """Redis died before it said so, or another process made the same attempt: one attempt, counted once."""
    with Receiver() as receiver:
        here, one = await office(receiver.url), signal()
        here.keep(one)
        await here.spread()
        (claim,) = await here.post._claim()
        known = await here.known.signals([one.id])
        await here.post._attempt(claim, known[one.id])
        await here.post._attempt(claim, known[one.id])

    kept = here.redis.llen(keys.attempts(one.id, "siem"))
    assert (here.delivery(one)["attempts"], kept, here.counted("delivered")) == (1, 1, 1)


async def test_failed_signal_that_is_retried_goes_out_again(office: Open) -> None:
    """A person asks for it: the same signal under the same id, and it leaves the list of failures."""
    with Receiver([told(500)] * 10) as receiver:
        here, one = await office(receiver.url), signal()
        here.keep(one)
        await here.spread()
        for _ in range(10):
            await here.again()
        assert here.failures() == [f"signal:{one.id}:siem"]

        here.records.retry(f"signal:{one.id}:siem", actor="anna")
        await here.again()

    assert here.delivery(one)["state"] == "delivered"
    assert here.failures() == []
    assert {one.id} == {taken.headers["webhook-id"] for taken in receiver.taken}


async def test_secret_and_address_are_in_no_record(office: Open, redis: Redis) -> None:
    """What is kept of a delivery can be shown to anybody who may see the list."""
    with Receiver([told(500, b"no")]) as receiver:
        here, one = await office(f"{receiver.url}?key=of-the-subscriber"), signal()
        await here.tell(one)

    found = json.dumps(here.delivery(one))
    assert SUBSCRIBER_SECRET not in found
    assert "of-the-subscriber" not in found


async def test_headers_of_its_own_are_sent(office: Open) -> None:
    """A subscriber behind a gateway may want more than a signature."""
    with Receiver() as receiver:
        here = await office(siem={"url": receiver.url, "headers": {"X-Tenant": "acme"}})
        await here.tell(signal())

    assert receiver.taken[0].headers["x-tenant"] == "acme"
