"""What comes between an attempt's last look and its settlement: it looks again, and nothing is lost or doubled."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from redis import Redis

from lifecycle.event import State
from lifecycle.people import People
from lifecycle.person import Hold, Person
from lifecycle.queue import lanes
from lifecycle.records import Records
from lifecycle.settlement import DROPPED, RELEASED, Delivery, Settled, Settlement, Step
from lifecycle.signal import Signal, make_signal
from tests.seed import NOW, event, hold, person, put, settle

LIMITED = Delivery(State.HELD, reason="too_many_leavers")


class Beset(People):
    """A person store in which something happens after the last look of a settlement, once."""

    then: Callable[[], object] | None = None

    def names_won(self, *arguments: Any, **more: Any) -> tuple[list[str], set[str]]:  # noqa: ANN401 - of the base
        """Let it happen."""
        then, self.then = self.then, None
        if then:
            then()
        return super().names_won(*arguments, **more)


@pytest.fixture
def people(redis: Redis) -> Beset:
    """Give the person store."""
    return Beset(redis, lanes(redis))


def alarm(told: str) -> Signal:
    """Make the alarm of one episode, by whoever met it."""
    return make_signal(
        "safety.held", person=told, event=told, target="", data={"event": told}, at=NOW, nonce="1", cause="leavers"
    )


def held(people: People, key: str, *, tried: bool = False, holds: Sequence[Hold] = (), signals: Any = ()) -> Settled:  # noqa: ANN401
    """Return what an attempt changes that holds all that waits; ``tried``: and is to be tried on another target."""
    state = State.POSTPONED if tried else State.HELD
    deliveries = {"crm": LIMITED} | ({"desk": Delivery(State.POSTPONED)} if tried else {})
    step = Step(NOW, "settle", {})
    found = [
        Settlement(kept, state, deliveries, (step,), "too_many_leavers", is_hold=True) for kept in people.mailbox(key)
    ]
    return Settled(person(key).model_copy(update={"holds": tuple(holds)}), found, signals=signals)


def token_of(people: People, key: str = "E1042") -> str:
    """Take a person."""
    token = people.take(key)
    assert token is not None
    return token


def test_alarm_of_an_episode_is_the_first_ones(people: Beset, redis: Redis) -> None:
    """Two persons are held in the same moment: the second one finds the alarm told, and its own body is nowhere."""
    put(redis, event("a", "E1"), event("b", "E2"))
    other = People(redis, lanes(redis))
    other_token, token = token_of(other, "E2"), token_of(people, "E1")
    people.then = lambda: other.settle(other_token, held(other, "E2", signals=[alarm("b")]))

    people.settle(token, held(people, "E1", signals=[alarm("a")]))

    assert alarm("a").id == alarm("b").id
    assert redis.hget(f"gatepost:signal:{alarm('a').id}", "body") == alarm("b").body.encode()
    assert redis.xlen("gatepost:outbox") == 1
    assert redis.hget("gatepost:event:hris:a", "state") == b"held"


@pytest.mark.parametrize("verdict", [RELEASED, DROPPED])
def test_ruling_in_the_last_moment_keeps_the_event_open(people: Beset, redis: Redis, verdict: str) -> None:
    """It is held on one target and tried on another, where it comes to its end just as somebody rules of it."""
    put(redis, event())
    first = held(people, "E1042", tried=True, holds=[hold()])
    token = token_of(people)
    people.settle(token, first)
    people.then = lambda: Records(redis).rule("evt-1", ["hris"], verdict, actor="ada")
    token = token_of(people)

    more = people.settle(token, held(people, "E1042", holds=[hold()]))

    assert more
    (kept,) = people.mailbox("E1042")
    assert kept.ruling is not None
    assert (kept.ruling.verdict, kept.state) == (verdict, State.POSTPONED)
    assert redis.zcard("gatepost:holds") == 0
    assert redis.zcard("gatepost:failures") == 0


def test_held_event_of_which_somebody_rules_is_not_put_back_twice(people: Beset, redis: Redis) -> None:
    """Its hold ends in the same moment: it is in the mailbox once, with the ruling."""
    put(redis, event())
    settle(redis, "E1042", State.HELD, reason="too_many_leavers", holds=[hold()])
    put(redis, event("back"))
    people.then = lambda: Records(redis).rule("evt-1", ["hris"], RELEASED, actor="ada")
    token = token_of(people)
    (back,) = people.mailbox("E1042")

    more = people.settle(token, Settled(person(), [Settlement(back, State.APPLIED, {}, ())]))

    assert more
    (kept,) = people.mailbox("E1042")
    assert (kept.event.id, kept.ruling is not None) == ("evt-1", True)


def test_event_whose_hold_ended_is_put_back(people: Beset, redis: Redis) -> None:
    """With its mailbox, its state and its place in the lists; the lease is kept, so that it is looked at now."""
    put(redis, event())
    settle(redis, "E1042", State.HELD, reason="too_many_leavers", holds=[hold()])
    put(redis, event("back"))
    token = token_of(people)
    (back,) = people.mailbox("E1042")

    more = people.settle(token, Settled(person(), [Settlement(back, State.APPLIED, {}, ())]))

    assert more
    (kept,) = people.mailbox("E1042")
    assert (kept.state, kept.deliveries["crm"].outcome) == (State.KEPT, State.POSTPONED)
    assert redis.zcard("gatepost:holds") == redis.zcard("gatepost:failures") == 0
    assert redis.zrange("gatepost:events:kept", 0, -1) == [b"hris:evt-1"]
    assert redis.exists("gatepost:lease:E1042")


def test_event_that_expired_is_nobodys(people: Beset, redis: Redis) -> None:
    """A hold may outlive the record of what was held with it."""
    put(redis, event())
    settle(redis, "E1042", State.APPLIED, holds=[hold("long-gone")])
    put(redis, event("next"))
    token = token_of(people)
    (following,) = people.mailbox("E1042")

    assert not people.settle(token, Settled(Person(key="E1042"), [Settlement(following, State.APPLIED, {}, ())]))
