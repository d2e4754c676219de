-- Goes after the turn and the crowd and before the other scripts: how a turn is given.
-- Keep a free place for this ticket, for a short time, and wake it. Nobody else may take it meanwhile.
local function hand_over(here, ticket, score, missed)
  local kind = asks_for(ticket)
  missed = missed + (here.crowd and here.crowd.missed or here.missed or 0)
  -- A worker that died leaves many who do not come, and those behind them would wait for each. One may be merely slow.
  local ms = math.ceil(here.window / 2 ^ math.min(math.max(missed - 1, 0), 3))
  if score >= AWAY then
    -- However many left at once, the key stands idle for them together for no longer than for one.
    local left = (score + IN_FLIGHT - AWAY - microseconds()) / 1000
    ms = math.ceil(math.max(10, math.min(left, IN_FLIGHT / 1000)))
  end
  -- On a full server nothing can be kept for anybody; each then comes by its countdown.
  if not kind then
    if redis.pcall('SET', here.lock, '~' .. ticket, 'PX', ms).err then
      return
    end
    redis.pcall('ZADD', here.line, -1 - missed, ticket)
    tell(here, 'go', ticket, score, ms)
    return ticket
  end
  local crowd = here.crowd or {readers = kind == 'r', count = 0, missed = missed}
  if not put(here, crowd, ms, ends_after(ms), '~' .. ticket) then
    crowd.count = crowd.count + 1
    tell(here, 'go', ticket, score, ms)
    -- Many may be called at once. Who comes late has the time at which it came, and so its place.
    out_of_line(here, ticket)
    return ticket
  end
end

-- Give a key that is free, or has room, to those whose turn it is: some in one step, and each that comes gives to more.
-- Answers the first who has got nothing. Who takes a place himself, `here.mine`, gives to those before him.
local function fill(here, asks, ticket, score, missed)
  if not ticket then
    ticket, score, missed = first(here, asks)
  end
  for _ = 1, AT_ONCE do
    local is_mine = ticket and here.mine and (ticket == here.mine or (here.date and here.date < score % AWAY))
    if not ticket or is_mine or not has_room(here, asks_for(ticket)) or not hand_over(here, ticket, score, missed) then
      return ticket, score
    end
    here.called = here.called or ticket == asks
    if not here.crowd then
      return
    end
    ticket, score, missed = first(here, asks)
  end
  return ticket, score
end

-- A ticket waits no longer. What was kept for it goes to the next, and what it stood in the way of to those behind it.
local function left(here, ticket)
  local gone = out_of_line(here, ticket)
  local taken = redis.pcall('GET', here.lock)
  if taken == '~' .. ticket then
    redis.call('DEL', here.lock)
    fill(here)
  elseif type(taken) == 'table' and swept(here) ~= false then
    if here.crowd then
      fewer(here, redis.call('ZREM', here.lock, '~' .. ticket))
    end
    fill(here)
  end
  return gone
end
