-- Goes before force_release, which is for the holder with one fence alone then.   ARGV[4]: that fence
local meant = redis.pcall('GET', KEYS[1])
if type(meant) == 'table' then
  -- Of several that hold it one goes, and the others stay.
  local here = {lock = KEYS[1], line = KEYS[3], homes = KEYS[4], slots = KEYS[5], window = ARGV[2], channel = ARGV[3]}
  local score = string.format('%.0f', ARGV[4] - HIGHEST)
  local found = crowds().swept(here) and redis.call('ZRANGEBYSCORE', KEYS[1], score, score)[1]
  local owner = found and string.match(found, '^fence:(.*)$')
  if not owner then
    return 0
  end
  redis.call('ZREM', KEYS[1], found, 'until:' .. owner)
  crowds().fewer(here, 1)
  redis.pcall('SET', KEYS[2], ARGV[4] .. ':', 'PX', ARGV[1], 'NX')
  fill(here)
  return 1
elseif not meant or string.match(meant, '^(%d+):') ~= ARGV[4] then
  return 0
end
