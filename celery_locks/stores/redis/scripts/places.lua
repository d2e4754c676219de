-- Goes after the crowd and before the other scripts: who of those in line has a place in it.
local AT_ONCE = 20
local function make_places(made)
  -- Whether one more who wants this may come, where no string is the lock. `r`: to read; as one of so many; nil: alone.
  function made.has_room(here, kind)
    local crowd = here.crowd
    if not crowd or not kind or crowd.readers ~= (kind == 'r') then
      return not crowd
    elseif not crowd.readers and here.slots and here.most == nil then
      -- What an operator has said.
      here.most = tonumber(redis.pcall('GET', here.slots) or '') or false
    end
    return crowd.readers or crowd.count < (here.most or kind)
  end

  -- The holder with the lowest fence; false while places are only kept.
  function made.first_holder(here)
    local foremost = redis.call('ZRANGE', here.lock, 0, 0, 'WITHSCORES')
    return tonumber(foremost[2]) < 0 and string.sub(foremost[1], 7)
  end

  -- For how many milliseconds it is certain that nothing changes by itself; with a kind, how long it has to wait at most.
  function made.ends_in(here, kind)
    local member
    if kind == nil or (kind and kind ~= 'r' and not here.crowd.readers) then
      member = redis.call('ZRANGEBYSCORE', here.lock, '0', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    end
    member = member or redis.call('ZRANGE', here.lock, -2, -2, 'WITHSCORES')
    return math.max(1, math.ceil(member[2] - microseconds() / 1000))
  end

  -- Keep a place for one that was called; an error when the server is full.
  function made.keep(here, kind, ticket, ms, missed)
    local crowd = here.crowd or {readers = kind == 'r', count = 0, missed = missed}
    local refused = made.put(here, crowd, ms, made.ends_after(ms), '~' .. ticket)
    crowd.count = crowd.count + (refused and 0 or 1)
    return refused
  end

  -- Give a key that is free, or has room, to those whose turn it is: some in one step, and each that comes gives to more.
  -- Answers the first who got no place. Who takes one himself, `here.mine`, gives to those before him.
  function made.fill(here, asks, ticket, score, missed)
    local given = 0
    if not ticket then
      ticket, score, missed = first(here, asks)
    end
    while ticket and given < AT_ONCE and ticket ~= here.mine and not (here.date and here.date < score % AWAY) do
      local mark = string.match(ticket, '^(%w+)%.')
      local kind = mark == 'r' and mark or tonumber(mark)
      if not made.has_room(here, kind) or not hand_over(here, ticket, score, missed, kind) or not kind then
        break
      end
      given, here.called = given + 1, here.called or ticket == asks
      ticket, score, missed = first(here, asks)
    end
    return ticket, score
  end
  return made
end

local made
crowds = function()
  made = made or make_places(make_crowd())
  return made
end
