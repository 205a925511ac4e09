"""From an answer to how long nobody asks its target: RFC 6585 section 4, RFC 9110 section 10.2.3, vendors' headers."""

from collections.abc import Mapping
from datetime import datetime

from workers.http import Answer
from workers.scim.answers import RETRY_AFTER_SECONDS_MAX, retry_at

TOO_MANY, UNAVAILABLE = 429, 503
# Genesys Cloud tells with every answer how much of the minute is used.
COUNT, ALLOWED, RESET = "inin-ratelimit-count", "inin-ratelimit-allowed", "inin-ratelimit-reset"
REFUSED_SECONDS_MIN, USED_UP_SECONDS_MIN = 1.0, 0.1


def pause_of(answer: Answer, now: datetime) -> float | None:
    """Return for how many seconds an answer asks all to wait, 0 where it names no time; None where it does not."""
    moment = retry_at(answer.headers, now) if answer.status in {TOO_MANY, UNAVAILABLE} else None
    if moment is not None:
        return (moment - now).total_seconds()
    count, allowed, reset = (_number(answer.headers, name) for name in (COUNT, ALLOWED, RESET))
    used_up = count is not None and allowed is not None and count >= allowed > 0
    if reset is not None and (used_up or answer.status == TOO_MANY):
        # Whole seconds, so 0 may be nearly one; where we alone used it up, the window itself keeps us until then.
        least = REFUSED_SECONDS_MIN if answer.status == TOO_MANY else USED_UP_SECONDS_MIN
        return min(max(reset, least), RETRY_AFTER_SECONDS_MAX)
    return 0.0 if answer.status == TOO_MANY else None


def _number(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name, "").strip()
    return int(text[:9]) if text.isascii() and text.isdigit() else None
