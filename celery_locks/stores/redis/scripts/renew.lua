-- KEYS: a lock each   ARGV: for each lock its owner, then its ttl ms
-- Answers 1 for each lock that its owner still had, else 0.
local verdicts = {}
for i, key in ipairs(KEYS) do
  -- A key that holds something else, an error here, must not cost the others their renewal.
  local taken = redis.pcall('GET', key)
  local owner = type(taken) == 'string' and string.match(taken, '^%d+:(.*)$')
  if owner == ARGV[2 * i - 1] then
    verdicts[i] = redis.call('PEXPIRE', key, ARGV[2 * i])
  else
    verdicts[i] = 0
  end
end
return verdicts
