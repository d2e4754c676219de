-- KEYS: a lock each   ARGV: for each lock its owner, then its ttl ms
-- Answers 1 for each lock that its owner still had, else 0.
local verdicts = {}
for i, key in ipairs(KEYS) do
  -- A key that holds something else, an error here, must not cost the others their renewal.
  local taken = redis.pcall('GET', key)
  local owner = type(taken) == 'string' and string.match(taken, '^%d+:(.*)%z%d+$')
  verdicts[i] = owner == ARGV[2 * i - 1] and redis.call('PEXPIRE', key, ARGV[2 * i]) or 0
end
return verdicts
