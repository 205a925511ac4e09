"""Where a target stands: stopped for all but suspensions, its circuit open, or neither; and an operator's "go on".

The workers stop a target (``workers.scim.drift``) and open its circuit (``workers.gate_scripts``); anybody may read it.
"""

import json
from typing import Any, NamedTuple

from redis import Redis
from redis.client import Pipeline

from lifecycle import keys

OPEN = "its last attempts all ended so; one tries it now and then, and the rest waits until that succeeds"


class Standing(NamedTuple):
    """Why a target is not spoken to as usual."""

    reason: str
    detail: str


def member(target: str) -> str:
    """Name a target among the failures."""
    return f"target:{target}"


def stop_of(redis: Redis, target: str) -> Standing | None:
    """Return why a target gets nothing but suspensions."""
    stopped = _object(redis.get(keys.stopped(target)))
    return Standing(str(stopped.get("reason")), str(stopped.get("detail") or "")) if stopped else None


def circuit_of(redis: Redis, target: str) -> Standing | None:
    """Return why a target's circuit is open."""
    found: Any = redis.hmget(keys.circuit(target), "until", "reason")
    until, reason = found
    return Standing(reason.decode() if reason else "", OPEN) if until else None


def standing(redis: Redis, target: str) -> Standing | None:
    """Return why a target is not spoken to as usual, a stop before a circuit; None where it is."""
    return stop_of(redis, target) or circuit_of(redis, target)


def accept(redis: Redis, target: str) -> None:
    """Take a target as it is and let it go on: what stopped it is the baseline, and its circuit is closed.

    What is still wrong opens the circuit again. A stop that is not for schema drift is not ours to lift.
    """

    def step(pipe: Pipeline) -> None:
        stopped = _object(pipe.get(keys.stopped(target)))
        pipe.multi()
        pipe.delete(keys.circuit(target))
        if "found" in stopped:
            pipe.set(keys.baseline(target), json.dumps(stopped["found"]))
            pipe.delete(keys.stopped(target))
        if not stopped or "found" in stopped:
            pipe.zrem(keys.FAILURES, member(target))

    redis.transaction(step, keys.stopped(target))


def _object(found: Any) -> dict[str, Any]:  # noqa: ANN401 - what redis-py answers
    return dict(json.loads(found)) if found else {}
