-- Goes after the turn and before hand_over: a key that several hold.
-- Its lock is a sorted set. A holder has two members: `until:owner`, scored by the server's milliseconds at which its lease
-- ends, and `fence:owner`, scored by its fence less HIGHEST, so that they come first, in the order of their fences. A place
-- that is kept for one in line is `~ticket`, scored by when that ends. `kind`, the last, is scored by what sort of a crowd
-- it is, plus how many in a row were called and did not come. The set outlives its members a little, to know that.
local HIGHEST, SLOTS, READERS, LATEST, LINGER, AT_ONCE = 9e15, 6e15, 7e15, 9e14, 10000, 20

-- What one in line wants: `r` to read, or as one of so many; nothing when it wants the key alone.
local function asks_for(ticket)
  local mark = string.match(ticket, '^(%w+)%.')
  return mark == 'r' and mark or tonumber(mark)
end

local function ends_after(ms)
  return string.format('%.0f', math.min(LATEST, math.ceil(microseconds() / 1000) + ms))
end

-- Some have gone.
local function fewer(here, count)
  here.crowd.count = here.crowd.count - count
  if here.crowd.count == 0 then
    redis.call('DEL', here.lock)
    here.missed, here.crowd = here.crowd.missed, nil
  end
end

-- Members and their scores, for so long at most; an error when the server is full.
local function put(here, crowd, ms, ...)
  local kind = string.format('%.0f', (crowd.readers and READERS or SLOTS) + crowd.missed)
  local added = redis.pcall('ZADD', here.lock, kind, 'kind', ...)
  if type(added) == 'table' then
    return added
  end
  here.crowd = crowd
  local lasts = math.min(LATEST, ms + LINGER)
  if redis.call('PTTL', here.lock) < lasts then
    redis.call('PEXPIRE', here.lock, lasts)
  end
end

-- Who has a lock that is not a string, without those whose time is over; nil when nobody is left of them, false when it is
-- somebody else's and no lock.
local function swept(here)
  local score = redis.pcall('ZSCORE', here.lock, 'kind')
  if type(score) ~= 'string' then
    return false
  end
  score = tonumber(score)
  local crowd = {readers = score >= READERS}
  crowd.missed = score - (crowd.readers and READERS or SLOTS)
  local now, missed = string.format('%.0f', math.floor(microseconds() / 1000)), crowd.missed
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
  here.crowd = crowd
  crowd.count = redis.call('ZCOUNT', here.lock, '0', string.format('(%.0f', SLOTS))
  fewer(here, 0)
  if here.crowd and crowd.missed > missed then
    put(here, crowd, 0)
  end
  return here.crowd
end

-- Whether one more who wants this may come, where no string is the lock.
local function has_room(here, kind)
  local crowd = here.crowd
  if not crowd then
    return true
  elseif not kind or crowd.readers ~= (kind == 'r') then
    return false
  elseif not crowd.readers and here.slots and here.most == nil then
    -- What an operator has said.
    here.most = tonumber(redis.pcall('GET', here.slots) or '') or false
  end
  return crowd.readers or crowd.count < (here.most or kind)
end

-- The holder with the lowest fence; false while places are only kept.
local function first_holder(here)
  local foremost = redis.call('ZRANGE', here.lock, 0, 0, 'WITHSCORES')
  return tonumber(foremost[2]) < 0 and string.sub(foremost[1], 7)
end

-- For how many milliseconds it is certain that nothing changes by itself; with a kind, for how long it has to wait at most.
local function ends_in(here, kind)
  local crowd = here.crowd
  if not crowd then
    return redis.call('PTTL', here.lock)
  end
  local member
  if kind == nil or (kind and kind ~= 'r' and not crowd.readers) then
    member = redis.call('ZRANGEBYSCORE', here.lock, '0', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  else
    member = redis.call('ZRANGE', here.lock, -2, -2, 'WITHSCORES')
  end
  return math.max(1, math.ceil(member[2] - microseconds() / 1000))
end
