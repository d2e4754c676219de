-- Goes before acquire and enter: who is done with the key, and the next fence.
local function is_done(done, owner)
  -- First whether it is anywhere, which it hardly ever is, and only then between two NULs: the list may be long.
  return string.find(done, owner, 1, true) and string.find('\0' .. done .. '\0', '\0' .. owner .. '\0', 1, true)
end

-- Whether an owner gave up or released before its request arrived.
local function is_too_late(fence, owner)
  local last = redis.pcall('GET', fence)
  return is_done(type(last) == 'string' and string.match(last, '^%d+:(.*)$') or '', owner)
end

-- The fence, noted, and how it is written; for an owner that gave up or released before its request arrived, nothing, and
-- for what cannot be read an error.
local function next_fence(owner)
  local last = redis.call('GET', KEYS[2]) or '0:'
  local _, colon = string.find(last, '^%d+:')
  if not colon then
    return nil, redis.error_reply('WRONGTYPE what is kept under ' .. KEYS[2] .. ' is no fence')
  end
  local done = string.sub(last, colon + 1)
  if is_done(done, owner) then
    return nil, {}
  end
  local fence = math.max(string.sub(last, 1, colon - 1) + 1, microseconds())
  local written = string.format('%.0f:', fence)
  -- The fence first: were it refused after the lock, the lock would stay without its owner knowing.
  redis.call('SET', KEYS[2], written .. done, 'PX', ARGV[3])
  return fence, written
end
