-- KEYS: a lock each   ARGV: for each lock its owner, then its ttl ms
-- Answers 1 for each lock that its owner still had, else 0.
local verdicts = {}
for i, key in ipairs(KEYS) do
  local owner = string.match(redis.call('GET', key) or '', '^%d+:(.*)$')
  if owner and owner == ARGV[2 * i - 1] then
    verdicts[i] = redis.call('PEXPIRE', key, ARGV[2 * i])
  else
    verdicts[i] = 0
  end
end
return verdicts
