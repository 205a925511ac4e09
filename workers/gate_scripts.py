"""The gate's steps as Lua, each one atomic, on Redis's own clock, so that a fleet has one limit and one opinion.

What all of them share, in front of each:

======================  ================================================================================================
``used``                a sliding window log (a member a request): no span of a window ever holds more than the limit,
                        so no server that counts by fixed windows, sliding windows or a bucket ever says 429. What is
                        reserved and not yet sent is written down at the end of its permit's life, so it counts too, and
                        vanishes by itself when its worker dies
``pace`` ``due``        the theoretical arrival time of a GCRA (ITU-T I.371): requests come evenly, after a small burst
``pace`` ``leaver_at``  when a leaver last asked: for a while after it their share is kept free
``circuit``             failures in a row; ``until`` while it is open; ``probe``, the permit that tries, until when
======================  ================================================================================================

KEYS: used, pace, waiting, needs, granted, circuit, stopped, failures. ARGV: now (empty for Redis's clock), limit (0 for
none), window, guard, the share for leavers, how long a permit lives. All times are milliseconds.
"""

_SHARED = """
local used, pace, waiting, needs, granted, circuit, stopped, failures = unpack(KEYS)
local now, limit, window, guard = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local share, hold = tonumber(ARGV[5]), tonumber(ARGV[6])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local LEAVERS_MS, SHARE_ALWAYS, A_LEAVER, PACE_TTL_MS, ASIDE_MS = 3600000, 0.03, 3, 7200000, 500
-- A larger one would be missing from the window after it.
local burst = math.max(math.min(math.max(2, math.floor(limit * 0.02)), math.floor(limit / 2)), 1)

local function number(key, field)
  return tonumber(redis.call('HGET', key, field)) or 0
end

-- How many requests of a window these may use: leavers all, the others what is not kept for leavers.
local function room(leaver)
  if leaver then return limit end
  -- Before the first of them comes, whole leavers' worth: a part of what one needs would be no use to anybody.
  local kept = math.floor(limit * SHARE_ALWAYS / A_LEAVER) * A_LEAVER
  local asked_at = tonumber(redis.call('HGET', pace, 'leaver_at'))
  if asked_at and now - asked_at < LEAVERS_MS then kept = math.max(math.floor(limit * share), kept) end
  local aside = number(pace, 'aside_until') > now and 1 or 0
  return math.max(limit - kept - aside, 1)
end

-- An attempt asks for all that it needs at once: two that each had a part would keep the rest from each other for ever.
local function tokens(need, leaver)
  if limit == 0 then return 0 end
  return math.max(math.min(need, room(leaver)), 1)
end

local function paused(leaver)
  return number(pace, leaver and 'leavers_until' or 'paused_until') > now
end

local function shut(leaver, permit)
  if not leaver and redis.call('EXISTS', stopped) == 1 then return 'stopped' end
  if paused(leaver) then return 'paused' end
  local open_until = tonumber(redis.call('HGET', circuit, 'until'))
  if not open_until or redis.call('HGET', circuit, 'probe') == permit then return nil end
  if now < open_until or now < number(circuit, 'probe_until') then return 'circuit' end
  return nil
end

local function forget_old()
  redis.call('ZREMRANGEBYSCORE', used, '-inf', now - window - guard)
end

-- The longest step between two requests of the even pace.
local function slowest()
  return window / math.max(room(false) - burst, 1)
end

local function has_room(count, leaver)
  if limit == 0 then return true end
  local most = room(leaver)
  local tolerance = (burst - 1) * slowest()
  local due = math.max(number(pace, 'due'), now)
  if redis.call('ZCARD', used) + count > most then
    -- Whoever waits for the window gathers no credit: else each window began with a burst and ended with a gap.
    if not leaver then redis.call('HSET', pace, 'due', math.max(due, now + tolerance)) end
    return false
  end
  return leaver or due - now <= tolerance
end

local function advance_pace(count)
  local most = room(false)
  local step, left = window / most, most - redis.call('ZCARD', used)
  if left > 0 then
    -- What is left is spread over the time until the first of the window comes free again: slower after a burst, so
    -- that no gap follows, and faster where more came free at once than the even pace would use.
    local oldest = redis.call('ZRANGE', used, 0, 0, 'WITHSCORES')[2] or now
    local spread = (oldest + window + guard - now) / left
    step = math.max(step / 4, math.min(spread, slowest()))
  end
  redis.call('HSET', pace, 'due', math.max(number(pace, 'due'), now) + count * step, 'step', step)
end

local function take(permit, count, leaver, lives_until)
  if redis.call('HEXISTS', circuit, 'until') == 1 then
    redis.call('HSET', circuit, 'probe', permit, 'probe_until', lives_until)
  end
  if limit == 0 then return end
  for i = 1, count do redis.call('ZADD', used, lives_until, permit .. ':' .. i) end
  redis.call('PEXPIRE', used, 2 * window + 2 * hold)
  if not leaver then advance_pace(count) end
  redis.call('PEXPIRE', pace, PACE_TTL_MS)
end

local function give_back(permit, count, sent, leaver)
  if redis.call('HGET', circuit, 'probe') == permit then redis.call('HDEL', circuit, 'probe', 'probe_until') end
  if limit == 0 then return end
  for i = sent + 1, count do redis.call('ZREM', used, permit .. ':' .. i) end
  if count > sent and not leaver and redis.call('HEXISTS', pace, 'due') == 1 then
    redis.call('HINCRBYFLOAT', pace, 'due', -(count - sent) * number(pace, 'step'))
  end
end

-- What is nobody's stands in no line: the next request that comes free is kept for it a moment.
local function keep_one_aside()
  redis.call('HSET', pace, 'aside_until', now + ASIDE_MS)
  redis.call('PEXPIRE', pace, PACE_TTL_MS)
end

-- How many requests a waiting person needs, and since when it waits.
local function need_of(person)
  local need, since = string.match(redis.call('HGET', needs, person) or '', '^(%d+):(%d+)$')
  return tonumber(need) or 1, tonumber(since) or now
end
"""

