"""When a delivery is tried again, and what its attempt says of the subscriber. Pure, but for the jitter."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from lifecycle.errors import GatepostError
from lifecycle.outbox import DELIVERED, FAILED, WAITING
from lifecycle.signal import RETRY_AFTER_SECONDS_MAX, RETRY_JITTER, RETRY_SECONDS
from workers.scim.answers import retry_at
from workers.subscribers.base import Reply, Verdict

REST_SECONDS_MAX = 3_600
"""How long a whole subscriber is left alone because one answer said so; a delivery waits as long as it was told."""
GONE = 410
BUSY = frozenset({429, 503})
ITS_OWN = frozenset({"private_address", "port", "tls", "unreachable", "no_answer"})
"""Why an attempt without an answer failed, where that is the subscriber's trouble; all else is ours."""
NEVER = frozenset({"no_security_event", "no_webhook"})
"""What waited for a subscriber when it was of another format: that it is of this one again may be never."""


class Says(StrEnum):
    """What an attempt says of the subscriber."""

    WELL = "well"
    ILL = "ill"
    BUSY = "busy"
    """It lives, and wants less."""
    NOTHING = "nothing"
    """The trouble is with this delivery alone."""


@dataclass(frozen=True)
class Result:
    """What one attempt came to."""

    state: str
    says: Says
    reason: str = ""
    due_at: datetime | None = None
    """When the next attempt is due."""
    rest_until: datetime | None = None
    """Until when the subscriber gets nothing at all."""
    disables: bool = False


def answered(reply: Reply, verdict: Verdict, reason: str, number: int, now: datetime) -> Result:
    """Return what an answer comes to, to the attempt of this number, from 1 on."""
    if verdict is Verdict.TAKEN:
        return Result(DELIVERED, Says.WELL)
    if verdict is Verdict.NEVER:
        return Result(FAILED, Says.NOTHING, reason)
    if reply.status == GONE:
        return Result(FAILED, Says.ILL, reason, disables=True)
    wait_until = retry_at(reply.headers, now, RETRY_AFTER_SECONDS_MAX)
    says = Says.BUSY if reply.status in BUSY and wait_until else Says.ILL
    rest = min(wait_until, now + timedelta(seconds=REST_SECONDS_MAX)) if wait_until and says is Says.BUSY else None
    return _later(number, now, says, reason, wait_until, rest)


def unanswered(error: GatepostError, number: int, now: datetime) -> Result:
    """Return what comes of an attempt without an answer: it is tried again where what was wrong may be mended."""
    if error.reason in NEVER:
        return Result(FAILED, Says.NOTHING, error.reason)
    return _later(number, now, Says.ILL if error.reason in ITS_OWN else Says.NOTHING, error.reason)


def _later(
    number: int,
    now: datetime,
    says: Says,
    reason: str,
    wait_until: datetime | None = None,
    rest_until: datetime | None = None,
) -> Result:
    if number > len(RETRY_SECONDS):
        return Result(FAILED, says, reason, rest_until=rest_until)
    wait = RETRY_SECONDS[number - 1] * random.uniform(1 - RETRY_JITTER, 1 + RETRY_JITTER)  # noqa: S311 - jitter
    due_at = max(now + timedelta(seconds=wait), wait_until or now)
    return Result(WAITING, says, reason, due_at, rest_until)
