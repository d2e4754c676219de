-- KEYS: for each a lock and its line   ARGV: for each the claim window in ms, the channel, a ticket that waits no longer
-- Answers for each 1 when it was in line, else 0.
local answers = {}
for i = 1, #KEYS / 2 do
  answers[i] = left(KEYS[2 * i - 1], KEYS[2 * i], ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i])
end
return answers
