-- Goes before the other scripts. The line of a key is a sorted set of the tickets that wait for it.
-- Those present, that can start at once, are scored by the microseconds of the time at which their jobs first found the key
-- taken. Those away, on their way through a queue, come behind them all, scored by the time at which they left. One that was
-- called comes before them all, until it takes the key: scored by minus how many in a row were called, itself the last.
local AWAY, IN_FLIGHT, LONGEST, GONE, MOST = 4e15, 500000, 86400000, 3600000000, 10000

local function microseconds()
  local now = redis.call('TIME')
  return now[1] * 1000000 + now[2]
end

-- When this ticket first found the key taken, in microseconds; nil where there can be no line.
local function since(line, ticket, dated, now)
  local score = redis.pcall('ZSCORE', line, ticket)
  if type(score) == 'table' then
    return nil
  end
  -- One without a date that is in line already asks again because its first answer was lost on the way. One that was
  -- called meanwhile, and did not know, has lost its date.
  score = tonumber(score)
  local known = tonumber(dated) or (score and score > 0 and score) or now
  return known >= AWAY and known - AWAY or known
end

-- Its place among those present and those who will be, from 1.
local function place_of(line, dated)
  return redis.call('ZCOUNT', line, '0', '(' .. dated) + 1
end

-- Those that never came back. One that does after all still has its name.
local function forget_the_gone(line, now)
  redis.call('ZREMRANGEBYSCORE', line, string.format('%.0f', AWAY), string.format('(%.0f', AWAY + now - GONE))
end
