-- KEYS: positions   ARGV: fence
-- Answers names and texts in turn; nil under a higher fence.
local last = redis.call('HGET', KEYS[1], 'fence')
if last and tonumber(last) > tonumber(ARGV[1]) then
  return false
end
redis.call('HSET', KEYS[1], 'fence', ARGV[1])
return redis.call('HGETALL', KEYS[1])
