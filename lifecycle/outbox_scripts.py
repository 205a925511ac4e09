"""The atomic steps of the outbox, in Lua; ``lifecycle.outbox`` says what they are for, ``lifecycle.keys`` where.

Moments are milliseconds since 1970, by the clock of whoever calls. A line is the deliveries of one person to one
subscriber, of which only the first is ever on its way. What a line or a subscriber is called comes after the last
colon of a key, so none of them is looked for in it.
"""

from lifecycle import keys

WAITING_MAX = 100_000
"""Deliveries that wait for one subscriber; what comes after them has to be replayed."""
CIRCUIT_FAILURES = 5
CIRCUIT_MILLISECONDS, CIRCUIT_MILLISECONDS_MAX = 15_000, 120_000

_RETENTION = keys.RETENTION_SECONDS

# ARGV: id, made at (seconds), body, then names and values of the other fields.
KEEP = f"""
local signal = 'gatepost:signal:' .. ARGV[1]
if redis.call('HSETNX', signal, 'body', ARGV[3]) == 1 then
  redis.call('HSET', signal, 'id', ARGV[1], 'made_at', ARGV[2], unpack(ARGV, 4))
  redis.call('EXPIRE', signal, {_RETENTION})
  redis.call('ZADD', 'gatepost:signals', ARGV[2], ARGV[1])
  redis.call('XADD', 'gatepost:outbox', '*', 'id', ARGV[1])
end
"""

# `again` lets what has ended begin anew. Answers whether the delivery waits now and did not before.
_ENLIST = f"""
local function enlist(item, name, line, polled, now, again)
  local delivery, of = 'gatepost:delivery:' .. item .. ':' .. name, 'gatepost:subscriber:' .. name
  local state = redis.call('HGET', delivery, 'state')
  if state == 'waiting' or (state and not again) then return 0 end
  redis.call('HSET', delivery, 'state', 'waiting', 'attempts', 0, 'reason', '', 'next_attempt_at', '', 'line', line)
  redis.call('EXPIRE', delivery, {_RETENTION})
  redis.call('ZREM', 'gatepost:failures', 'signal:' .. item .. ':' .. name)
  redis.call('ZREM', 'gatepost:failed:' .. name, item)
  if tonumber(redis.call('HGET', of, 'waiting') or 0) >= {WAITING_MAX} then
    redis.call('HSET', delivery, 'state', 'failed', 'reason', 'outbox_full')
    redis.call('ZADD', 'gatepost:failed:' .. name, now, item)
    return 0
  end
  redis.call('HINCRBY', of, 'waiting', 1)
  if polled then
    redis.call('RPUSH', 'gatepost:polled:' .. name, item)
  else
    redis.call('RPUSH', 'gatepost:line:' .. name .. ':' .. line, item)
    redis.call('ZADD', 'gatepost:lines:' .. name, 'NX', now, line)
  end
  return 1
end
"""

# ARGV: revision, now, then for each signal: its entry, its id, its subscribers (JSON), n, and n times: item, name,
# line, 1 where it is polled. Answers -1 when the subscribers have changed: then nothing is done.
FAN_OUT = (
    _ENLIST
    + """
if (redis.call('GET', 'gatepost:subscribers-revision') or '0') ~= ARGV[1] then return -1 end
local i, enlisted = 3, 0
while i <= #ARGV do
  local entry, id, names, n = unpack(ARGV, i, i + 3)
  i = i + 4
  local is_new = redis.call('XDEL', 'gatepost:outbox', entry) == 1
  if is_new then redis.call('HSET', 'gatepost:signal:' .. id, 'subscribers', names) end
  for _ = 1, n do
    if is_new then
      enlisted = enlisted + enlist(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3] == '1', ARGV[2], false)
    end
    i = i + 4
  end
end
return enlisted
"""
)

# ARGV: now, then again and again: item, name, line, 1 where it is polled. Answers how many wait now that did not.
ENLIST_AGAIN = (
    _ENLIST
    + """
local enlisted = 0
for i = 2, #ARGV, 4 do
  enlisted = enlisted + enlist(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3] == '1', ARGV[1], true)
end
return enlisted
"""
)

