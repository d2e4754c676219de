-- KEYS: lock, fence   ARGV: owner, ttl ms, fence retention ms
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
local last, released = string.match(redis.call('GET', KEYS[2]) or '', '^(%d+):(.*)$')
if released == ARGV[1] then
  -- This owner gave up or released before its request arrived.
  return {}
end
local now = redis.call('TIME')
local fence = math.max((tonumber(last) or 0) + 1, now[1] * 1000000 + now[2])
local written = string.format('%.0f', fence)
redis.call('SET', KEYS[1], written .. ':' .. ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], written .. ':' .. (released or ''), 'PX', ARGV[3])
return fence
