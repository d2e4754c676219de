-- Goes after the turn and before the crowd and the other scripts: how a turn is given.
local crowds

-- Keep a free place for this ticket, for a short time, and wake it. Nobody else may take it meanwhile. With a kind it is to
-- be one of several.
local function hand_over(here, ticket, score, missed, kind)
  missed = missed + (here.crowd and here.crowd.missed or here.missed or 0)
  -- A worker that died leaves many who do not come, and those behind them would wait for each. One may be merely slow.
  local ms = math.ceil(here.window / 2 ^ math.min(math.max(missed - 1, 0), 3))
  if score >= AWAY then
    -- However many left at once, the key stands idle for them together for no longer than for one.
    local left = (score + IN_FLIGHT - AWAY - microseconds()) / 1000
    ms = math.ceil(math.max(10, math.min(left, IN_FLIGHT / 1000)))
  end
  -- On a full server nothing can be kept for anybody; each then comes by its countdown.
  if kind then
    if crowds().keep(here, kind, ticket, ms, missed) then
      return
    end
  elseif redis.pcall('SET', here.lock, '~' .. ticket, 'PX', ms).err then
    return
  else
    redis.pcall('ZADD', here.line, -1 - missed, ticket)
  end
  tell(here, 'go', ticket, score, ms)
  if kind then
    -- Many may be called at once. Who comes late has the time at which it came, and so its place.
    out_of_line(here, ticket)
  end
  return ticket
end

-- Give a key that is free, or has room, to those whose turn it is.
local function fill(here, asks, ticket, score, missed)
  if not ticket then
    ticket, score, missed = first(here, asks)
  end
  if here.crowd or (ticket and string.find(ticket, '.', 1, true)) then
    crowds().fill(here, asks, ticket, score, missed)
  elseif ticket and hand_over(here, ticket, score, missed) then
    here.called = ticket == asks
  end
end

-- One took its place who was in line: the next may wait in a slot for its turn, which comes when this one ends.
local function call_in_next(here)
  local head = redis.pcall('ZRANGE', here.line, 0, 0, 'WITHSCORES')
  if head[1] and tonumber(head[2]) < AWAY then
    local _, comes = home_of(here, head[1])
    if comes == ' c' then
      tell(here, 'come', head[1], head[2], here.window)
    end
  end
end

-- A ticket waits no longer. What was kept for it goes to the next, and what it stood in the way of to those behind it.
local function left(here, ticket)
  local gone = out_of_line(here, ticket)
  local taken = redis.pcall('GET', here.lock)
  if taken == '~' .. ticket then
    redis.call('DEL', here.lock)
    fill(here)
  elseif type(taken) == 'table' and crowds().swept(here) ~= false then
    if here.crowd then
      crowds().fewer(here, redis.call('ZREM', here.lock, '~' .. ticket))
    end
    fill(here)
  end
  return gone
end
