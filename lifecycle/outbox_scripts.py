"""The atomic steps of the outbox, in Lua; ``lifecycle.outbox`` says what they are for, ``lifecycle.keys`` where.

Moments are milliseconds since 1970, by the clock of Redis: the processes' own may differ. A line is the deliveries of
one person to one subscriber, of which only the first is ever on its way.
"""

from lifecycle import keys

WAITING_MAX = 100_000
"""Deliveries that wait for one subscriber; what comes after them has failed, and has to be replayed."""
REPLAYED_MAX = WAITING_MAX * 8 // 10
"""Up to which a replay may fill that: what happens meanwhile always finds room."""
CIRCUIT_FAILURES = 5
"""In a row, after which one delivery alone tries the subscriber again and again, and the others wait for it."""
CIRCUIT_MILLISECONDS, CIRCUIT_MILLISECONDS_MAX = 5_000, 120_000
PROBE_MILLISECONDS = 16_000
"""How long that one is waited for: as long as an attempt can last."""
DISABLE_MILLISECONDS = 5 * 86_400_000
"""A subscriber that took nothing for so long is disabled."""
FAILING_GAP_MILLISECONDS = 36 * 3_600_000
"""After so long without an attempt a failure begins a new streak: nobody tried meanwhile."""

_RETENTION = keys.RETENTION_SECONDS
_NOW = """
local seconds, microseconds = unpack(redis.call('TIME'))
local now = seconds * 1000 + math.floor(microseconds / 1000)
"""


def keeping(shift: int) -> str:
    """Return what keeps a signal whose arguments come after so many others."""
    id_, made_at, body = (f"ARGV[{shift + place}]" for place in range(1, 4))
    rest = f"unpack(ARGV, {shift + 4})"
    return f"""
local signal = 'gatepost:signal:' .. {id_}
if redis.call('HSETNX', signal, 'body', {body}) == 1 then
  redis.call('HSET', signal, 'id', {id_}, 'made_at', {made_at}, {rest})
  redis.call('EXPIRE', signal, {_RETENTION})
  redis.call('ZADD', 'gatepost:signals', {made_at}, {id_})
  redis.call('XADD', 'gatepost:outbox', '*', 'id', {id_})
end
"""


# ARGV: id, made at (seconds), body, then names and values of the other fields.
KEEP = keeping(0)

# What a subscriber never took, for people and for replays.
_FAIL = """
local function fail(item, name, now)
  redis.call('ZADD', 'gatepost:failures', now / 1000, 'signal:' .. item .. ':' .. name)
  redis.call('ZADD', 'gatepost:failed:' .. name, now, item)
end
"""

# A line that a replay began stands apart until there is room beside what happens, however long the replay is.
_TAKE = """
local function take(name, now, most)
  local lines, replays = 'gatepost:lines:' .. name, 'gatepost:replays:' .. name
  if most <= 0 or redis.call('EXISTS', replays) == 0 then return end
  local room = most - redis.call('ZCOUNT', lines, '-inf', now)
  local popped = room > 0 and redis.call('ZPOPMIN', replays, room) or {}
  for i = 1, #popped, 2 do redis.call('ZADD', lines, 'NX', now, popped[i]) end
end
"""

