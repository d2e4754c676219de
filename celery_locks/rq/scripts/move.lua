-- A job that waits goes back to its queue, once, whoever moves it. KEYS: scheduled, waiting, queue, job.
-- ARGV: its id, at which end, what is known of its waiting.
local function over(said)
  redis.call('ZREM', KEYS[2], ARGV[1])
  return said
end
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return over('gone')
end
if redis.call('HGET', KEYS[4], 'status') ~= 'scheduled' then
  -- It has ended, or was cancelled, or has expired.
  redis.call('ZREM', KEYS[1], ARGV[1])
  return over('over')
end
if redis.call('HEXISTS', KEYS[4], 'rate_limit_key') + redis.call('HEXISTS', KEYS[4], 'rate_limit_concurrency') == 2 then
  return 'limited'
end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[4], 'status', 'queued', 'lock_waits', ARGV[3])
redis.call(ARGV[2], KEYS[3], ARGV[1])
return over('moved')
