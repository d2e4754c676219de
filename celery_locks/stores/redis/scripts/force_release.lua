-- KEYS: lock, fence   ARGV: fence retention ms
-- Answers 1 when the lock was taken. Its owner is not marked as done: a release of its own has to say that it had lost.
local taken = redis.call('GET', KEYS[1])
if not taken then
  return 0
end
redis.call('DEL', KEYS[1])
local fence = string.match(taken, '^%d+:')
if fence then
  -- A lock that was renewed for longer than fences are kept has outlived its own.
  redis.pcall('SET', KEYS[2], fence, 'PX', ARGV[1], 'NX')
end
return 1
