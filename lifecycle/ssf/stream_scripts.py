"""The atomic steps of streams, in Lua; ``lifecycle.ssf.streams`` says what they are for, ``lifecycle.keys`` where."""

# ARGV: stream, its new format, now (milliseconds). What waits keeps its order, that of each person at least.
MOVE = """
local name, format, now = ARGV[1], ARGV[2], ARGV[3]
local polled, lines = 'gatepost:polled:' .. name, 'gatepost:lines:' .. name
if format == 'ssf_poll' then
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
