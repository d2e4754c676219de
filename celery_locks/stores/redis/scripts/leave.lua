-- KEYS: for each a lock, its line and its homes
-- ARGV: for each the claim window in ms, the channel, a ticket that waits no longer
-- Answers for each 1 when it was in line, else 0.
local answers = {}
for i = 1, #KEYS / 3 do
  local here = {lock = KEYS[3 * i - 2], line = KEYS[3 * i - 1], homes = KEYS[3 * i]}
  here.window, here.channel = ARGV[3 * i - 2], ARGV[3 * i - 1]
  answers[i] = left(here, ARGV[3 * i])
end
return answers
