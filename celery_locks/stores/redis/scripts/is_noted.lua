-- KEYS: note
-- Answers 1 while it is kept, else 0.
return redis.call('EXISTS', KEYS[1])
