-- KEYS: note   ARGV: ms for which it is kept
redis.call('SET', KEYS[1], '', 'PX', ARGV[1])
return 1
