-- KEYS: positions   ARGV: fence
-- Answers names and texts in turn; nil under a higher fence.
local above = tonumber(redis.call('HGET', KEYS[1], 'fence') or 0) - tonumber(ARGV[1])
if above > 0 then
  return false
end
if above < 0 then
  redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'number', 0)
end
return redis.call('HGETALL', KEYS[1])
