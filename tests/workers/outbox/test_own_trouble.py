"""Trouble of ours: every attempt is kept, and none of it counts against the subscriber."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from lifecycle import keys
from lifecycle.errors import Postponed, Refused
from lifecycle.outbox import FAILED, WAITING
from lifecycle.outbox_scripts import CIRCUIT_FAILURES
from lifecycle.subscriber import STANDARD_WEBHOOKS
from tests import transmitter
from tests.workers.outbox.conftest import Office, Open, signal
from tests.workers.receiver import Receiver, told
from workers.outbox.schedule import Says, unanswered
from workers.subscribers import standard_webhooks
from workers.subscribers.base import Reply, Verdict

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


def standing(here: Office) -> set[str]:
    """Return what is kept of how the subscriber stands, besides what waits for it."""
    found: Any = here.redis.hgetall(keys.subscriber("siem"))
    return {name.decode() for name in found} - {"waiting"}


def fails(_reply: Reply) -> tuple[Verdict, str]:
    """Judge an answer as nobody foresaw."""
    raise ZeroDivisionError


async def test_wait_that_nobody_can_reckon_is_one_attempt(office: Open) -> None:
    """A date of the receiver's that no calendar has: the schedule counts, as where there is none."""
    with Receiver([told(503, retry_after=f"Mon, 01 Jan 2030 00:00:00 +{10**20 - 1}")]) as receiver:
        here, one = await office(receiver.url), signal()
        await here.tell(one)

    assert (here.delivery(one)["state"], here.delivery(one)["attempts"]) == ("waiting", 1)


async def test_fault_of_ours_is_an_attempt_and_says_nothing_of_the_subscriber(office: Open) -> None:
    """Also one that comes after the answer: it is kept and waits by the schedule, and no circuit opens."""
    ones = [signal(str(number), person=f"E{number}") for number in range(CIRCUIT_FAILURES + 1)]
    with Receiver() as receiver:
        here = await office(receiver.url)
        odd: Any = SimpleNamespace(letter=standard_webhooks.letter, verdict=fails)
        here.post._formats = {STANDARD_WEBHOOKS: odd}
        await here.tell(*ones)

    found = here.delivery(ones[0])
    assert (found["state"], found["reason"], found["attempts"]) == ("waiting", "fault", 1)
    assert len(receiver.taken) == len(ones)
    assert standing(here) == set()


async def test_what_waits_for_one_of_another_format_fails_at_once(office: Open) -> None:
    """It would hold up what is new for days, and the well subscriber would seem to be away."""
    old = [signal(str(number), person=f"E{number}") for number in range(CIRCUIT_FAILURES + 1)]
    with Receiver() as receiver:
        here = await office(receiver.url)
        here.keep(*old)
        await here.spread()
        edr = transmitter.subscriber(url=receiver.url, allow_private=True)
        here.known.config = here.config.model_copy(update={"ssf": transmitter.ssf(), "subscribers": {"siem": edr}})
        await here.known.refresh()
        new = signal("new", person="E1")
        here.keep(new)
        await here.spread()
        while await here.send():
            pass
        came = [taken.headers["content-type"] for taken in receiver.taken]

        here.known.config = here.config
        await here.known.refresh()
        here.redis.rpush(keys.line("siem", "E9"), f"{new.id}~account-disabled")
        here.redis.zadd(keys.lines("siem"), {"E9": 1})
        await here.send()

    assert {(here.delivery(one)["state"], here.delivery(one)["reason"]) for one in old} == {
        ("failed", "no_security_event")
    }
    assert came == ["application/secevent+jwt"]
    assert len(receiver.taken) == 1
    assert here.redis.hget(keys.delivery(f"{new.id}~account-disabled", "siem"), "reason") == b"no_webhook"
    assert standing(here) == {"last_success_at"}


@pytest.mark.parametrize("reason", ["private_address", "port", "tls", "unreachable", "no_answer"])
def test_way_that_leads_nowhere_is_the_subscribers_trouble(reason: str) -> None:
    """It is to be mended over there, and an attempt may show that it was."""
    found = unanswered(Postponed("why", reason=reason), 1, NOW)

    assert (found.state, found.says, found.reason) == (WAITING, Says.ILL, reason)


@pytest.mark.parametrize("reason", ["fault", "ssf_missing", "headers", "url", "no_room"])
def test_what_we_cannot_send_is_not(reason: str) -> None:
    """It is tried again by the schedule, and the subscriber stands as it did."""
    found = unanswered(Refused("why", reason=reason), 1, NOW)

    assert (found.state, found.says, found.reason) == (WAITING, Says.NOTHING, reason)


@pytest.mark.parametrize("reason", ["no_security_event", "no_webhook"])
def test_what_is_of_another_format_is_not_tried_again(reason: str) -> None:
    """Days of attempts would end the same way."""
    found = unanswered(Refused("why", reason=reason), 1, NOW)

    assert (found.state, found.says, found.reason) == (FAILED, Says.NOTHING, reason)
