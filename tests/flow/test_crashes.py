"""What is accepted is never lost: Redis, a worker and the receiver are killed at bad moments, by SIGKILL."""

import time
from threading import Thread

import httpx

from lifecycle.keys import LEASE_MILLISECONDS
from tests.flow.patience import eventually
from tests.flow.stage import Somebody, Stage, Told

CROWD = 30
RESEND_SECONDS = 0.2
DELIVERY_SECONDS_MAX = 30
# The lease of a dead worker ends, a sweeper sees it, a worker is there.
RESUME_SECONDS_MAX = 10.0


def _insist(stage: Stage, told: Told) -> None:
    """Send as a source does: again, until somebody says 2xx."""

    def accepted() -> bool:
        try:
            return stage.tell(told).is_success
        except httpx.TransportError:
            return False

    eventually(accepted, within=DELIVERY_SECONDS_MAX, every=RESEND_SECONDS)


def test_redis_killed_while_work_is_done(stage: Stage) -> None:
    """Redis dies while jobs run and notices come in; whatever was answered 2xx settles, with one account each."""
    persons = [Somebody() for _ in range(CROWD)]
    hold = stage.proxy.hold("POST", persons[0].email)
    stage.tell(persons[0].joins()).raise_for_status()
    assert hold.reached.wait(10)
    senders = [Thread(target=_insist, args=(stage, person.joins())) for person in persons[1:]]

    for sender in senders[: CROWD // 2]:
        sender.start()
    stage.redis_server.kill()
    for sender in senders[CROWD // 2 :]:
        sender.start()
    hold.released.set()
    stage.redis_server.start()
    for sender in senders:
        sender.join()

    assert {stage.settled(person.joins())["state"] for person in persons} == {"applied"}
    assert [len(stage.accounts(person)) for person in persons] == [1] * CROWD


def test_receiver_says_503_while_redis_is_away(stage: Stage, bo: Somebody) -> None:
    """Without Redis a notice is answered 503 with Retry-After, never 2xx and never 4xx; afterwards it is taken."""
    stage.redis_server.kill()
    started = time.monotonic()
    answer = stage.tell(bo.joins())
    took = time.monotonic() - started
    ready = stage.receiver.get("/health/ready").status_code
    live = stage.receiver.get("/health/live").status_code
    stage.redis_server.start()

    assert (answer.status_code, ready, live) == (503, 503, 200)
    assert answer.headers["retry-after"].isdigit()
    assert took < 3  # Okta's patience
    _insist(stage, bo.joins())
    assert stage.settled(bo.joins())["state"] == "applied"


def test_redis_restarted_between_two_notices_is_not_noticed(stage: Stage, bo: Somebody) -> None:
    """A Redis that was killed and is back before the next notice costs that notice nothing: it is answered 202."""
    _insist(stage, bo.joins())
    stage.redis_server.kill()
    stage.redis_server.start()

    answer = stage.tell(bo.moves(title="Agent"))

    assert answer.status_code == 202
    assert stage.settled(bo.moves(title="Agent"))["state"] == "applied"


def test_redis_killed_right_after_an_accepted_answer(stage: Stage) -> None:
    """Five times Redis is killed the moment a notice is accepted: each of them settles, with one account."""
    persons = [Somebody() for _ in range(5)]

    for person in persons:
        _insist(stage, person.joins())
        stage.redis_server.kill()
        stage.redis_server.start()

    assert {stage.settled(person.joins())["state"] for person in persons} == {"applied"}
    assert [len(stage.accounts(person)) for person in persons] == [1] * 5


def test_worker_killed_in_the_middle_of_a_suspension(stage: Stage, bo: Somebody) -> None:
    """A worker dies after its PATCH and before its answer: without another event it is settled in seconds, told once.

    The dead worker's lease is waited for, so that two jobs never work on one person.
    """
    stage.state(bo.joins())
    hold = stage.proxy.hold("PATCH", stage.account(bo)["id"])
    stage.tell(bo.leaves()).raise_for_status()
    assert hold.reached.wait(10)

    stage.workers["leavers"].kill()
    hold.released.set()
    found = stage.settled(bo.leaves(), within=LEASE_MILLISECONDS / 1000 + RESUME_SECONDS_MAX)

    assert found["state"] == "applied"
    assert stage.account(bo)["active"] is False
    assert [signal.type for signal in stage.signals(bo, 2)] == ["person.provisioned", "person.suspended"]


def test_receiver_killed_under_load(stage: Stage) -> None:
    """The receiver dies while notices come in; sources that insist are all heard, and each person has one account."""
    persons = [Somebody() for _ in range(CROWD)]
    senders = [Thread(target=_insist, args=(stage, person.joins())) for person in persons]

    for sender in senders:
        sender.start()
    stage.service.kill()
    for sender in senders:
        sender.join()

    assert {stage.settled(person.joins())["state"] for person in persons} == {"applied"}
    assert [len(stage.accounts(person)) for person in persons] == [1] * CROWD