# ARGV 7: person, need, 1 for a leaver and 2 for nobody, rank, permit.
# Answers 1 or 0, why not, the permit, its tokens or what is needed, now, milliseconds waited or -1, 1 where the end is
# to be told.
ENTER = (
    _SHARED
    + """
local person, need, leaver, rank, permit = ARGV[7], tonumber(ARGV[8]), ARGV[9] ~= '0', tonumber(ARGV[10]), ARGV[11]
local aside = ARGV[9] == '2'
if leaver and not aside and limit > 0 then
  redis.call('HSET', pace, 'leaver_at', now)
  redis.call('PEXPIRE', pace, PACE_TTL_MS)
end
-- An attempt that fell short knows better than an estimate.
if redis.call('HEXISTS', needs, person) == 1 then need = math.max(need, (need_of(person))) end
local count, reason, text = 0, nil, redis.call('HGET', granted, person)
if text then
  local grant = cjson.decode(text)
  redis.call('HDEL', granted, person)
  permit, count = grant.permit, grant.count
  reason = shut(leaver, permit)
  if reason then give_back(permit, count, 0, leaver) end
else
  reason = shut(leaver, permit) or aside and paused(false) and 'paused'
  if limit > 0 and not reason then
    local first = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')
    if first[1] and first[1] ~= person and tonumber(first[2]) <= rank then reason = 'rate' end
  end
  if not reason then
    forget_old()
    count = tokens(need, leaver)
    if has_room(count, leaver) then take(permit, count, leaver, now + hold) else reason = 'rate' end
  end
end
if aside and reason == 'rate' then keep_one_aside() end
if reason then return {0, reason, '', need, now, -1, 0} end
local waited = -1
if redis.call('HEXISTS', needs, person) == 1 then
  local _, since = need_of(person)
  waited = math.max(now - since, 0)
  redis.call('HDEL', needs, person)
  redis.call('ZREM', waiting, person)
end
local troubled = redis.call('EXISTS', circuit) == 1 or redis.call('HEXISTS', pace, 'pauses') == 1
return {1, '', permit, count, now, waited, (troubled or limit > 0) and 1 or 0}
"""
)

# ARGV 7: permit, the token's number, 1 for a leaver and 2 for nobody. Answers why not, or an empty text; now; and how
# many requests of a window these may use.
MORE = (
    _SHARED
    + """
local permit, place, leaver, aside = ARGV[7], ARGV[8], ARGV[9] == '1', ARGV[9] == '2'
local most = room(leaver or aside)
if paused(leaver) then return {'paused', now, most} end
if limit > 0 then
  forget_old()
  if redis.call('ZCARD', used) + 1 > most then
    if aside then keep_one_aside() end
    return {'rate', now, most}
  end
  redis.call('ZADD', used, now + hold, permit .. ':' .. place)
end
return {'', now, most}
"""
)

