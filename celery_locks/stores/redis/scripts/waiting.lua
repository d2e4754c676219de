-- Goes after line.   KEYS: a line each   Answers how many wait in each.
local answers, gone = {}, string.format('(%.0f', AWAY + microseconds() - GONE)
for i, line in ipairs(KEYS) do
  local all = redis.pcall('ZCARD', line)
  answers[i] = type(all) == 'number' and all - redis.call('ZCOUNT', line, string.format('%.0f', AWAY), gone) or 0
end
return answers
