"""One group's exclusive use by one job of the fleet, held from one request to the next."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from redis import Redis

from lifecycle import keys
from lifecycle.errors import Postponed
from workers.scim.client import Conversation

# A holder that dies is waited for this long; a request and its answer take less, and each request begins it anew.
HOLD_MILLISECONDS = 20_000
BUSY_SECONDS = 1

# KEYS: the lease. ARGV: token.
FREE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"
# KEYS: the lease. ARGV: token, milliseconds. Answers whether it is still ours.
RENEW = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0"


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
        self._renew = redis.register_script(RENEW)

    @contextmanager
    def hold(self, group: str, talk: Conversation) -> Iterator[Conversation]:
        """Hold a group while the conversation that this gives goes on. Raises Postponed while another job does."""
        token = uuid4().hex
        key = keys.group_lease(self._target, group)
        if not self._redis.set(key, token, nx=True, px=HOLD_MILLISECONDS):
            raise busy()
        try:
            yield self.held(group, token, talk)
        finally:
            self._free(keys=[key], args=[token])

    def replaces(self) -> bool:
        """Tell whether somebody left a group by PUT of late, for want of another way."""
        return bool(self._redis.exists(keys.groups_replaced(self._target)))

    def expect_replacing(self) -> None:
        """Let the whole fleet know for an hour that the target's groups are changed by PUT."""
        self._redis.set(keys.groups_replaced(self._target), "1", ex=keys.GROUPS_TTL_SECONDS)

    def held(self, group: str, token: str, talk: Conversation) -> Conversation:
        """Return the conversation of whoever holds a group: each request begins the lease anew.

        A request raises Postponed where the lease is another job's by now.
        """
        key = keys.group_lease(self._target, group)

        def may_send() -> None:
            talk.may_send()
            if not self._renew(keys=[key], args=[token, HOLD_MILLISECONDS]):
                raise busy()

        return replace(talk, may_send=may_send)


def busy() -> Postponed:
    """Return the error of a group that another job works on."""
    retry_at = datetime.now(UTC) + timedelta(seconds=BUSY_SECONDS)
    return Postponed("another job changes the members of this group", reason="group_busy", retry_at=retry_at)
