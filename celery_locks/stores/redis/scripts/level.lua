-- KEYS: lock, fence   ARGV: owner, a fence, fence retention ms
-- Answers 1 when the owner has the lock and its fence is this one from now on; else 0, and what it had it has.
local taken, last = redis.pcall('GET', KEYS[1]), redis.pcall('GET', KEYS[2])
local fence, owner = string.match(type(taken) == 'string' and taken or '', '^(%d+):(.*)$')
local highest, done = string.match(type(last) == 'string' and last or last and '' or '0:', '^(%d+):(.*)$')
local remaining = redis.call('PTTL', KEYS[1])
if owner ~= ARGV[1] or not highest or tonumber(fence) > tonumber(ARGV[2]) or remaining <= 0 then
  return 0
end
highest = string.format('%.0f:', math.max(highest, ARGV[2]))
if redis.pcall('SET', KEYS[2], highest .. done, 'PX', ARGV[3]).err then
  -- The server is full.
  return 0
end
redis.call('SET', KEYS[1], ARGV[2] .. ':' .. owner, 'PX', remaining)
return 1
