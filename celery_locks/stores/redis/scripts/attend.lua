-- KEYS: for each a lock and its line   ARGV: for each the claim window in ms, the channel, a ticket that is present, or ''
-- Answers for each {ms until it is worth another look, 1 if the key is kept for this ticket}.
local answers = {}
for i = 1, #KEYS / 2 do
  local lock, line, ticket = KEYS[2 * i - 1], KEYS[2 * i], ARGV[3 * i]
  local taken = redis.call('GET', lock)
  local granted = taken == '~' .. ticket
  if ticket ~= '' and not granted then
    redis.call('ZADD', line, string.match(ticket, '^%d+'), ticket)
    redis.call('PEXPIRE', line, LONGEST)
  end
  if not taken then
    granted = hand_over(lock, line, ARGV[3 * i - 2], ARGV[3 * i - 1]) == ticket
  end
  answers[i] = {redis.call('PTTL', lock), granted and 1 or 0}
end
return answers
