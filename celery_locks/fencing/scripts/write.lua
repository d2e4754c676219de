-- One command on a name, unless a higher fence has been there: then nothing is done, and the answer is an error.
--
-- KEYS  1 the name   2 its fence
-- ARGV  1 fence:who:key   2 milliseconds for which the fence is kept, or ''   3 the command   4... what comes behind its
--       name
--
-- Beside the name lies fence:who:key. Who is asked for INCRBY alone, a new one each time: it must not be done twice.
local mine, keep, command = ARGV[1], ARGV[2], ARGV[3]
local found = redis.call('GET', KEYS[2])
if found and found ~= mine then
  local fence, key = string.match(mine, '^(%d+):%w*:(.*)$')
  local stored, guarded = string.match(found, '^(%d+):%w*:(.*)$')
  if not stored then
    return redis.error_reply('NOFENCE ' .. KEYS[2])
  end
  if guarded ~= key then
    return redis.error_reply('OTHERKEY ' .. guarded)
  end
  -- As texts: a number of Lua is a double, and rounds from 2^53 on.
  if #stored > #fence or (#stored == #fence and stored > fence) then
    return redis.error_reply('STALEFENCE ' .. stored)
  end
end

local sum
if command == 'INCRBY' then
  -- Before the fence is noted: one that was refused, for a wrong type, is not to be taken for done when it is repeated.
  sum = found ~= mine and redis.call(command, KEYS[1], ARGV[4])
  if not sum or math.abs(sum) >= 2^53 then
    -- What does not go through a double unharmed is read as the text that it is.
    sum = redis.call('GET', KEYS[1]) or 0
  end
end
-- For the others the fence comes first: where a command is refused this was a claim, and no write.
if keep ~= '' then
  redis.call('SET', KEYS[2], mine, 'PX', keep)
elseif found ~= mine then
  redis.call('SET', KEYS[2], mine)
end

if sum then
  return sum
end
-- Lua cannot hand over all the fields of a large mapping at once.
local most = 6000
if #ARGV - 3 <= most then
  return redis.call(command, KEYS[1], unpack(ARGV, 4))
end
local answer = 0
for first = 4, #ARGV, most do
  answer = answer + redis.call(command, KEYS[1], unpack(ARGV, first, math.min(first + most - 1, #ARGV)))
end
return answer
