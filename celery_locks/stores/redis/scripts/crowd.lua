-- Goes after hand_over: a key that several hold, a sorted set. Nothing of this is made while none do.
-- A holder has two members: `until:owner`, scored by the server's milliseconds at which its lease ends, and `fence:owner`, by
-- its fence less HIGHEST, so that they come first, by their fences. A place that is kept for one in line is `~ticket`, scored
-- by when that ends. `kind`, the last, is scored by what sort of a crowd it is, plus how many in a row were called in vain:
-- the set outlives its members a little, to know that.
local HIGHEST = 9e15
local function make_crowd()
  local SLOTS, READERS, LATEST, LINGER, made = 6e15, 7e15, 9e14, 10000, {}

  function made.ends_after(ms)
    return string.format('%.0f', math.min(LATEST, math.ceil(microseconds() / 1000) + ms))
  end

  -- Some have gone.
  function made.fewer(here, count)
    here.crowd.count = here.crowd.count - count
    if here.crowd.count == 0 then
      redis.call('DEL', here.lock)
      here.missed, here.crowd = here.crowd.missed, nil
    end
  end

  -- Members and their scores, for so long at most; an error when the server is full.
  function made.put(here, crowd, ms, ...)
    local kind = string.format('%.0f', (crowd.readers and READERS or SLOTS) + crowd.missed)
    local added = redis.pcall('ZADD', here.lock, kind, 'kind', ...)
    if type(added) == 'table' then
      return added
    end
    here.crowd = crowd
    if redis.call('PTTL', here.lock) < ms + LINGER then
      redis.call('PEXPIRE', here.lock, math.min(LATEST, ms + LINGER))
    end
  end

  -- Who has a lock that is not a string, without those whose time is over; nil when nobody is left, false when it is none.
  function made.swept(here)
    local score = redis.pcall('ZSCORE', here.lock, 'kind')
    if type(score) ~= 'string' then
      return false
    end
    local crowd = {readers = tonumber(score) >= READERS}
    crowd.missed = score - (crowd.readers and READERS or SLOTS)
    local missed, now = crowd.missed, string.format('%.0f', math.floor(microseconds() / 1000))
    repeat
      local over, gone = redis.call('ZRANGEBYSCORE', here.lock, '0', now, 'LIMIT', 0, 1000), {}
      for _, member in ipairs(over) do
        local owner = string.match(member, '^until:(.*)$')
        gone[#gone + 1] = member
        gone[#gone + 1] = owner and 'fence:' .. owner
        crowd.missed = crowd.missed + (owner and 0 or 1)
      end
      if gone[1] then
        redis.call('ZREM', here.lock, unpack(gone))
      end
    until #over < 1000
    here.crowd, crowd.count = crowd, redis.call('ZCOUNT', here.lock, '0', string.format('(%.0f', SLOTS))
    made.fewer(here, 0)
    if here.crowd and crowd.missed > missed then
      made.put(here, crowd, 0)
    end
    return here.crowd
  end
  return made
end
