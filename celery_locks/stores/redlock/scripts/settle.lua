-- KEYS: for each lock itself and its fence
-- ARGV: fence retention ms, attempt ('' where nothing is to be given anew), then for each lock owner, ttl ms, fence
-- Writes down the fence that the majority has come to, where the owner has the lock, and with an attempt also where the
-- lock is free. Answers 1 for each lock where it is written, else 0.
local verdicts = {}
for i = 1, #KEYS / 2 do
  local lock, memory = KEYS[2 * i - 1], KEYS[2 * i]
  local owner, ttl, fence = ARGV[3 * i], ARGV[3 * i + 1], ARGV[3 * i + 2]
  local taken, kept = redis.pcall('GET', lock), redis.pcall('GET', memory)
  local last, done = string.match(type(kept) == 'string' and kept or kept and '' or '0:', '^(%d+):(.*)$')
  local holder, attempt
  if type(taken) == 'string' then
    holder, attempt = string.match(taken, '^%d+:(.*)%z(%d+)$')
  elseif not taken and ARGV[2] ~= '' and done then
    local listed = '\0' .. done .. '\0'
    local over = string.find(listed, '\0' .. owner .. '\0', 1, true) or string.find(listed, '\0\1' .. owner .. '\0', 1, true)
    holder, attempt = not over and owner, ARGV[2]
  end
  verdicts[i] = 0
  if last and holder == owner then
    redis.call('SET', memory, string.format('%.0f:', math.max(last, fence)) .. done, 'PX', ARGV[1])
    redis.call('SET', lock, fence .. ':' .. owner .. '\0' .. attempt, 'PX', ttl)
    verdicts[i] = 1
  end
end
return verdicts
