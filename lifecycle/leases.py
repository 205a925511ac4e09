"""The lock of one person: a lease with a token, short, and renewed for as long as its worker lives.

Each lease also stands in one index by its end, with its worker's name. A worker takes its entry out with the lease, so
an entry whose time has passed is all that is left of a worker that died, and who was worked on is known at once.
"""

import time
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from redis import Redis
from redis.client import Pipeline

from lifecycle import keys
from lifecycle.errors import GatepostError
from lifecycle.queue import JOB_SECONDS_MAX

HELD_SECONDS_MAX = JOB_SECONDS_MAX + 5.0

# KEYS: lease, working. ARGV: token, milliseconds, the entry of the index. Answers 1 when taken.
TAKE = """
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 0 end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[2], time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2], ARGV[3])
return 1
"""
# The same. A lease that ran out is lost even if nobody has it now: somebody may have had it.
RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local time = redis.call('TIME')
redis.call('ZADD', KEYS[2], time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2], ARGV[3])
return 1
"""
# KEYS: lease, working, mailbox. ARGV: token, the entry, 1 to keep the lease while the mailbox holds something. Answers
# 1 unless kept. An entry whose lease was lost goes too: its worker lives.
FREE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  if ARGV[3] == '1' and redis.call('LLEN', KEYS[3]) > 0 then return 0 end
  redis.call('DEL', KEYS[1])
end
redis.call('ZREM', KEYS[2], ARGV[2])
return 1
"""


class LeaseLost(GatepostError):
    """Another job works on this person now; whatever we found is for it to find again."""


class Leases:
    """The leases of one worker process."""

    def __init__(self, redis: Redis, worker: str) -> None:
        """Keep the connection and the name under which the worker is known to be alive."""
        self._redis = redis
        self._worker = worker
        self._held: dict[str, tuple[str, float]] = {}
        self._take, self._renew, self._free = (redis.register_script(text) for text in (TAKE, RENEW, FREE))

    def take(self, key: str) -> str | None:
        """Take the lease of a person and return its token; None while another job works on the person."""
        token = f"{self._worker}:{uuid4().hex}"
        arguments: list[str | int] = [token, keys.LEASE_MILLISECONDS, self._entry(key)]
        if not self._take(keys=[keys.lease(key), keys.WORKING], args=arguments):
            return None
        self._held[key] = token, time.monotonic()
        return token

    def renew(self, key: str, token: str) -> None:
        """Prolong the lease before an effect. Raises LeaseLost when another job has it."""
        arguments: list[str | int] = [token, keys.LEASE_MILLISECONDS, self._entry(key)]
        if not self._renew(keys=[keys.lease(key), keys.WORKING], args=arguments):
            raise LeaseLost("another job works on this person", reason="lease_lost")

    def renew_all(self) -> None:
        """Prolong what is held now; one that was lost meanwhile is for its job to notice.

        Nobody is held for longer than a job may take: a job that hangs in a request would keep its person for ever.
        """
        for key, (token, since) in list(self._held.items()):
            if time.monotonic() - since > HELD_SECONDS_MAX:
                continue
            arguments: list[str | int] = [token, keys.LEASE_MILLISECONDS, self._entry(key)]
            self._renew(keys=[keys.lease(key), keys.WORKING], args=arguments)

    def free(self, key: str, token: str, *, only_if_empty: bool = False) -> bool:
        """Give the lease back; return False where it was kept because the mailbox holds something."""
        arguments: list[str | int] = [token, self._entry(key), int(only_if_empty)]
        # First of all it is no more to be renewed, whatever becomes of this step: then the lease ends by itself.
        held = self._held.pop(key, None)
        freed = bool(self._free(keys=[keys.lease(key), keys.WORKING, keys.mailbox(key)], args=arguments))
        if not freed and held is not None:
            self._held[key] = held
        return freed

    def free_in(self, pipe: Pipeline, key: str) -> None:
        """Give the lease back in the caller's atomic step, which has checked it."""
        pipe.delete(keys.lease(key))
        pipe.zrem(keys.WORKING, self._entry(key))

    def ends_at(self, key: str) -> datetime:
        """Return when the present holder's lease ends unless it is renewed."""
        left: Any = self._redis.pttl(keys.lease(key))
        return datetime.fromtimestamp(time.time() + max(left, 0) / 1000, UTC)

    def _entry(self, key: str) -> str:
        return f"{self._worker}|{key}"