# ARGV: now, until when what is claimed is this process's own, then for each subscriber: name, how many, and the
# milliseconds from one to the next by its rate, 0 for none. Answers for each: name, line, item, attempts made.
CLAIM = f"""
local now, until_, found = tonumber(ARGV[1]), ARGV[2], {{}}
for i = 3, #ARGV, 3 do
  local name, most, interval = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local of, lines = 'gatepost:subscriber:' .. name, 'gatepost:lines:' .. name
  local due = redis.call('ZRANGEBYSCORE', lines, '-inf', now, 'LIMIT', 0, most)
  if #due > 0 then
    local paused, disabled, failures, opens, rests, next_at =
      unpack(redis.call('HMGET', of, 'paused_at', 'disabled_at', 'failures', 'open_until', 'rest_until', 'next_at'))
    if paused or disabled or tonumber(opens or 0) > now or tonumber(rests or 0) > now then most = 0 end
    if tonumber(failures or 0) >= {CIRCUIT_FAILURES} and most > 0 then
      -- One probe at a time.
      most = 1
      redis.call('HSET', of, 'open_until', until_)
    end
    local at, burst = math.max(tonumber(next_at or 0), now), math.max(1000, interval)
    for _, line in ipairs(due) do
      if most <= 0 or (interval > 0 and at + interval > now + burst) then break end
      local item = redis.call('LINDEX', 'gatepost:line:' .. name .. ':' .. line, 0)
      if item then
        redis.call('ZADD', lines, until_, line)
        local attempts = redis.call('HGET', 'gatepost:delivery:' .. item .. ':' .. name, 'attempts')
        for _, each in ipairs({{name, line, item, attempts or '0'}}) do found[#found + 1] = each end
        most, at = most - 1, at + interval
      else
        redis.call('ZREM', lines, line)
      end
    end
    if interval > 0 then redis.call('HSET', of, 'next_at', string.format('%.0f', at)) end
  end
end
return found
"""

# ARGV: until when, then names and lines, each with the moment until which it was claimed: one that was recorded since,
# or claimed by another process, is left alone.
RENEW = """
for i = 2, #ARGV, 3 do
  local lines = 'gatepost:lines:' .. ARGV[i]
  if tonumber(redis.call('ZSCORE', lines, ARGV[i + 1]) or 0) == tonumber(ARGV[i + 2]) then
    redis.call('ZADD', lines, 'XX', ARGV[1], ARGV[i + 1])
  end
end
"""

