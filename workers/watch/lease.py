"""The lease of a piece of watching: one process of the fleet works on it at a time, and no longer than it lives.

Whatever is written of how a task stands is written only while the lease is held, in one step with that look: a process
that was away for too long changes nothing that another one found meanwhile.
"""

import time
from typing import Any
from uuid import uuid4

from redis import Redis

from lifecycle import keys
from lifecycle.leases import LeaseLost

# Longer than a question of several requests may take, between two of which it is renewed. Of a process that is known to
# be dead it is taken at once.
LEASE_MILLISECONDS = 45_000
# A turn that lasts longer leaves the rest to the next one, of whichever process.
HELD_SECONDS_MAX = 60.0

# KEYS: lease. ARGV: token, milliseconds.
RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""
# KEYS: lease, hash. ARGV: token, field, value.
WRITE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
return 1
"""
# KEYS: lease. ARGV: the dead one's token, ours, milliseconds.
INHERIT = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
# KEYS: lease. ARGV: token.
FREE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


class Lease:
    """A lease that this process holds."""

    def __init__(self, redis: Redis, name: str, token: str) -> None:
        """Keep what was taken."""
        self._redis = redis
        self._name = name
        self._token = token
        self._ends_at = time.monotonic() + HELD_SECONDS_MAX

    @property
    def is_long(self) -> bool:
        """Tell whether it was held for as long as a turn may last."""
        return time.monotonic() > self._ends_at

    def renew(self) -> None:
        """Prolong it before a request. Raises LeaseLost."""
        if not self._redis.eval(RENEW, 1, self._name, self._token, LEASE_MILLISECONDS):
            raise LeaseLost("another process watches this source", reason="lease_lost")

    def write(self, name: str, field: str, value: str) -> None:
        """Write one field of a hash while it is held. Raises LeaseLost."""
        if not self._redis.eval(WRITE, 2, self._name, name, self._token, field, value):
            raise LeaseLost("another process watches this source", reason="lease_lost")

    def free(self) -> None:
        """Give it back."""
        self._redis.eval(FREE, 1, self._name, self._token)


def take(redis: Redis, name: str, worker: str) -> Lease | None:
    """Take a lease for a worker process; None while another one has it that is not known to be dead."""
    token = f"{worker}:{uuid4().hex}"
    if redis.set(name, token, nx=True, px=LEASE_MILLISECONDS):
        return Lease(redis, name, token)
    holder: Any = redis.get(name)
    if holder is None or redis.exists(keys.alive(holder.decode().partition(":")[0])):
        return None
    inherited = redis.eval(INHERIT, 1, name, holder, token, LEASE_MILLISECONDS)
    return Lease(redis, name, token) if inherited else None
