-- Goes after the turn and before the other scripts: how a turn is given.
-- Keep a free key for this ticket, for a short time, and wake it. Nobody else may take it meanwhile.
local function hand_over(here, ticket, score, missed)
  if not ticket then
    return
  end
  -- A worker that died leaves many who do not come, and those behind them would wait for each. One may be merely slow.
  local ms = math.ceil(here.window / 2 ^ math.min(math.max(missed - 1, 0), 3))
  if score >= AWAY then
    -- However many left at once, the key stands idle for them together for no longer than for one.
    local left = (score + IN_FLIGHT - AWAY - microseconds()) / 1000
    ms = math.ceil(math.max(10, math.min(left, IN_FLIGHT / 1000)))
  end
  -- On a full server nothing can be kept for anybody; each then comes by its countdown.
  if not redis.pcall('SET', here.lock, '~' .. ticket, 'PX', ms).err then
    redis.pcall('ZADD', here.line, -1 - missed, ticket)
    tell(here, 'go', ticket, score, ms)
    return ticket
  end
end

-- A ticket waits no longer. What was kept for it goes to the next.
local function left(here, ticket)
  local gone = out_of_line(here, ticket)
  if redis.pcall('GET', here.lock) == '~' .. ticket then
    redis.call('DEL', here.lock)
    hand_over(here, first(here))
  end
  return gone
end
