-- KEYS: how many conflicts each key had, for how long was waited for it, for how long it was held at most   ARGV: how many
-- Answers of each key, those with the most conflicts first, its name, and the three.
local answers, found = {}, redis.call('ZREVRANGE', KEYS[1], 0, ARGV[1] - 1, 'WITHSCORES')
for i = 1, #found, 2 do
  local key = found[i]
  local waited, held = redis.call('ZSCORE', KEYS[2], key), redis.call('ZSCORE', KEYS[3], key)
  answers[#answers + 1] = {key, found[i + 1], waited or '0', held or '0'}
end
return answers
