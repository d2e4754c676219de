-- KEYS: lock   Answers {what is written, remaining ms}, or {} when it is free.
local taken = redis.call('GET', KEYS[1])
if not taken then
  return {}
end
return {taken, redis.call('PTTL', KEYS[1])}
