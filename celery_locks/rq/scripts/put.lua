-- A job's execution ends, and the job has not ended: it waits, or is on its queue again. Unless somebody else has ended
-- it meanwhile, or has deleted it. KEYS: job, where it goes, waiting. ARGV: its id, its status, what is known of its
-- waiting, when it is due, in how many seconds it expires.
if redis.call('HGET', KEYS[1], 'status') ~= 'started' then
  return 0
end
redis.call('HSET', KEYS[1], 'status', ARGV[2], 'lock_waits', ARGV[3])
if ARGV[5] ~= '' then
  redis.call('EXPIRE', KEYS[1], ARGV[5])
end
if ARGV[2] == 'queued' then
  redis.call('RPUSH', KEYS[2], ARGV[1])
else
  redis.call('ZADD', KEYS[2], ARGV[4], ARGV[1])
  redis.call('ZADD', KEYS[3], 0, ARGV[1])
end
return 1
