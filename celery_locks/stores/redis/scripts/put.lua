-- KEYS: positions   ARGV: fence, number of the write, and in turn a name with = before it, which neither of those has in
-- the hash, and its text, or ''
-- Answers 1 when they are written, 0 under a higher fence, or after a later write of the same.
local last = redis.call('HMGET', KEYS[1], 'fence', 'number')
local above = tonumber(last[1] or 0) - tonumber(ARGV[1])
if above > 0 or (above == 0 and tonumber(last[2] or 0) > tonumber(ARGV[2])) then
  return 0
end
redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'number', ARGV[2])
for at = 3, #ARGV, 2 do
  if ARGV[at + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[at])
  else
    redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
  end
end
return 1
