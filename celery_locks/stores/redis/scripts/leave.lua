-- KEYS: for each a lock and its line   ARGV: for each the claim window in ms, the channel, a ticket that waits no longer
-- Answers for each 1 when it was in line or the key was kept for it.
local answers = {}
for i = 1, #KEYS / 2 do
  local lock, line, ticket = KEYS[2 * i - 1], KEYS[2 * i], ARGV[3 * i]
  answers[i] = redis.call('ZREM', line, ticket)
  if redis.call('GET', lock) == '~' .. ticket then
    answers[i] = 1
    redis.call('DEL', lock)
    hand_over(lock, line, ARGV[3 * i - 2], ARGV[3 * i - 1])
  end
end
return answers
