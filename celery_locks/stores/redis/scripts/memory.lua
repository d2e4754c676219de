-- Goes after line: what is remembered of conflicts, of those keys that have the most, beside what is asked anyway.
local MOST_CONTENDED, LATEST_CONFLICTS, REMEMBERED = 1000, 10, 604800000

local function names_of_memory(here)
  local prefix = string.sub(here.channel, 1, -5)
  local stats = prefix .. 'stats:{stats}:'
  return string.sub(here.lock, #prefix + 2, -2), stats .. 'count', stats .. 'waited', stats .. 'held', prefix
end

-- The key with the fewest makes room, and leaves its number to the one that comes: so one that has become hot gets in, and
-- the hottest of all are always among those that are kept. Whether there is room now.
local function has_room(key, count, waited, held, prefix)
  local size = redis.pcall('ZCARD', count)
  if type(size) == 'table' or size < MOST_CONTENDED then
    return type(size) == 'number'
  end
  local least = redis.pcall('ZRANGE', count, 0, 0, 'WITHSCORES')
  -- First what a full server may refuse.
  if least.err or type(redis.pcall('ZADD', count, least[2], key)) == 'table' then
    return false
  end
  for _, name in ipairs({count, waited, held}) do
    redis.pcall('ZREM', name, least[1])
  end
  redis.pcall('DEL', prefix .. '{' .. least[1] .. '}:conflicts')
  return true
end

-- Somebody found the key taken for the first time. `age`: of its holder, in microseconds, if that is known.
-- A cluster has these names elsewhere, a full server takes none of it, and a user may not be allowed it: nothing is
-- remembered then, and no lock fails for it.
local function remember(here, asker, holder, age, now)
  local key, count, waited, held, prefix = names_of_memory(here)
  local known = redis.pcall('ZSCORE', count, key)
  if type(known) == 'table' or not (known or has_room(key, count, waited, held, prefix)) then
    return
  end
  local times = redis.pcall('ZINCRBY', count, 1, key)
  if type(times) == 'table' then
    return
  end
  if age then
    local longest = math.max(age, tonumber(redis.pcall('ZSCORE', held, key)) or 0)
    redis.pcall('ZADD', held, string.format('%.0f', longest), key)
  end
  local conflicts = here.lock .. ':conflicts'
  local told = {string.format('%.0f', now), asker, holder or '', age and string.format('%.0f', age) or ''}
  if redis.pcall('LPUSH', conflicts, table.concat(told, '\0')) == LATEST_CONFLICTS + 1 then
    redis.pcall('LTRIM', conflicts, 0, LATEST_CONFLICTS - 1)
  end
  redis.pcall('PEXPIRE', conflicts, REMEMBERED)
  if not known or times % 50 == 0 then
    -- It is a week: not at each of them.
    redis.pcall('PEXPIRE', count, REMEMBERED)
    redis.pcall('PEXPIRE', held, REMEMBERED)
  end
end