# `how` is 1 where the subscriber comes for it, and 2 more where nothing is kept for it while it is disabled; `again`
# lets what has ended begin anew. Answers 1 where the delivery waits now and did not before, and -1 where there is no
# room: then what is new has failed, and what was to begin anew is as it was.
_ENLIST = f"""
{_FAIL}
local function begin(item, name, line, state, reason)
  local delivery = 'gatepost:delivery:' .. item .. ':' .. name
  redis.call('HSET', delivery, 'state', state, 'attempts', 0, 'reason', reason, 'next_attempt_at', '', 'line', line)
  redis.call('EXPIRE', delivery, {_RETENTION})
end

-- To whom it goes that the fan-out may not know of: who subscribed later, or does not want it and asked for it.
local function note(item, name)
  local signal = 'gatepost:signal:' .. item:match('^[^~]*')
  if redis.call('EXISTS', signal) == 0 then return end
  local others = redis.call('HGET', signal, 'replayed')
  others = others and others:sub(1, -2) .. ', ' or '['
  redis.call('HSET', signal, 'replayed', others .. '["' .. item .. '", "' .. name .. '"]]')
end

local function enlist(item, name, line, how, now, again)
  local of = 'gatepost:subscriber:' .. name
  if tonumber(how) >= 2 and redis.call('HEXISTS', of, 'disabled_at') == 1 then return 0 end
  local state = redis.call('HGET', 'gatepost:delivery:' .. item .. ':' .. name, 'state')
  if state == 'waiting' or (state and not again) then return 0 end
  if tonumber(redis.call('HGET', of, 'waiting') or 0) >= (again and {REPLAYED_MAX} or {WAITING_MAX}) then
    if not again then
      begin(item, name, line, 'failed', 'outbox_full')
      fail(item, name, now)
      redis.call('HINCRBY', 'gatepost:metrics', '["gatepost_signals", "' .. name .. '", "failed"]', 1)
    end
    return -1
  end
  begin(item, name, line, 'waiting', '')
  if again and not state then note(item, name) end
  redis.call('ZREM', 'gatepost:failures', 'signal:' .. item .. ':' .. name)
  redis.call('ZREM', 'gatepost:failed:' .. name, item)
  redis.call('HINCRBY', of, 'waiting', 1)
  -- Found while it is paused, however much waits: the latest says how it stands.
  local announces = item:find('~stream-updated', 1, true)
  if announces then redis.call('HSET', of, 'announced', line) end
  if tonumber(how) % 2 == 1 then
    redis.call('RPUSH', 'gatepost:polled:' .. name, item)
  else
    redis.call('RPUSH', 'gatepost:line:' .. name .. ':' .. line, item)
    local lines, replays = 'gatepost:lines:' .. name, 'gatepost:replays:' .. name
    if not again or announces then
      redis.call('ZREM', replays, line)
      redis.call('ZADD', lines, 'NX', now, line)
    elseif not redis.call('ZSCORE', lines, line) then
      redis.call('ZADD', replays, 'NX', now, line)
    end
  end
  return 1
end
"""

# ARGV: revision, then for each signal: its entry, its id, its deliveries (JSON), n, and n times: item, name, line, how.
# Answers {-1} when the subscribers have changed: then nothing is done. Else how many wait now, then name and number of
# each for whom so many found no room.
FAN_OUT = (
    _NOW
    + _ENLIST
    + """
if (redis.call('GET', 'gatepost:subscribers-revision') or '0') ~= ARGV[1] then return {-1} end
local i, enlisted, full = 2, 0, {}
while i <= #ARGV do
  local entry, id, deliveries, n = unpack(ARGV, i, i + 3)
  i = i + 4
  local is_new = redis.call('XDEL', 'gatepost:outbox', entry) == 1
  local signal = 'gatepost:signal:' .. id
  if is_new and redis.call('EXISTS', signal) == 1 then redis.call('HSET', signal, 'deliveries', deliveries) end
  for _ = 1, n do
    if is_new then
      local item, name, line, how = unpack(ARGV, i, i + 3)
      local answer = enlist(item, name, line, how, now, false)
      if answer < 0 then full[name] = (full[name] or 0) + 1 else enlisted = enlisted + answer end
    end
    i = i + 4
  end
end
local answers = {enlisted}
for name, number in pairs(full) do
  answers[#answers + 1] = name
  answers[#answers + 1] = number
end
return answers
"""
)

# ARGV: again and again: item, name, line, how. Ends at the first for which there is no room; answers how many wait now
# that did not, and how many were looked at.
ENLIST_AGAIN = (
    _NOW
    + _ENLIST
    + """
local enlisted = 0
for i = 1, #ARGV, 4 do
  local item, name, line, how = unpack(ARGV, i, i + 3)
  local answer = enlist(item, name, line, how, now, true)
  if answer < 0 then return {enlisted, (i - 1) / 4} end
  enlisted = enlisted + answer
end
return {enlisted, #ARGV / 4}
"""
)

