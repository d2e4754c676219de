-- KEYS: lock, fence   ARGV: fence retention ms
-- Answers 1 when the lock was taken. Its owner is marked as done, so that a repeated acquire of its own is refused.
local taken = redis.call('GET', KEYS[1])
if not taken then
  return 0
end
redis.call('DEL', KEYS[1])
redis.pcall('SET', KEYS[2], taken, 'PX', ARGV[1])
return 1
