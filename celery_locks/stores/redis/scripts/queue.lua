-- Goes after line.   KEYS: line, homes   ARGV: how many at most
-- Answers for each in line, the first first: its ticket, its score, and 1 if it waits in a slot.
local line = redis.pcall('ZRANGE', KEYS[1], 0, ARGV[1] - 1, 'WITHSCORES')
local shown, gone = {}, AWAY + microseconds() - GONE
for i = 1, #line, 2 do
  local ticket, score = line[i], tonumber(line[i + 1])
  if score < AWAY or score >= gone then
    local home = redis.pcall('HGET', KEYS[2], ticket)
    local in_slot = type(home) == 'string' and string.find(home, ' slot', 1, true)
    shown[#shown + 1] = {ticket, string.format('%.0f', score), in_slot and 1 or 0}
  end
end
return shown
