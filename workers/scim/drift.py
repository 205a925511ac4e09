"""Schema drift: what we manage, as the target described it when it was last accepted, and as it does now.

A managed path that is gone, read-only or of another type would fail for every person in turn; so the target is stopped
with one failure, and gets suspensions alone, until it is as it was or an operator accepts it as it is
(``lifecycle.standing``).
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog
from redis import Redis

from lifecycle import keys
from lifecycle.paths import Path
from lifecycle.signal import iso
from lifecycle.standing import member
from workers.resource import plain
from workers.scim.schema import Schema

REASON = "schema_drift"
ALWAYS = (plain("userName"), plain("externalId"), plain("active"))
# What nobody can write any more, or not after the create.
LOCKED = ("readOnly", "immutable")

# An open circuit has a failure of the same name, which stays until the circuit closes.
GO_ON = """
redis.call('DEL', KEYS[1])
if redis.call('HEXISTS', KEYS[3], 'until') == 0 then redis.call('ZREM', KEYS[2], ARGV[1]) end
"""

Described = Mapping[str, Any]
"""A path's type, mutability and whether it has many values; empty where the target does not have it."""

log = structlog.get_logger()


def describe(schema: Schema, managed: Iterable[Path]) -> dict[str, Described]:
    """Return the managed attributes, and those that are always ours, as the target describes them."""
    return {path.text: _described(schema, path) for path in (*ALWAYS, *managed)}


def differences(before: Mapping[str, Described], now: Mapping[str, Described]) -> dict[str, str]:
    """Return the paths that no longer work as they did, each with how; what is new breaks nothing."""
    found = {path: _broken(before[path], now[path]) for path in now if before.get(path)}
    return {path: how for path, how in found.items() if how}


def check(redis: Redis, target: str, now: Mapping[str, Described]) -> None:
    """Compare with what was last accepted: stop the target over a path that broke, let it go on when that has healed.

    The first description is the baseline. Later it moves with every difference that breaks nothing.
    """
    before = _object(redis.get(keys.baseline(target)))
    broken = differences(before, now)
    baseline = {path: before[path] if path in broken else described for path, described in now.items()}
    if baseline != before:
        redis.set(keys.baseline(target), json.dumps(baseline))
    if broken:
        _stop(redis, target, "; ".join(f"{path} {how}" for path, how in broken.items()), now)
    elif _stopped(redis, target).get("reason") == REASON:
        _go_on(redis, target)


def _described(schema: Schema, path: Path) -> Described:
    holder, found = schema.holder(path), schema.at(path)
    if holder is None or found is None:
        return {}
    locked = next((each.mutability for each in (holder, found) if each.mutability in LOCKED), found.mutability)
    return {"type": found.type, "mutability": locked, "multi_valued": holder.multi_valued}


def _broken(before: Described, now: Described) -> str | None:
    if not now:
        return "is gone"
    if now["type"] != before["type"]:
        return f"is now {now['type']}, was {before['type']}"
    if now["multi_valued"] != before["multi_valued"]:
        return "has now many values, had one" if now["multi_valued"] else "has now one value, had many"
    if now["mutability"] in LOCKED and now["mutability"] != before["mutability"]:
        return f"is now {now['mutability']}, was {before['mutability']}"
    return None


def _stopped(redis: Redis, target: str) -> dict[str, Any]:
    return _object(redis.get(keys.stopped(target)))


def _stop(redis: Redis, target: str, detail: str, found: Mapping[str, Described]) -> None:
    known = _stopped(redis, target)
    if (known.get("detail"), known.get("found")) == (detail, found):
        return
    moment = datetime.now(UTC)
    stopped = {"reason": REASON, "detail": detail, "since": known.get("since") or iso(moment), "found": found}
    with redis.pipeline(transaction=True) as pipe:
        pipe.set(keys.stopped(target), json.dumps(stopped))
        pipe.zadd(keys.FAILURES, {member(target): moment.timestamp()}, nx=True)
        pipe.execute()
    log.error("target.stopped", target=target, reason=REASON, detail=detail)


def _go_on(redis: Redis, target: str) -> None:
    redis.eval(GO_ON, 3, keys.stopped(target), keys.FAILURES, keys.circuit(target), member(target))
    log.info("target.goes_on", target=target)


def _object(found: Any) -> dict[str, Any]:  # noqa: ANN401 - what redis-py answers
    return dict(json.loads(found)) if found else {}
