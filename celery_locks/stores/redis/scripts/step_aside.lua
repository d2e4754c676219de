-- KEYS: lock, fence, line, homes, slots
-- ARGV: owner, claim window ms, channel, the ticket that it asked with, and what it asked for: '' for the key alone, `r` to
-- read, or to be one of so many
-- Gives back what this owner was just given, because another of its keys is kept for somebody. Where others wait for this one
-- it is kept for the ticket, as a turn is: were it given on, those who wait for several keys could pass their turns round
-- among themselves for ever, and none would have all. Answers 1 when it is.
local mine, kind = ARGV[4], ARGV[5] == 'r' and 'r' or tonumber(ARGV[5])
local here = {lock = KEYS[1], line = KEYS[3], homes = KEYS[4], slots = KEYS[5], window = ARGV[2], channel = ARGV[3]}
local taken, others, kept = redis.pcall('GET', here.lock), redis.pcall('ZCOUNT', here.line, '-inf', '+inf'), false
others = type(others) == 'number' and others > 0
if type(taken) == 'table' and crowds().swept(here) then
  if redis.call('ZREM', here.lock, 'until:' .. ARGV[1], 'fence:' .. ARGV[1]) == 0 then
    return 0
  end
  crowds().fewer(here, 1)
  kept = others and kind and not crowds().keep(here, kind, mine, tonumber(here.window), 0)
  fill(here)
elseif type(taken) == 'string' and string.match(taken, '^%d+:(.*)$') == ARGV[1] then
  redis.call('DEL', here.lock)
  if others and not redis.pcall('SET', here.lock, '~' .. mine, 'PX', here.window).err then
    redis.pcall('ZADD', here.line, -1, mine)
    kept = true
  else
    fill(here)
  end
end
return kept and 1 or 0
