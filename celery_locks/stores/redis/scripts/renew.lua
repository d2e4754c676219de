-- KEYS: a lock each   ARGV: for each lock its owner, then its ttl ms
-- Answers 1 for each lock that its owner still had, else 0.
local verdicts = {}
local function renewed_with_others(key, owner, ttl)
  local ends, now = redis.pcall('ZSCORE', key, 'until:' .. owner), redis.call('TIME')
  now = now[1] * 1000 + now[2] / 1000
  if type(ends) ~= 'string' or tonumber(ends) <= math.floor(now) then
    return 0
  end
  -- As the crowd does it, but the set's own end first: a full server refuses a write that may need memory only if it is
  -- the first of its script, and this one it never does.
  redis.call('PEXPIRE', key, math.max(redis.call('PTTL', key), math.min(9e14, ttl + 10000)))
  redis.call('ZADD', key, string.format('%.0f', math.min(9e14, math.ceil(now) + ttl)), 'until:' .. owner)
  return 1
end
for i, key in ipairs(KEYS) do
  -- A key that holds something else, an error here, must not cost the others their renewal.
  local taken = redis.pcall('GET', key)
  local owner = type(taken) == 'string' and string.match(taken, '^%d+:(.*)$')
  if owner == ARGV[2 * i - 1] then
    verdicts[i] = redis.call('PEXPIRE', key, ARGV[2 * i])
  elseif type(taken) == 'table' then
    verdicts[i] = renewed_with_others(key, ARGV[2 * i - 1], tonumber(ARGV[2 * i]))
  else
    verdicts[i] = 0
  end
end
return verdicts