# ARGV: revision, or nothing where any will do, for how long what is claimed is this process's own, how many deliveries
# may be shared out among all, then for each subscriber: name, how many it may have besides of its own, how many in all,
# and the milliseconds from one to the next by its rate, 0 for none. Answers until when, and for each: name, line, item,
# and how many attempts were made; nothing at all when the subscribers have changed: what is sent is sent as they are.
CLAIM = f"""
-- What tells a receiver that its stream is paused is no event that waits for its end.
local function announcement(name, of, now)
  local line = redis.call('HGET', of, 'announced')
  local score = line and redis.call('ZSCORE', 'gatepost:lines:' .. name, line)
  return score and tonumber(score) <= now and {{line}} or {{}}
end

{_TAKE}
{_NOW}
if ARGV[1] ~= '' and (redis.call('GET', 'gatepost:subscribers-revision') or '0') ~= ARGV[1] then return {{}} end
local until_, shared = string.format('%.0f', now + ARGV[2]), tonumber(ARGV[3])
local found = {{until_}}
for i = 4, #ARGV, 4 do
  local name, own, interval = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 3])
  local most = math.min(own + shared, tonumber(ARGV[i + 2]))
  local of, lines = 'gatepost:subscriber:' .. name, 'gatepost:lines:' .. name
  local burst = math.max(1000, interval)
  local at_once = interval > 0 and math.ceil(burst / interval) or most
  take(name, now, math.min(most, at_once))
  local due = most > 0 and redis.call('ZRANGEBYSCORE', lines, '-inf', now, 'LIMIT', 0, most) or {{}}
  if #due > 0 then
    local paused, disabled, failures, opens, rests, next_at =
      unpack(redis.call('HMGET', of, 'paused_at', 'disabled_at', 'failures', 'open_until', 'rest_until', 'next_at'))
    if disabled or tonumber(opens or 0) > now or tonumber(rests or 0) > now then most = 0 end
    if paused and most > 0 then due = announcement(name, of, now) end
    local probes = tonumber(failures or 0) >= {CIRCUIT_FAILURES}
    -- One probe at a time.
    if probes then most = math.min(most, 1) end
    local at = math.max(tonumber(next_at or 0), now)
    for _, line in ipairs(due) do
      if most <= 0 or (interval > 0 and at + interval > now + burst) then break end
      local item = redis.call('LINDEX', 'gatepost:line:' .. name .. ':' .. line, 0)
      if item then
        redis.call('ZADD', lines, until_, line)
        if probes then
          redis.call('HSET', of, 'open_until', string.format('%.0f', now + {PROBE_MILLISECONDS}), 'probing', item)
        end
        local attempts = redis.call('HGET', 'gatepost:delivery:' .. item .. ':' .. name, 'attempts')
        for _, each in ipairs({{name, line, item, attempts or '0'}}) do found[#found + 1] = each end
        most, at = most - 1, at + interval
        if own > 0 then own = own - 1 else shared = shared - 1 end
      else
        redis.call('ZREM', lines, line)
      end
    end
    if interval > 0 then redis.call('HSET', of, 'next_at', string.format('%.0f', at)) end
  end
end
return found
"""

# ARGV: for how long, then names and lines, each with the moment until which it was claimed: one that was recorded
# since, or claimed by another process, is left alone. Answers until when they are claimed now.
RENEW = f"""
{_NOW}
local until_ = string.format('%.0f', now + ARGV[1])
for i = 2, #ARGV, 3 do
  local lines = 'gatepost:lines:' .. ARGV[i]
  if tonumber(redis.call('ZSCORE', lines, ARGV[i + 1]) or 0) == tonumber(ARGV[i + 2]) then
    redis.call('ZADD', lines, 'XX', until_, ARGV[i + 1])
  end
end
return until_
"""

