-- KEYS: lock, fence   ARGV: owner, ttl ms, fence retention ms
-- The lock is kept as `fence:owner`; the fence as `fence:` and the owners that are done with the key, the latest first,
-- a NUL between them.
-- Answers the fence, or {holder, remaining ms} when another owner has the key, or {} when this owner is done with it.
local taken = redis.call('GET', KEYS[1])
if taken then
  local fence, owner = string.match(taken, '^(%d+):(.*)$')
  if owner ~= ARGV[1] then
    return {owner or taken, redis.call('PTTL', KEYS[1])}
  end
  -- The same owner again: its first answer was lost on the way.
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return tonumber(fence)
end
local last, done = string.match(redis.call('GET', KEYS[2]) or '0:', '^(%d+):(.*)$')
if not last then
  return redis.error_reply('WRONGTYPE what is kept under ' .. KEYS[2] .. ' is no fence')
end
if string.find('\0' .. done .. '\0', '\0' .. ARGV[1] .. '\0', 1, true) then
  -- This owner gave up or released before its request arrived.
  return {}
end
local now = redis.call('TIME')
local fence = math.max(last + 1, now[1] * 1000000 + now[2])
local written = string.format('%.0f:', fence)
-- The fence first: were it refused after the lock, the lock would stay without its owner knowing.
redis.call('SET', KEYS[2], written .. done, 'PX', ARGV[3])
redis.call('SET', KEYS[1], written .. ARGV[1], 'PX', ARGV[2])
return fence
