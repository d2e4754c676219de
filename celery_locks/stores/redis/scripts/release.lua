-- KEYS: lock, fence   ARGV: owner, fence retention ms, 1 to leave a mark although the owner does not hold the lock
-- Answers 1 when the lock is given back, now or by an earlier call of this owner, else 0.
local fence, owner = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+):(.*)$')
local held = owner == ARGV[1]
if held then
  redis.call('DEL', KEYS[1])
end
local last, released = string.match(redis.call('GET', KEYS[2]) or '', '^(%d+):(.*)$')
if released == ARGV[1] then
  return 1
end
if held or ARGV[3] == '1' then
  -- The mark refuses a late acquire. It may fail for want of memory: the release itself must not.
  redis.pcall('SET', KEYS[2], (fence or last or '0') .. ':' .. ARGV[1], 'PX', ARGV[2])
end
return held and 1 or 0
