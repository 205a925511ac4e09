"""Whoever waits to hear what became of an event hears it, once it is so, and it stands in the event's timeline."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.event import Event, Kind, State
from lifecycle.leases import LeaseLost
from lifecycle.people import People
from lifecycle.person import Person
from lifecycle.queue import lanes
from lifecycle.settlement import DROPPED, Kept, Settled, Settlement, write_event
from tests.watch.conftest import START, Clock
from tests.watch.graph_tenant import BASE, GraphTenant
from tests.watch.loopback import Reply
from workers.directories.api import Api
from workers.watch.replies import Replies

PATH = "/identityGovernance/lifecycleWorkflows/workflows/w1/tasks/t1/taskProcessingResults/r1/resume"
AT = datetime.fromtimestamp(START, UTC)
EVENT = Event.model_validate(
    {
        "id": "r1",
        "source": "workflows",
        "kind": "leaver",
        "person": "u-1",
        "profile": {"external_id": "u-1"},
        "occurred_at": AT,
        "received_at": AT,
        "vendor_kind": "leaver",
        "reply_to": PATH,
    }
)


@pytest.fixture
def clock() -> Clock:
    """Give the clock of this machine, by which an event is settled; a test moves it on."""
    clock = Clock()
    clock.now = datetime.now(UTC).timestamp() + 1
    return clock


@pytest.fixture
def replies(redis: Redis, graph_api: Api, clock: Clock) -> Replies:
    """Give what tells them."""
    return Replies(redis, "w1", {"workflows": graph_api}, clock)


def settle(redis: Redis, state: State, reason: str | None = None, event: Event = EVENT) -> None:
    """Let an attempt end so."""
    redis.hset(keys.event(event.ref), "doc", event.to_json())
    redis.rpush(keys.trace(event.ref), json.dumps({"at": "", "step": "settle", "detail": {}}))
    with redis.pipeline() as pipe:
        write_event(pipe, Settlement(Kept(event, State.KEPT, {}), state, {}, (), reason))
        pipe.execute()


def steps(redis: Redis) -> list[dict[str, Any]]:
    """Return what the timeline says of the reply."""
    lines: Any = redis.lrange(keys.trace(EVENT.ref), 0, -1)
    found = [json.loads(line) for line in lines]
    return [line["detail"] for line in found if line["step"] == "reply"]


@pytest.mark.parametrize(("kind", "told"), [(Kind.LEAVER, "completed"), (Kind.MOVER, "failed")])
def test_leaver_who_was_none_is_told_as_failed(
    redis: Redis, graph: GraphTenant, replies: Replies, kind: Kind, told: str
) -> None:
    """An offboarding that runs before the account is disabled has locked nobody out, and hears that."""
    settle(redis, State.UNCHANGED, event=EVENT.model_copy(update={"kind": kind, "hint": Kind.LEAVER}))

    replies.send_due()

    assert graph.resumed == [(f"{BASE}{PATH}", told)]


@pytest.mark.parametrize(
    ("state", "reason", "told"),
    [
        (State.APPLIED, None, "completed"),
        (State.UNCHANGED, None, "completed"),
        (State.SUPERSEDED, None, "completed"),
        (State.IGNORED, "not_home", "completed"),
        (State.IGNORED, DROPPED, "failed"),
        (State.FAILED, "refused", "failed"),
    ],
)
def test_end_of_an_event_is_told(
    redis: Redis, graph: GraphTenant, replies: Replies, *, state: State, reason: str | None, told: str
) -> None:
    """By the words of the task, at the address that the event brought; once."""
    settle(redis, state, reason)

    replies.send_due()
    replies.send_due()

    assert graph.resumed == [(f"{BASE}{PATH}", told)]
    assert graph.asked[0].body == {
        "source": "gatepost",
        "type": "lifecycleEvent",
        "data": {"operationStatus": told},
    }
    assert steps(redis) == [{"operation": told, "outcome": "told", "status": 204}]
    assert not redis.exists(keys.REPLIES)


@pytest.mark.parametrize("state", [State.HELD, State.POSTPONED, State.SCHEDULED])
def test_what_is_not_at_its_end_is_not_told(redis: Redis, graph: GraphTenant, replies: Replies, state: State) -> None:
    """A human, the target or the date has the word."""
    settle(redis, state)

    replies.send_due()

    assert graph.asked == []


def test_note_is_part_of_the_step_that_settles(redis: Redis) -> None:
    """Whatever settles the event; what dies after it finds the note."""
    people = People(redis, lanes(redis))
    redis.hset(keys.event(EVENT.ref), mapping={"doc": EVENT.to_json(), "state": "kept"})
    redis.rpush(keys.mailbox("u-1"), EVENT.ref)
    token = people.take("u-1")
    settlement = Settlement(Kept(EVENT, State.KEPT, {}), State.APPLIED, {}, ())

    assert token is not None
    people.settle(token, Settled(Person(key="u-1"), [settlement]))

    assert redis.zscore(keys.REPLIES, EVENT.ref) is not None


def test_trouble_is_tried_again(redis: Redis, graph: GraphTenant, replies: Replies, clock: Clock) -> None:
    """Later each time; the timeline says that it was not told yet, and then that it was."""
    settle(redis, State.APPLIED)
    graph.faults = [Reply(503), Reply(403), Reply(429, None, {"retry-after": "30"})]

    for _ in range(5):
        replies.send_due()
        clock.go(60)

    assert [status for _, status in graph.resumed] == ["completed"]
    assert [step["outcome"] for step in steps(redis)] == ["postponed", "told"]


def test_one_that_cannot_be_read_keeps_no_other_waiting(
    redis: Redis, graph: GraphTenant, replies: Replies, clock: Clock
) -> None:
    """A newer release wrote it: it is told once that can be read, or given up when no task waits any more."""
    other = EVENT.model_copy(update={"id": "r2"})
    settle(redis, State.APPLIED)
    settle(redis, State.FAILED, "refused", event=other)
    newer = json.loads(EVENT.to_json()) | {"of_a_newer_release": 1}
    redis.hset(keys.event(EVENT.ref), "doc", json.dumps(newer))
    replies.send_due()
    told = list(graph.resumed)
    redis.hset(keys.event(EVENT.ref), "doc", EVENT.to_json())
    clock.go(60)
    replies.send_due()

    assert [status for _, status in told] == ["failed"]
    assert [status for _, status in graph.resumed] == ["failed", "completed"]
    assert [step["outcome"] for step in steps(redis)] == ["postponed", "told"]


@pytest.mark.parametrize("noted", [None, "soon"])
def test_one_that_can_never_be_read_is_given_up(
    redis: Redis, replies: Replies, clock: Clock, noted: str | None
) -> None:
    """At once where nobody can tell how long it has waited."""
    settle(redis, State.APPLIED)
    redis.hset(keys.event(EVENT.ref), "doc", "{}")
    if noted:
        redis.hset(keys.event(EVENT.ref), "reply_noted", noted)
    for _ in range(60):
        replies.send_due()
        clock.go(300)

    assert steps(redis)[-1]["outcome"] == "given_up"
    assert not redis.exists(keys.REPLIES)


def test_whoever_was_away_for_too_long_notes_nothing(redis: Redis, graph: GraphTenant, replies: Replies) -> None:
    """Its lease ran out while Graph was told: another process tells it once more, which does no harm."""

    class Slow(Api):
        """Asks for so long that another process goes on."""

        def talk(self, *names: Any, **more: Any) -> Any:  # noqa: ANN401 - as in Api
            redis.set(keys.REPLYING, "w2:token")
            return super().talk(*names, **more)

    api = replies._apis["workflows"]
    replies._apis = {"workflows": Slow(api.base_url, api.credential, api.http)}
    settle(redis, State.APPLIED)

    with pytest.raises(LeaseLost):
        replies.send_due()

    assert (len(graph.resumed), steps(redis)) == (1, [])
    assert redis.zscore(keys.REPLIES, EVENT.ref) is not None


def test_refusal_is_final(redis: Redis, graph: GraphTenant, replies: Replies, clock: Clock) -> None:
    """The task waits no longer, or heard it before."""
    settle(redis, State.APPLIED)
    graph.faults = [Reply(404, {"error": {"code": "ResourceNotFound"}})]

    replies.send_due()
    clock.go(600)
    replies.send_due()

    (step,) = steps(redis)
    assert (step["outcome"], step["status"], step["detail"]) == ("refused", 404, "ResourceNotFound")
    assert len(graph.asked) == 1


def test_given_up_when_no_task_waits_any_more(redis: Redis, graph: GraphTenant, replies: Replies, clock: Clock) -> None:
    """Graph was away for as long as a task waits at the most."""
    settle(redis, State.APPLIED)
    graph.faults = [Reply(500)] * 1_000

    for _ in range(60):
        replies.send_due()
        clock.go(300)

    assert [step["outcome"] for step in steps(redis)] == ["postponed", "given_up"]
    assert not redis.exists(keys.REPLIES)


def test_failure_that_is_retried_is_told_anew(redis: Redis, graph: GraphTenant, replies: Replies) -> None:
    """The task may have been set to wait for it."""
    settle(redis, State.FAILED, "refused")
    replies.send_due()
    settle(redis, State.APPLIED)
    replies.send_due()

    assert [status for _, status in graph.resumed] == ["failed", "completed"]


def test_word_that_changes_while_it_is_told_is_told_again(redis: Redis, graph: GraphTenant, replies: Replies) -> None:
    """Settled anew between our read and our answer: the note stays."""

    class Settling(Api):
        """Asks while another process settles the event."""

        def talk(self, *names: Any, **more: Any) -> Any:  # noqa: ANN401 - as in Api
            if not graph.resumed:
                settle(redis, State.APPLIED)
            return super().talk(*names, **more)

    api = replies._apis["workflows"]
    settle(redis, State.FAILED, "refused")
    replies._apis = {"workflows": Settling(api.base_url, api.credential, api.http)}

    replies.send_due()
    replies.send_due()

    assert [status for _, status in graph.resumed] == ["failed", "completed"]


def test_nobody_to_tell_is_told_in_the_timeline(redis: Redis, graph: GraphTenant, clock: Clock) -> None:
    """The source, or its directory, is configured no more."""
    settle(redis, State.APPLIED)

    Replies(redis, "w1", {}, clock).send_due()

    assert [step["outcome"] for step in steps(redis)] == ["untold"]
    assert not redis.exists(keys.REPLIES)


def test_only_one_process_tells(redis: Redis, graph: GraphTenant, graph_api: Api, clock: Clock) -> None:
    """The lease is another one's that lives."""
    settle(redis, State.APPLIED)
    redis.set(keys.alive("w2"), "1", px=60_000)
    redis.set(keys.REPLYING, "w2:token")

    Replies(redis, "w1", {"workflows": graph_api}, clock).send_due()

    assert graph.asked == []
