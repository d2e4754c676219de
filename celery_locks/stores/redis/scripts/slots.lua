-- KEYS: slots   Answers how many it was given, or nothing.
return redis.call('GET', KEYS[1])
