-- KEYS: the latest conflicts of a key. Answers them, the latest first.
return redis.call('LRANGE', KEYS[1], 0, -1)