# ARGV: now, then for each attempt: name, line, item, number, attempt (JSON), state, reason, due (milliseconds), due
# (text), the counter, its verdict (well, ill, or refused by a limit), until when the subscriber rests, why it is
# disabled, n, and n arguments of KEEP for the signal that says so. Answers 1 for each that was recorded.
RECORD = f"""
local function keep(id, made_at, body, ...)
  local signal = 'gatepost:signal:' .. id
  if redis.call('HSETNX', signal, 'body', body) == 1 then
    redis.call('HSET', signal, 'id', id, 'made_at', made_at, ...)
    redis.call('EXPIRE', signal, {_RETENTION})
    redis.call('ZADD', 'gatepost:signals', made_at, id)
    redis.call('XADD', 'gatepost:outbox', '*', 'id', id)
  end
end

local function judge(of, now, verdict, rests)
  if verdict == 'well' then
    redis.call('HDEL', of, 'failures', 'failing_since', 'last_failure_at', 'open_until', 'opened', 'rest_until')
    redis.call('HSET', of, 'last_success_at', now)
    return
  end
  redis.call('HSETNX', of, 'failing_since', now)
  redis.call('HSET', of, 'last_failure_at', now)
  if rests ~= '' then redis.call('HSET', of, 'rest_until', rests) end
  if verdict ~= 'ill' then return end
  local failures = redis.call('HINCRBY', of, 'failures', 1)
  local opened = tonumber(redis.call('HGET', of, 'opened') or 0)
  if failures < {CIRCUIT_FAILURES} then return end
  if failures > {CIRCUIT_FAILURES} and opened == 0 then return end
  -- Those that were on their way when it opened say nothing new; a probe that failed does.
  local wait = math.min({CIRCUIT_MILLISECONDS} * 2 ^ opened, {CIRCUIT_MILLISECONDS_MAX})
  redis.call('HSET', of, 'open_until', string.format('%.0f', now + wait), 'opened', opened + 1)
end

local now, i, answers = tonumber(ARGV[1]), 2, {{}}
while i <= #ARGV do
  local name, line, item, number, attempt, state, reason, due, due_text, counter, verdict, rests, disabled, n =
    unpack(ARGV, i, i + 13)
  local delivery, of = 'gatepost:delivery:' .. item .. ':' .. name, 'gatepost:subscriber:' .. name
  local box, lines = 'gatepost:line:' .. name .. ':' .. line, 'gatepost:lines:' .. name
  local known = tonumber(redis.call('HGET', delivery, 'attempts') or 0)
  -- What is not so was recorded before, and Redis died before it said so; or another made this attempt too.
  local is_new = redis.call('LINDEX', box, 0) == item and known < tonumber(number)
  answers[#answers + 1] = is_new and 1 or 0
  if is_new then
    redis.call('RPUSH', 'gatepost:attempts:' .. item .. ':' .. name, attempt)
    redis.call('EXPIRE', 'gatepost:attempts:' .. item .. ':' .. name, {_RETENTION})
    redis.call('HSET', delivery, 'state', state, 'attempts', number, 'reason', reason, 'next_attempt_at', due_text)
    redis.call('HINCRBY', 'gatepost:metrics', counter, 1)
    judge(of, now, verdict, rests)
    if state == 'waiting' then
      redis.call('ZADD', lines, due, line)
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
    if disabled ~= '' and redis.call('HSETNX', of, 'disabled_at', now) == 1 then
      redis.call('HSET', of, 'reason', disabled)
      keep(unpack(ARGV, i + 14, i + 13 + n))
    end
  end
  i = i + 14 + n
end
return answers
"""

# ARGV: name, state, reason, how many. Ends what waits in lines and what is polled; answers how many have ended.
END_ALL = """
local name, state, reason, most, ended = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), 0
local of, lines, polled = 'gatepost:subscriber:' .. name, 'gatepost:lines:' .. name, 'gatepost:polled:' .. name
local function over(item)
  local delivery = 'gatepost:delivery:' .. item .. ':' .. name
  redis.call('HSET', delivery, 'state', state, 'reason', reason, 'next_attempt_at', '')
  redis.call('HINCRBY', of, 'waiting', -1)
  ended = ended + 1
end
for _, line in ipairs(redis.call('ZRANGE', lines, 0, most - 1)) do
  local box = 'gatepost:line:' .. name .. ':' .. line
  for _, item in ipairs(redis.call('LPOP', box, most - ended) or {}) do over(item) end
  if redis.call('EXISTS', box) == 0 then redis.call('ZREM', lines, line) end
  if ended >= most then return ended end
end
if ended < most then
  for _, item in ipairs(redis.call('LPOP', polled, most - ended) or {}) do over(item) end
end
return ended
"""

# ARGV: now (milliseconds), name, then again and again: item, state, reason. Answers how many waited until now.
POLLED = """
local now, name, ended = ARGV[1], ARGV[2], 0
for i = 3, #ARGV, 3 do
  local item, state, reason = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if redis.call('LREM', 'gatepost:polled:' .. name, 1, item) == 1 then
    ended = ended + 1
    redis.call('HSET', 'gatepost:delivery:' .. item .. ':' .. name, 'state', state, 'reason', reason)
    redis.call('HINCRBY', 'gatepost:subscriber:' .. name, 'waiting', -1)
    redis.call('HSET', 'gatepost:subscriber:' .. name, 'last_success_at', now)
    redis.call('HINCRBY', 'gatepost:metrics', '["gatepost_signals", "' .. name .. '", "' .. state .. '"]', 1)
    if state == 'failed' then
      redis.call('ZADD', 'gatepost:failures', now / 1000, 'signal:' .. item .. ':' .. name)
      redis.call('ZADD', 'gatepost:failed:' .. name, now, item)
    end
  end
end
return ended
"""
