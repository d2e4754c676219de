-- One look of a worker at the jobs of a queue that wait: it goes on attending to its own, and takes up those that nobody
-- attends to. One of its own that was put there anew since, as when it was sent again under its id, is taken up anew: what
-- is known of it may be another thing. KEYS: waiting, scheduled, served. ARGV: seconds, prefix of jobs, how many at most, then the worker's own.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local until_ = now + ARGV[1]
redis.call('SET', KEYS[3], 1, 'EX', 10)
local gone, taken = {}, {}
for i = 4, #ARGV do
  if redis.call('ZSCORE', KEYS[2], ARGV[i]) then
    if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i]) or until_) > 0 then
      redis.call('ZADD', KEYS[1], until_, ARGV[i])
    end
  else
    redis.call('ZREM', KEYS[1], ARGV[i])
    gone[#gone + 1] = ARGV[i]
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[3])) do
  if redis.call('ZSCORE', KEYS[2], id) then
    redis.call('ZADD', KEYS[1], until_, id)
    taken[#taken + 1] = id
    taken[#taken + 1] = redis.call('HGET', ARGV[2] .. id, 'lock_waits') or ''
  else
    redis.call('ZREM', KEYS[1], id)
  end
end
return {gone, taken}
