"""Where a target stands, and what an operator's "go on" does to it."""

import json

import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.errors import Unknown
from lifecycle.records import Records
from lifecycle.standing import accept, standing

FOUND = {"title": {}, "userName": {"type": "string", "mutability": "readWrite", "multi_valued": False}}
DRIFTED = {"reason": "schema_drift", "detail": "title is gone", "since": "2026-03-02T09:00:00.000Z", "found": FOUND}


def stop(redis: Redis, **changes: object) -> None:
    """Stop the target as the workers do."""
    redis.set(keys.stopped("crm"), json.dumps(DRIFTED | changes))
    redis.zadd(keys.FAILURES, {"target:crm": 1_772_442_000.0})


def open_circuit(redis: Redis, reason: str = "credentials") -> None:
    """Open its circuit as the gate does."""
    redis.hset(keys.circuit("crm"), mapping={"until": "99", "wait": "5000", "reason": reason})
    redis.zadd(keys.FAILURES, {"target:crm": 1_772_442_000.0}, nx=True)


def test_target_that_is_fine_is_no_failure(redis: Redis) -> None:
    """A failure in a row or two opens nothing, and a name without a reason is passed over in the list."""
    redis.hset(keys.circuit("crm"), "failures", "2")
    redis.zadd(keys.FAILURES, {"target:crm": 1.0})

    assert standing(redis, "crm") is None
    assert Records(redis).failures().items == []


def test_stopped_target_is_listed_with_what_changed(redis: Redis) -> None:
    """One failure stands for everybody who waits for the target; a stop says more than the circuit beside it."""
    stop(redis)
    open_circuit(redis)

    assert Records(redis).failures().items == [
        {
            "id": "target:crm",
            "type": "target",
            "failed_at": "2026-03-02T09:00:00.000Z",
            "target": "crm",
            "state": "failed",
            "reason": "schema_drift",
            "detail": "title is gone",
        }
    ]


def test_open_circuit_is_listed_by_what_the_last_attempts_ended_in(redis: Redis) -> None:
    """Credentials that nobody takes are for a person, whatever the single events say."""
    open_circuit(redis, "forbidden")

    (failure,) = Records(redis).failures().items

    assert (failure["id"], failure["reason"]) == ("target:crm", "forbidden")


def test_retry_takes_the_target_as_it_is(redis: Redis) -> None:
    """The present schema is the baseline, the circuit is closed, the failure is gone; a second retry finds nothing."""
    stop(redis)
    open_circuit(redis)
    records = Records(redis)

    records.retry("target:crm", actor="anna")

    assert json.loads(redis.get(keys.baseline("crm")) or "") == FOUND
    assert redis.exists(keys.stopped("crm"), keys.circuit("crm")) == 0
    assert records.failures().items == []
    with pytest.raises(Unknown):
        records.retry("target:crm", actor="anna")


def test_retry_of_a_circuit_leaves_the_baseline_as_it_is(redis: Redis) -> None:
    """Nothing was said of the schema."""
    redis.set(keys.baseline("crm"), "{}")
    open_circuit(redis)

    accept(redis, "crm")

    assert redis.get(keys.baseline("crm")) == b"{}"
    assert redis.zcard(keys.FAILURES) == 0


def test_stop_that_is_not_for_drift_stays(redis: Redis) -> None:
    """There is no schema to accept in it."""
    stop(redis, reason="operator")
    redis.set(keys.stopped("crm"), json.dumps({"reason": "operator"}))

    accept(redis, "crm")

    assert redis.exists(keys.stopped("crm"))
    assert redis.zscore(keys.FAILURES, "target:crm")
    assert redis.exists(keys.baseline("crm")) == 0


def test_who_let_a_target_go_on_is_in_the_log(redis: Redis, capsys: pytest.CaptureFixture[str]) -> None:
    """The target has no timeline of its own, so that the log says who took it as it is."""
    stop(redis)

    Records(redis).retry("target:crm", actor="anna")

    said = capsys.readouterr()
    line = next(each for each in (said.out + said.err).splitlines() if "target.accepted" in each)
    assert "anna" in line
    assert "schema_drift" in line
