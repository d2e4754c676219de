-- Goes before force_release, which is for the holder with one fence alone then.   ARGV[4]: that fence
local meant = redis.pcall('GET', KEYS[1])
if type(meant) ~= 'string' or string.match(meant, '^(%d+):') ~= ARGV[4] then
  return 0
end
