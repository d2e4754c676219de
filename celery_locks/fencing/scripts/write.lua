-- One command on a name, unless a higher fence has been there: then nothing is done, and the answer is an error.
--
-- KEYS  1 the name   2 its fence
-- ARGV  1 fence   2 the lock's key   3 milliseconds for which the fence is kept, or ''   4 who asks, where that counts,
--       or ''   5 the command   6... what comes behind its name
--
-- Beside the name lies fence:who=answer:key, the last two of what must not be done twice.
local fence, key, keep, who = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local found = redis.call('GET', KEYS[2])
local stored, done, guarded
if found then
  stored, done, guarded = string.match(found, '^(%d+):([^:]*):(.*)$')
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

local function note(answer)
  local text = fence .. ':' .. answer .. ':' .. key
  if keep ~= '' then
    redis.call('SET', KEYS[2], text, 'PX', keep)
  elseif text ~= found then
    redis.call('SET', KEYS[2], text)
  end
end

if who == '' then
  -- The fence first: where the command is refused, for a wrong type, it was a claim and no write.
  note('')
  -- Lua cannot hand over all the fields of a large mapping at once.
  local most = 6000
  if #ARGV - 5 <= most then
    return redis.call(ARGV[5], KEYS[1], unpack(ARGV, 6))
  end
  local answer = 0
  for first = 6, #ARGV, most do
    answer = answer + redis.call(ARGV[5], KEYS[1], unpack(ARGV, first, math.min(first + most - 1, #ARGV)))
  end
  return answer
end

local whose, answer = string.match(done or '', '^(%w+)=(.*)$')
if whose == who and stored == fence then
  return answer
end
answer = redis.call(ARGV[5], KEYS[1], unpack(ARGV, 6))
-- Whatever does not go through a double unharmed is read as the text that it is.
answer = math.abs(answer) < 2^53 and string.format('%.0f', answer) or redis.call('GET', KEYS[1])
note(who .. '=' .. answer)
return answer
