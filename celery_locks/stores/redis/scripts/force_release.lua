-- KEYS: lock, fence, line, homes   ARGV: fence retention ms, claim window ms, channel
-- Answers 1 when the lock was taken; one that is kept for the first in its line is not.
-- Its owner is not marked as done: a release of its own has to say that it had lost.
local taken = redis.call('GET', KEYS[1])
if not taken or string.sub(taken, 1, 1) == '~' then
  return 0
end
redis.call('DEL', KEYS[1])
local fence = string.match(taken, '^%d+:')
if fence then
  -- A lock that was renewed for longer than fences are kept has outlived its own.
  redis.pcall('SET', KEYS[2], fence, 'PX', ARGV[1], 'NX')
end
local here = {lock = KEYS[1], line = KEYS[3], homes = KEYS[4], window = ARGV[2], channel = ARGV[3]}
hand_over(here, first(here))
return 1
