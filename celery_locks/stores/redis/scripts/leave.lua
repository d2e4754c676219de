-- KEYS: for each a lock, its line and, for all or none, its homes, and its slots
-- ARGV: for each the claim window in ms, the channel, a ticket that waits no longer
-- Answers for each 1 when it was in line, else 0.
local answers = {}
local count = #ARGV / 3
local names = #KEYS / count
for i = 1, count do
  local lock, line, homes, slots = unpack(KEYS, names * (i - 1) + 1, names * i)
  local here = {lock = lock, line = line, homes = homes, slots = slots}
  here.window, here.channel = ARGV[3 * i - 2], ARGV[3 * i - 1]
  answers[i] = left(here, ARGV[3 * i])
end
return answers
