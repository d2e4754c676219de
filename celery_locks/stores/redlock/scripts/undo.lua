-- KEYS: lock   ARGV: owner, attempt
-- Takes back what this attempt of the owner was given, or an earlier one of its attempts; never what a later one was.
-- The owner may ask again. Answers 1 when there was something to take back, else 0.
local taken = redis.call('GET', KEYS[1])
local owner, attempt = string.match(taken or '', '^%d+:(.*)%z(%d+)$')
if owner == ARGV[1] and tonumber(attempt) <= tonumber(ARGV[2]) then
  return redis.call('DEL', KEYS[1])
end
return 0
