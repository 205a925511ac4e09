"""Lists of bounded pages, newest first; the cursor is the place of the last item read."""

import base64
import json
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any, NamedTuple

from redis import Redis

from lifecycle.errors import Malformed
from lifecycle.signal import iso

PAGE_DEFAULT, PAGE_MAX = 50, 500
SCAN_CHUNK, SCAN_MAX = 500, 20_000


class Page(NamedTuple):
    """One page of a list."""

    items: list[dict[str, Any]]
    next: str | None


def page(
    redis: Redis, index: str, after: str | None, limit: int, fits: Callable[[str], bool]
) -> tuple[list[str], str | None]:
    """Return the names of one page of an index, those that fit, and the cursor of the next. Raises Malformed."""
    limit = max(1, min(limit, PAGE_MAX))
    names: list[str] = []
    last: tuple[float, str] | None = None
    for walked, (name, score) in enumerate(_scan(redis, index, _cursor(after))):
        # A filter may fit nothing for long: the cursor goes on where this request stopped looking.
        if len(names) == limit or walked == SCAN_MAX:
            return names, _opaque(last)
        last = (score, name)
        if fits(name):
            names.append(name)
    return names, None


def moment(seconds: str | float | None) -> str | None:
    """Write a moment of an index, None for none."""
    return iso(datetime.fromtimestamp(float(seconds), UTC)) if seconds else None


def _scan(redis: Redis, index: str, after: tuple[float, str] | None) -> Iterator[tuple[str, float]]:
    """Walk an index from new to old, from just below a place; items that come in meanwhile do not shift it."""
    highest: float | str = after[0] if after else "+inf"
    for start in count(0, SCAN_CHUNK):
        chunk: Any = redis.zrevrangebyscore(index, highest, "-inf", start, SCAN_CHUNK, withscores=True)
        for raw, score in chunk:
            place = (score, raw.decode())
            if after is None or place < after:
                # What comes in meanwhile moves everything down: what was seen once is not shown again.
                after = place
                yield place[1], score
        if len(chunk) < SCAN_CHUNK:
            return


def _opaque(last: tuple[float, str] | None) -> str | None:
    return base64.urlsafe_b64encode(json.dumps(last).encode()).decode() if last else None


def _cursor(after: str | None) -> tuple[float, str] | None:
    if not after:
        return None
    refusal = Malformed("after is not a cursor that a list gave", reason="cursor_malformed")
    try:
        score, name = json.loads(base64.urlsafe_b64decode(after))
        place = float(score), str(name)
        place[1].encode()  # a lone surrogate is in no name that Redis could have given
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise refusal from error
    if not math.isfinite(place[0]):
        raise refusal
    return place