# ARGV: for each attempt: name, line, item, number, attempt (JSON), state, reason, the milliseconds until the next one,
# when that is (text), the counter, what it says of the subscriber, for how long that rests, 1 where it disables that,
# and what to disable it with (JSON): name, why, and the arguments of KEEP for the signal that says so. Answers for each
# 0 where it was recorded before, 1 where it is now, and 2 where that disabled the subscriber.
RECORD = f"""
local function disable(now, ARGV)
  local of = 'gatepost:subscriber:' .. ARGV[1]
  if redis.call('HSETNX', of, 'disabled_at', now) == 0 then return 1 end
  redis.call('HSET', of, 'reason', ARGV[2])
  {keeping(2)}
  return 2
end

-- Answers whether it failed for so long that it is to be disabled.
local function judge(of, now, item, says, rests)
  if says == 'well' then
    redis.call('HDEL', of, 'failures', 'failing_since', 'last_failure_at', 'open_until', 'opened', 'probing',
      'rest_until')
    redis.call('HSET', of, 'last_success_at', now)
    return false
  end
  local probed = redis.call('HGET', of, 'probing') == item
  -- A probe that says nothing makes room for another one; what it waits for itself is no trouble of the subscriber's.
  if probed then redis.call('HDEL', of, 'probing', 'open_until') end
  if says ~= 'ill' and says ~= 'busy' then return false end
  local last = tonumber(redis.call('HGET', of, 'last_failure_at') or 0)
  if now - last > {FAILING_GAP_MILLISECONDS} then redis.call('HDEL', of, 'failing_since') end
  redis.call('HSETNX', of, 'failing_since', now)
  redis.call('HSET', of, 'last_failure_at', now)
  if rests ~= '' then redis.call('HSET', of, 'rest_until', string.format('%.0f', now + rests)) end
  if says == 'ill' then
    local failures = redis.call('HINCRBY', of, 'failures', 1)
    -- What was on its way when it opened says nothing new; a probe that failed does.
    if failures == {CIRCUIT_FAILURES} or probed then
      local opened = tonumber(redis.call('HGET', of, 'opened') or 0)
      local wait = math.min({CIRCUIT_MILLISECONDS} * 2 ^ opened, {CIRCUIT_MILLISECONDS_MAX})
      redis.call('HSET', of, 'open_until', string.format('%.0f', now + wait))
      redis.call('HINCRBY', of, 'opened', 1)
    end
  end
  return now - redis.call('HGET', of, 'failing_since') >= {DISABLE_MILLISECONDS}
end

{_NOW}
local answers = {{}}
for i = 1, #ARGV, 14 do
  local name, line, item, number, attempt, state, reason, wait, due_text, counter, says, rests, disables, with =
    unpack(ARGV, i, i + 13)
  local delivery, of = 'gatepost:delivery:' .. item .. ':' .. name, 'gatepost:subscriber:' .. name
  local box, lines = 'gatepost:line:' .. name .. ':' .. line, 'gatepost:lines:' .. name
  local known = tonumber(redis.call('HGET', delivery, 'attempts') or 0)
  local answer = 0
  if redis.call('LINDEX', box, 0) == item and known < tonumber(number) then
    redis.call('RPUSH', 'gatepost:attempts:' .. item .. ':' .. name, attempt)
    redis.call('EXPIRE', 'gatepost:attempts:' .. item .. ':' .. name, {_RETENTION})
    redis.call('HSET', delivery, 'state', state, 'attempts', number, 'reason', reason, 'next_attempt_at', due_text)
    redis.call('EXPIRE', delivery, {_RETENTION})
    redis.call('HINCRBY', 'gatepost:metrics', counter, 1)
    local failed = judge(of, now, item, says, rests)
    answer = (failed or disables == '1') and disable(now, cjson.decode(with)) or 1
    -- It may have ended, and begun anew by a replay, while this attempt was under way.
    redis.call('ZREM', 'gatepost:replays:' .. name, line)
    if state == 'waiting' then
      redis.call('ZADD', lines, string.format('%.0f', now + wait), line)
    else
      redis.call('LPOP', box)
      redis.call('HINCRBY', of, 'waiting', -1)
      if redis.call('EXISTS', box) == 1 then
        redis.call('ZADD', lines, now, line)
      else
        redis.call('ZREM', lines, line)
      end
    end
    if state == 'failed' then
      redis.call('ZADD', 'gatepost:failures', now / 1000, 'signal:' .. item .. ':' .. name)
      redis.call('ZADD', 'gatepost:failed:' .. name, now, item)
    end
  end
  answers[#answers + 1] = answer
end
return answers
"""

