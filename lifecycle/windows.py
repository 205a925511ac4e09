"""The sliding windows of ``[safety]``: who lost what of late, and whether one more may. One atomic step in Redis.

A window holds persons, so that a second target, a repeat and an attempt that is made again count once; each is kept by
the last time that something was about to be taken, so that no span of a window ever has more. A change has to fit into
every window that it concerns, or is counted in none.

From the first change that a window holds to the end of a whole window in which it held none is one episode, with one
alarm: a limit that lets one through now and then is not news each time.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from redis import Redis
from redis.client import Pipeline

from lifecycle import keys
from lifecycle.safety import LIMITS, Limit

# KEYS, for each window: window, known, episode. ARGV: person, and for each window: most by number (-1 for any), by
# share of the known (-1 for any), milliseconds. Answers nothing where it is counted in all; else the number of the
# window that is full, since when it holds, how many it has, how many it may have, and how many are known.
ASK = """
local person, time = ARGV[1], redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local SHARE_GUARD, CHUNK = 1e-9, 1000

-- Who was counted and is known no longer, for access was taken, was known when the window began.
local function known_in(place)
  local window, known = KEYS[place], KEYS[place + 1]
  local found, members = redis.call('SCARD', known), redis.call('ZRANGE', window, 0, -1)
  for i = 1, #members, CHUNK do
    local some = redis.call('SMISMEMBER', known, unpack(members, i, math.min(i + CHUNK - 1, #members)))
    for _, is_known in ipairs(some) do found = found + 1 - is_known end
  end
  return found
end

local function by_share(share, known)
  return math.max(1, math.floor(share * known + SHARE_GUARD))
end

local function full(place, most, share)
  local count, known = redis.call('ZCARD', KEYS[place]), redis.call('SCARD', KEYS[place + 1])
  if most >= 0 and count >= most then return count, most, known_in(place) end
  -- Fewer are known than were: where that is enough nobody has to be looked up.
  if share < 0 or count < by_share(share, known) then return nil end
  known = known_in(place)
  local may = by_share(share, known)
  if count >= may then return count, may, known end
end

for place = 1, #KEYS, 3 do
  local most, share, window = tonumber(ARGV[place + 1]), tonumber(ARGV[place + 2]), tonumber(ARGV[place + 3])
  redis.call('ZREMRANGEBYSCORE', KEYS[place], '-inf', now - window)
  if not redis.call('ZSCORE', KEYS[place], person) then
    local count, may, known = full(place, most, share)
    if count then
      redis.call('SET', KEYS[place + 2], now, 'NX', 'PX', window)
      redis.call('PEXPIRE', KEYS[place + 2], window)
      return {(place - 1) / 3, redis.call('GET', KEYS[place + 2]), count, may, known}
    end
  end
end
for place = 1, #KEYS, 3 do
  redis.call('ZADD', KEYS[place], now, person)
  redis.call('PEXPIRE', KEYS[place], ARGV[place + 3])
end
return {}
"""

Scope = str | None
"""A target; None for all of them."""


class Full(NamedTuple):
    """The window into which a change did not fit."""

    scope: Scope
    episode: str
    """Since when it holds changes, in milliseconds: the name of its alarm."""
    counted: int
    most: int
    known: int
    """How many people, or accounts, the share is of."""


class Windows:
    """The windows in Redis, by its own clock."""

    def __init__(self, redis: Redis) -> None:
        """Keep the step."""
        self._ask = redis.register_script(ASK)

    def ask(self, limit: str, person: str, limits: Mapping[Scope, Limit]) -> Full | None:
        """Count a person in every window; return one that is full, and then the person is counted in none."""
        if not limits:
            return None
        scopes = list(limits)
        places = [
            key for each in scopes for key in (keys.window(limit, each), keys.known(each), keys.episode(limit, each))
        ]
        arguments = [argument for each in limits.values() for argument in _arguments(each)]
        answer: Any = self._ask(keys=places, args=[person, *arguments])
        if not answer:
            return None
        place, episode, count, most, known = answer
        return Full(scopes[place], episode.decode(), count, most, known)


def counted(pipe: Pipeline, key: str, targets: Iterable[str]) -> Mapping[str, float]:
    """Return when a person was counted, by window."""
    names = [keys.window(limit, scope) for limit in LIMITS for scope in (None, *targets)]
    scores: Any = [pipe.zscore(name, key) for name in names]
    return {name: score for name, score in zip(names, scores, strict=True) if score is not None}


def rename(pipe: Pipeline, found: Mapping[str, float], key: str, other: str) -> None:
    """Let another person stand where one was counted, in the caller's atomic step."""
    for name, score in found.items():
        pipe.zrem(name, key)
        pipe.zadd(name, {other: score}, gt=True)


def _arguments(limit: Limit) -> Sequence[float]:
    most = -1 if limit.max is None else limit.max
    share = -1 if limit.share is None else limit.share
    return most, share, int(limit.window.total_seconds() * 1000)
