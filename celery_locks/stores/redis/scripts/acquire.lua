-- KEYS: lock, fence   ARGV: owner, ttl ms, fence retention ms
-- The lock is kept as `fence:owner`; the fence as `fence:` and the owners that are done with the key, the latest first,
-- a NUL between them.
-- Answers the fence, or {holder, remaining ms} when another owner has the key, or {} when this owner is done with it.
local call, find, sub = redis.call, string.find, string.sub
local taken = call('GET', KEYS[1])
if taken then
  local fence, owner = string.match(taken, '^(%d+):(.*)$')
  if owner ~= ARGV[1] then
    return {owner or taken, call('PTTL', KEYS[1])}
  end
  -- The same owner again: its first answer was lost on the way.
  call('PEXPIRE', KEYS[1], ARGV[2])
  return tonumber(fence)
end
local last = call('GET', KEYS[2]) or '0:'
local _, colon = find(last, '^%d+:')
if not colon then
  return redis.error_reply('WRONGTYPE what is kept under ' .. KEYS[2] .. ' is no fence')
end
local done = sub(last, colon + 1)
-- First whether it is anywhere, which it hardly ever is, and only then between two NULs: the list may be long.
if find(done, ARGV[1], 1, true) and find('\0' .. done .. '\0', '\0' .. ARGV[1] .. '\0', 1, true) then
  -- This owner gave up or released before its request arrived.
  return {}
end
local now = call('TIME')
local fence = math.max(sub(last, 1, colon - 1) + 1, now[1] * 1000000 + now[2])
local written = string.format('%.0f:', fence)
-- The fence first: were it refused after the lock, the lock would stay without its owner knowing.
call('SET', KEYS[2], written .. done, 'PX', ARGV[3])
call('SET', KEYS[1], written .. ARGV[1], 'PX', ARGV[2])
return fence