# ARGV: name, state, reason, how many. Ends what waits in lines and what is polled; answers how many have ended.
END_ALL = f"""
{_TAKE}
{_NOW}
local name, state, reason, most, ended = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), 0
local of, lines, polled = 'gatepost:subscriber:' .. name, 'gatepost:lines:' .. name, 'gatepost:polled:' .. name
local function over(item)
  local delivery = 'gatepost:delivery:' .. item .. ':' .. name
  redis.call('HSET', delivery, 'state', state, 'reason', reason, 'next_attempt_at', '')
  -- It may have waited for longer than its record was kept.
  redis.call('EXPIRE', delivery, {_RETENTION})
  redis.call('HINCRBY', of, 'waiting', -1)
  ended = ended + 1
end
repeat
  take(name, now, most)
  local some = redis.call('ZRANGE', lines, 0, most - 1)
  for _, line in ipairs(some) do
    local box = 'gatepost:line:' .. name .. ':' .. line
    for _, item in ipairs(redis.call('LPOP', box, most - ended) or {{}}) do over(item) end
    if redis.call('EXISTS', box) == 0 then redis.call('ZREM', lines, line) end
    if ended >= most then return ended end
  end
until #some == 0
if ended < most then
  for _, item in ipairs(redis.call('LPOP', polled, most - ended) or {{}}) do over(item) end
end
return ended
"""

# ARGV: name, 1 where these items were just seen there, then again and again: item, state, reason. Answers how many
# waited until now. Of what only a receiver says nothing is looked for but what waits, for the list may be long.
POLLED = f"""
{_NOW}
{_FAIL}
local name, seen, ended = ARGV[1], ARGV[2], 0
for i = 3, #ARGV, 3 do
  local item, state, reason = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local delivery = 'gatepost:delivery:' .. item .. ':' .. name
  local may_wait = seen == '1' or redis.call('HGET', delivery, 'state') == 'waiting'
  if may_wait and redis.call('LREM', 'gatepost:polled:' .. name, 1, item) == 1 then
    ended = ended + 1
    redis.call('HSET', delivery, 'state', state, 'reason', reason)
    redis.call('EXPIRE', delivery, {_RETENTION})
    redis.call('HINCRBY', 'gatepost:subscriber:' .. name, 'waiting', -1)
    redis.call('HSET', 'gatepost:subscriber:' .. name, 'last_success_at', now)
    redis.call('HINCRBY', 'gatepost:metrics', '["gatepost_signals", "' .. name .. '", "' .. state .. '"]', 1)
    if state == 'failed' then fail(item, name, now) end
  end
end
return ended
"""

# ARGV: oldest (seconds), how many to pass over, how many to look at. Forgets what failed before that; answers how many
# of those that it looked at there were, and how many stay, for they are no signals.
TRIM_FAILED = """
local found = redis.call('ZRANGEBYSCORE', 'gatepost:failures', '-inf', ARGV[1], 'LIMIT', ARGV[2], ARGV[3])
local stay = 0
for _, failure in ipairs(found) do
  local item, name = failure:match('^signal:([^:]*):(.*)$')
  if item then
    redis.call('ZREM', 'gatepost:failures', failure)
    redis.call('ZREM', 'gatepost:failed:' .. name, item)
  else
    stay = stay + 1
  end
end
return {#found, stay}
"""
