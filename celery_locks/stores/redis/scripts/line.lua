-- Goes before the other scripts. The line of a key is a sorted set of tickets, which begin with the microseconds of the time
-- at which their jobs first found the key taken. Those present, that can start at once, have that time as their score.
-- Those away, on their way through a queue, come behind them all, scored by the time at which they left.
local AWAY, IN_FLIGHT, LONGEST = 4e15, 500000, 86400000

local function microseconds()
  local now = redis.call('TIME')
  return now[1] * 1000000 + now[2]
end

-- The ticket whose turn it is, and how many ms it is given to come. One that left a moment ago may be about to arrive.
local function first(line, window)
  local head = redis.call('ZRANGE', line, 0, 0, 'WITHSCORES')
  if not head[1] or tonumber(head[2]) < AWAY then
    return head[1], window
  end
  local recently = string.format('%.0f', AWAY + microseconds() - IN_FLIGHT)
  return redis.call('ZRANGEBYSCORE', line, recently, '+inf', 'LIMIT', 0, 1)[1], IN_FLIGHT / 1000
end

-- Keep a free key for the first in its line, for a short time, and wake it. Nobody else may take it meanwhile.
local function hand_over(lock, line, window, channel)
  local ticket, ms = first(line, window)
  -- On a full server nothing can be kept for anybody; each then comes by its countdown.
  if ticket and not redis.pcall('SET', lock, '~' .. ticket, 'PX', ms).err then
    redis.call('ZREM', line, ticket)
    -- Whoever may not publish still has a line, in which each comes by its countdown.
    redis.pcall('PUBLISH', channel, 'go ' .. ticket .. ' ' .. ms .. ' ' .. lock)
    return ticket
  end
end
