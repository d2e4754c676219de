-- KEYS: slots, lock, line, homes   ARGV: how many from now on, or '' for as many as each claim says, claim window ms, channel
if ARGV[1] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[1])
end
local here = {slots = KEYS[1], lock = KEYS[2], line = KEYS[3], homes = KEYS[4], window = ARGV[2], channel = ARGV[3]}
local taken = redis.pcall('GET', here.lock)
if type(taken) ~= 'string' and (not taken or crowds().swept(here) ~= false) then
  fill(here)
end
return 1
