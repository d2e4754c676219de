-- Goes before the other scripts. The line of a key is a sorted set of the tickets that wait for it.
-- Those present, that can start at once, are scored by the microseconds of the time at which their jobs first found the key
-- taken. Those away, on their way through a queue, come behind them all, scored by the time at which they left. One that was
-- called comes before them all, until it takes the key: scored by minus how many in a row were called, itself the last.
local AWAY, IN_FLIGHT, LONGEST, GONE = 4e15, 500000, 86400000, 3600000000

local function microseconds()
  local now = redis.call('TIME')
  return now[1] * 1000000 + now[2]
end

-- The ticket whose turn it is, its score, and how many were called before it and did not come. What is no line is empty.
local function first(line)
  local head = line and redis.pcall('ZRANGE', line, 0, 0, 'WITHSCORES') or {}
  local missed, score = 0, tonumber(head[2])
  if score and score < 0 then
    redis.call('ZREM', line, head[1])
    missed = -score
    head = redis.call('ZRANGE', line, 0, 0, 'WITHSCORES')
    score = tonumber(head[2])
  end
  if score and score >= AWAY then
    -- One that left a moment ago may be about to arrive. Whoever left before may stay away for long.
    local recently = string.format('%.0f', AWAY + microseconds() - IN_FLIGHT)
    head = redis.call('ZRANGEBYSCORE', line, recently, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    score = tonumber(head[2])
  end
  return head[1], score, missed
end

-- Keep a free key for this ticket, for a short time, and wake it. Nobody else may take it meanwhile.
local function hand_over(lock, line, window, channel, ticket, score, missed)
  if not ticket then
    return
  end
  local ms = score < AWAY and tonumber(window) or IN_FLIGHT / 1000
  -- A worker that died leaves many who do not come, and those behind them would wait for each. One may be merely slow.
  ms = math.ceil(ms / 2 ^ math.min(math.max(missed - 1, 0), 3))
  -- On a full server nothing can be kept for anybody; each then comes by its countdown.
  if not redis.pcall('SET', lock, '~' .. ticket, 'PX', ms).err then
    redis.pcall('ZADD', line, -1 - missed, ticket)
    -- Whoever may not publish still has a line, in which each comes by its countdown.
    redis.pcall('PUBLISH', channel, string.format('go %016.0f-', score) .. ticket .. ' ' .. ms .. ' ' .. lock)
    return ticket
  end
end

-- A ticket waits no longer. What was kept for it goes to the next.
local function left(lock, line, window, channel, ticket)
  local gone = redis.pcall('ZREM', line, ticket)
  if redis.pcall('GET', lock) == '~' .. ticket then
    redis.call('DEL', lock)
    hand_over(lock, line, window, channel, first(line))
  end
  return gone == 1 and 1 or 0
end
