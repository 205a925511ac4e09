"""Notices set aside: authentic ones that our reader could not read, kept whole but for their credentials.

Of each source so many and no more: past that the receiver answers 503, so that the vendor sends again.
"""

import base64
import json
import time
from datetime import datetime
from typing import Any, NamedTuple

import structlog
from redis import Redis

from lifecycle import keys

ASIDE_MAX = 5_000
"""Notices of one source."""
ASIDE_BYTES_MAX = 64_000_000
"""Their bodies together."""

NEARLY_FULL = 0.9
"""From this share of the bytes on a large notice may find no room."""

# KEYS: the notice, the failures, the sizes of the source's. ARGV: its id, doc, time and bytes; and the two limits.
# Answers 1 when it is kept, and 0 where there is no room; one that is here already needs none.
_SET_ASIDE = """
local id, doc, at, bytes = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
if redis.call('HEXISTS', KEYS[3], id) == 0 then
  local number, sum = redis.call('HLEN', KEYS[3]) + 1, bytes
  for _, size in ipairs(redis.call('HVALS', KEYS[3])) do sum = sum + size end
  if number > tonumber(ARGV[5]) or sum > tonumber(ARGV[6]) then return 0 end
end
redis.call('HSET', KEYS[1], 'doc', doc)
redis.call('HSET', KEYS[3], id, bytes)
redis.call('ZADD', KEYS[2], at, 'notice:' .. id)
return 1
"""

log = structlog.get_logger()


class SetAside(NamedTuple):
    """A notice as it came."""

    id: str
    source: str
    method: str
    query: str
    headers: dict[str, str]
    body: bytes
    received_at: datetime
    reason: str
    detail: str


class Room(NamedTuple):
    """How much of a source is set aside."""

    number: int
    bytes: int

    @property
    def is_full(self) -> bool:
        """Tell whether there may be no room for another one."""
        return self.number >= ASIDE_MAX or self.bytes >= ASIDE_BYTES_MAX * NEARLY_FULL


def set_aside_command(notice: SetAside) -> tuple[Any, ...]:
    """Return the Redis command that keeps a notice whole; it answers 0 where there is no room."""
    doc = notice._asdict() | {
        "body": base64.b64encode(notice.body).decode(),
        "received_at": notice.received_at.isoformat(),
    }
    names = (keys.notice(notice.id), keys.FAILURES, keys.aside(notice.source))
    size = len(notice.body)
    return ("EVAL", _SET_ASIDE, 3, *names, notice.id, json.dumps(doc), time.time(), size, ASIDE_MAX, ASIDE_BYTES_MAX)


def drop_notice_commands(notice: SetAside) -> list[tuple[Any, ...]]:
    """Return the Redis commands that forget a notice."""
    return [
        ("DEL", keys.notice(notice.id)),
        ("ZREM", keys.FAILURES, f"notice:{notice.id}"),
        ("HDEL", keys.aside(notice.source), notice.id),
    ]


def set_aside(redis: Redis, notice_id: str) -> SetAside | None:
    """Return a notice that was set aside, as it came."""
    found: Any = redis.hget(keys.notice(notice_id), "doc")
    if not found:
        return None
    fields = json.loads(found)
    fields["body"] = base64.b64decode(fields["body"])
    fields["received_at"] = datetime.fromisoformat(fields["received_at"])
    return SetAside(**fields)


def room(redis: Redis, source: str) -> Room:
    """Return how much of a source is set aside."""
    sizes: Any = redis.hvals(keys.aside(source))
    return Room(len(sizes), sum(map(int, sizes)))


def drop_notice(redis: Redis, notice_id: str, *, actor: str) -> bool:
    """Forget a notice that nobody needs to read. Returns whether there was one."""
    notice = set_aside(redis, notice_id)
    if notice is None:
        return False
    with redis.pipeline() as pipe:
        for command in drop_notice_commands(notice):
            pipe.execute_command(*command)  # type: ignore[no-untyped-call]
        pipe.execute()
    log.warning("notice.dropped", source=notice.source, notice=notice_id, by=actor)
    return True
