-- KEYS: a lock each   ARGV: of those who hold one together, how many are shown, the lowest fences first
-- Answers for each {what is written, remaining ms}, one behind the other for each holder, or {} when it is free or no lock.
local answers = {}
local function living(key, most)
  local found, from, now = {}, 0, redis.call('TIME')
  now = now[1] * 1000 + now[2] / 1000
  repeat
    local page = redis.pcall('ZRANGE', key, from, from + 99, 'WITHSCORES')
    for i = 1, #page, 2 do
      local fence, owner = tonumber(page[i + 1]), string.match(page[i], '^fence:(.*)$')
      if not owner or fence >= 0 or #found == 2 * most then
        return found
      end
      local ends = (redis.call('ZSCORE', key, 'until:' .. owner) or 0) - now
      if ends > 0 then
        found[#found + 1] = string.format('%.0f:', 9e15 + fence) .. owner
        found[#found + 1] = math.ceil(ends)
      end
    end
    from = from + 100
  until #page < 200
  return found
end
for i, key in ipairs(KEYS) do
  local taken = redis.pcall('GET', key)
  if type(taken) == 'table' then
    answers[i] = living(key, tonumber(ARGV[1]))
  else
    answers[i] = taken and {taken, redis.call('PTTL', key)} or {}
  end
end
return answers
