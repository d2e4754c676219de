-- KEYS: lock, fence, line, homes, slots   ARGV: fence retention ms, claim window ms, channel
-- Answers 1 when the lock was taken; one that is kept for the first in its line is not.
-- Its owners are not marked as done: a release of their own has to say that they had lost.
local here = {lock = KEYS[1], line = KEYS[3], homes = KEYS[4], slots = KEYS[5], window = ARGV[2], channel = ARGV[3]}
local taken, fence = redis.pcall('GET', KEYS[1]), nil
if type(taken) == 'table' then
  if crowds().swept(here) == false then
    return taken
  elseif not here.crowd or not crowds().first_holder(here) then
    return 0
  end
  while here.crowd and crowds().first_holder(here) do
    local holders, gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(0', 'WITHSCORES', 'LIMIT', 0, 1000), {}
    for i = 1, #holders, 2 do
      gone[i], gone[i + 1] = holders[i], 'until:' .. string.sub(holders[i], 7)
      fence = string.format('%.0f:', HIGHEST + holders[i + 1])
    end
    redis.call('ZREM', KEYS[1], unpack(gone))
    crowds().fewer(here, #gone / 2)
  end
elseif not taken or string.sub(taken, 1, 1) == '~' then
  return 0
else
  redis.call('DEL', KEYS[1])
  fence = string.match(taken, '^%d+:')
end
if fence then
  -- A lock that was renewed for longer than fences are kept has outlived its own.
  redis.pcall('SET', KEYS[2], fence, 'PX', ARGV[1], 'NX')
end
fill(here)
return 1
