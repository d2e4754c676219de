-- KEYS: lock, fence   ARGV: owner, ttl ms, fence retention ms, attempt
-- The lock is kept as `fence:owner`, a NUL and the attempt that took it; the fence as `fence:` and the owners that are
-- done with the key, the latest first, a NUL between them, those that never held it behind a \1.
-- An attempt is a number that grows from one attempt of an owner to its next. It also proposes the fence: nodes that are
-- told the same number and have counted less all answer that one.
-- Answers the fence, or {holder, remaining ms} when another owner has the key, or {} when this owner is done with it.
local taken = redis.call('GET', KEYS[1])
if taken then
  local fence, owner, attempt = string.match(taken, '^(%d+):(.*)%z(%d+)$')
  if owner ~= ARGV[1] then
    return {owner or taken, redis.call('PTTL', KEYS[1])}
  end
  -- The same owner again. From now on the undoing of an earlier attempt, late on its way, must not take it away.
  local latest = string.format('%.0f', math.max(attempt, ARGV[4]))
  redis.call('SET', KEYS[1], fence .. ':' .. owner .. '\0' .. latest, 'PX', ARGV[2])
  return tonumber(fence)
end
local last, done = string.match(redis.call('GET', KEYS[2]) or '0:', '^(%d+):(.*)$')
if not last then
  return redis.error_reply('WRONGTYPE what is kept under ' .. KEYS[2] .. ' is no fence')
end
done = '\0' .. done .. '\0'
if string.find(done, '\0' .. ARGV[1] .. '\0', 1, true) or string.find(done, '\0\1' .. ARGV[1] .. '\0', 1, true) then
  -- This owner gave up or released before its request arrived.
  return {}
end
local fence = math.max(last + 1, ARGV[4])
local written = string.format('%.0f:', fence)
-- The fence first: were it refused after the lock, the lock would stay without its owner knowing.
redis.call('SET', KEYS[2], written .. string.sub(done, 2, -2), 'PX', ARGV[3])
redis.call('SET', KEYS[1], written .. ARGV[1] .. '\0' .. ARGV[4], 'PX', ARGV[2])
return fence