# ARGV 7: permit, its tokens, 1 for a leaver and 2 for nobody, "ok", "failed" or "nothing", the reason, 1 where a person
# must mend it, the member of failures, failures that open, the first and the longest wait; then when each request was
# made.
# Answers "opened", "closed", "probed" for a probe that failed, or an empty text.
CLOSE = (
    _SHARED
    + """
local permit, count, leaver, verdict, reason = ARGV[7], tonumber(ARGV[8]), ARGV[9] ~= '0', ARGV[10], ARGV[11]
local mends, member, most = ARGV[12] == '1', ARGV[13], tonumber(ARGV[14])
local first_wait, longest_wait, sent = tonumber(ARGV[15]), tonumber(ARGV[16]), #ARGV - 16
local is_probe = redis.call('HGET', circuit, 'probe') == permit
if limit > 0 then
  for i = 1, sent do redis.call('ZADD', used, ARGV[16 + i], permit .. ':' .. i) end
  redis.call('PEXPIRE', used, 2 * window + 2 * hold)
end
give_back(permit, count, sent, leaver)

local function open(wait)
  redis.call('HSET', circuit, 'until', now + wait, 'wait', wait, 'reason', reason)
  if mends then redis.call('ZADD', failures, 'NX', now / 1000, member) end
  return 'opened'
end

local is_open = redis.call('HEXISTS', circuit, 'until') == 1
if verdict == 'ok' then
  redis.call('HDEL', pace, 'pauses')
  if redis.call('DEL', circuit) == 1 and is_open then
    if redis.call('EXISTS', stopped) == 0 then redis.call('ZREM', failures, member) end
    return 'closed'
  end
elseif verdict == 'failed' then
  if not is_open then
    if redis.call('HINCRBY', circuit, 'failures', 1) >= most then return open(first_wait) end
  elseif is_probe then
    open(math.min(number(circuit, 'wait') * 2, longest_wait))
    return 'probed'
  end
end
return ''
"""
)

# ARGV 7: person. Whoever was let in and needs nothing any more leaves what was kept for it to others.
GIVE_UP = (
    _SHARED
    + """
local text = redis.call('HGET', granted, ARGV[7])
if not text then return 0 end
local grant = cjson.decode(text)
redis.call('HDEL', granted, ARGV[7])
give_back(grant.permit, grant.count, 0, grant.rank < 0)
return 1
"""
)

# ARGV 7: milliseconds, or 0 for a target that named none; the shortest and the longest of those, the longest for
# leavers. Two answers of one moment are one request to wait.
PAUSE = (
    _SHARED
    + """
local wait, shortest, longest, leavers = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
if wait == 0 then
  if paused(false) then return 0 end
  local pauses = redis.call('HINCRBY', pace, 'pauses', 1)
  wait = math.min(shortest * 2 ^ math.min(pauses - 1, 16), longest)
end
redis.call('HSET', pace, 'paused_until', math.max(number(pace, 'paused_until'), now + wait))
redis.call('HSET', pace, 'leavers_until', math.max(number(pace, 'leavers_until'), now + math.min(wait, leavers)))
redis.call('PEXPIRE', pace, PACE_TTL_MS)
return 1
"""
)

# ARGV 7: a name for the new permits, how many at once, how many not yet taken, how long one waits for its job.
# Answers how many still wait, then person and 1 for a leaver of each that is let in.
GRANT = (
    _SHARED
    + """
local family, most, outstanding, patience = ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local all = redis.call('HGETALL', granted)
for i = 1, #all, 2 do
  local grant = cjson.decode(all[i + 1])
  if grant.taken_by <= now then
    redis.call('HDEL', granted, all[i])
    give_back(grant.permit, grant.count, 0, grant.rank < 0)
    -- Whoever was settled meanwhile needs nothing any more.
    if redis.call('HEXISTS', needs, all[i]) == 1 then redis.call('ZADD', waiting, 'LT', grant.rank, all[i]) end
  end
end
local answer = {0}
for i = 1, most do
  local first = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')
  if not first[1] or redis.call('HLEN', granted) >= outstanding then break end
  local person, rank = first[1], tonumber(first[2])
  local leaver = rank < 0
  if shut(leaver, '') then break end
  forget_old()
  local count, permit = tokens(need_of(person), leaver), family .. '-' .. i
  if not has_room(count, leaver) then break end
  take(permit, count, leaver, now + patience + hold)
  redis.call('ZREM', waiting, person)
  local grant = {permit = permit, count = count, rank = rank, taken_by = now + patience}
  redis.call('HSET', granted, person, cjson.encode(grant))
  answer[#answer + 1] = person
  answer[#answer + 1] = leaver and 1 or 0
end
answer[1] = redis.call('ZCARD', waiting) + redis.call('HLEN', granted)
return answer
"""
)
