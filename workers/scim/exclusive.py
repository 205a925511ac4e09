"""One group's exclusive use by one job of the fleet, for as long as a request and its answer take."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from redis import Redis

from lifecycle import keys
from lifecycle.errors import Postponed

# A holder that dies is waited for this long; a request and its answer take less.
HOLD_MILLISECONDS = 20_000
BUSY_SECONDS = 1

# KEYS: the lease. ARGV: token.
FREE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


class Exclusive:
    """The leases of one target's groups.

    A PUT replaces what was read a moment ago (RFC 7644 section 3.5.1), and displayName is not unique (RFC 7643 section
    4.2): of two jobs that replace, or create, the same group at once, one would undo or double what the other did.
    """

    def __init__(self, redis: Redis, target: str) -> None:
        """Keep where the leases are."""
        self._redis = redis
        self._target = target
        self._free = redis.register_script(FREE)

    @contextmanager
    def hold(self, group: str) -> Iterator[None]:
        """Hold a group. Raises Postponed while another job does."""
        token = uuid4().hex
        key = keys.group_lease(self._target, group)
        if not self._redis.set(key, token, nx=True, px=HOLD_MILLISECONDS):
            raise busy()
        try:
            yield
        finally:
            self._free(keys=[key], args=[token])


def busy() -> Postponed:
    """Return the error of a group that another job works on."""
    retry_at = datetime.now(UTC) + timedelta(seconds=BUSY_SECONDS)
    return Postponed("another job changes the members of this group", reason="group_busy", retry_at=retry_at)
