-- Goes after waited: what is remembered of conflicts, of those keys that have the most. Nothing of this is made while a key is
-- free. A full server takes none of it, a user may not be allowed it, and the node of a cluster may not have these names:
-- nothing is remembered then, and no lock fails for it.
local function memory()
  local MOST_CONTENDED, LATEST_CONFLICTS, REMEMBERED, made = 1000, 10, 604800000, {}

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
  function made.conflict(here, asker, holder, age, now)
    local key, count, waited, held, prefix = stats_of(here)
    local known, conflicts = redis.pcall('ZSCORE', count, key), here.lock .. ':conflicts'
    local is_kept = type(known) ~= 'table' and (known or has_room(key, count, waited, held, prefix))
    local times = is_kept and redis.pcall('ZINCRBY', count, 1, key)
    if type(times) ~= 'string' then
      return
    end
    if age then
      local longest = math.max(age, tonumber(redis.pcall('ZSCORE', held, key)) or 0)
      redis.pcall('ZADD', held, string.format('%.0f', longest), key)
    end
    local told = {string.format('%.0f', now), asker, holder or '', age and string.format('%.0f', age) or ''}
    if redis.pcall('LPUSH', conflicts, table.concat(told, '\0')) == LATEST_CONFLICTS + 1 then
      redis.pcall('LTRIM', conflicts, 0, LATEST_CONFLICTS - 1)
    end
    -- The time that is left is a week: that of the sets is not set anew each time.
    for _, name in ipairs((not known or times % 50 == 0) and {conflicts, count, held} or {conflicts}) do
      redis.pcall('PEXPIRE', name, REMEMBERED)
    end
  end
  return made
end
