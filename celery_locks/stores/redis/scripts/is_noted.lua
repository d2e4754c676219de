-- KEYS: note
-- Answers 1 while it is kept, else 0.
return redis.call('GET', KEYS[1]) and 1 or 0
