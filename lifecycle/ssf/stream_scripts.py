"""The atomic steps of streams, in Lua; ``lifecycle.ssf.streams`` says what they are for, ``lifecycle.keys`` where."""

from lifecycle.outbox_scripts import keeping

# ARGV: stream, its new format, now (milliseconds). What waits keeps its order, that of each person at least.
MOVE = """
local name, format, now = ARGV[1], ARGV[2], ARGV[3]
local polled, lines = 'gatepost:polled:' .. name, 'gatepost:lines:' .. name
if format == 'ssf_poll' then
  local replays = 'gatepost:replays:' .. name
  redis.call('ZUNIONSTORE', lines, 2, lines, replays, 'AGGREGATE', 'MIN')
  redis.call('DEL', replays)
  for _, line in ipairs(redis.call('ZRANGE', lines, 0, -1)) do
    local box = 'gatepost:line:' .. name .. ':' .. line
    for _, item in ipairs(redis.call('LRANGE', box, 0, -1)) do redis.call('RPUSH', polled, item) end
    redis.call('DEL', box)
  end
  redis.call('DEL', lines)
else
  for _, item in ipairs(redis.call('LRANGE', polled, 0, -1)) do
    local line = redis.call('HGET', 'gatepost:delivery:' .. item .. ':' .. name, 'line') or item
    redis.call('RPUSH', 'gatepost:line:' .. name .. ':' .. line, item)
    redis.call('ZADD', lines, 'NX', now, line)
  end
  redis.call('DEL', polled)
end
"""

# ARGV: stream, SADD or SREM, subject, how many there may be. Answers 0 where there are that many. The revision counts
# what makes a difference alone.
EXCLUDE = """
local subjects, command, subject = 'gatepost:excluded:' .. ARGV[1], ARGV[2], ARGV[3]
if command == 'SADD' and redis.call('SISMEMBER', subjects, subject) == 0
    and redis.call('SCARD', subjects) >= tonumber(ARGV[4]) then return 0 end
if redis.call(command, subjects, subject) == 1 then redis.call('INCR', 'gatepost:subscribers-revision') end
return 1
"""

# ARGV: stream, how it stood when it was looked at (six fields, empty for none), how it is to stand, 1 where what failed
# is forgiven, then, where its receiver is told, the arguments of KEEP. Answers 0 where it stands otherwise by now.
STAND = f"""
local of = 'gatepost:subscriber:' .. ARGV[1]
local names = {{'paused_at', 'paused_by', 'disabled_at', 'disabled_by', 'reason', 'pause_beneath'}}
local found = redis.call('HMGET', of, unpack(names))
for i, name in ipairs(names) do
  if (found[i] or '') ~= ARGV[1 + i] then return 0 end
end
for i, name in ipairs(names) do
  if ARGV[7 + i] == '' then redis.call('HDEL', of, name) else redis.call('HSET', of, name, ARGV[7 + i]) end
end
if ARGV[14] == '1' then
  redis.call('HDEL', of, 'failures', 'failing_since', 'last_failure_at', 'open_until', 'opened', 'probing',
    'rest_until')
end
if #ARGV > 14 then
  {keeping(14)}
end
return 1
"""
