-- Goes after the line and its homes and before the other scripts: whose turn it is.
local function foremost(here)
  local line = here.line
  local head = line and redis.pcall('ZRANGE', line, 0, 0, 'WITHSCORES') or {}
  local missed, score = 0, tonumber(head[2])
  if score and score < 0 then
    out_of_line(here, head[1])
    missed = -score
    head = redis.call('ZRANGE', line, 0, 0, 'WITHSCORES')
    score = tonumber(head[2])
  end
  local oldest = score and AWAY + microseconds() - IN_FLIGHT
  if score and (score >= AWAY or AWAY + score > oldest) then
    -- One that left a moment ago, and came before all who are present, may be about to arrive.
    local newest = score < AWAY and string.format('%.0f', AWAY + score) or '+inf'
    oldest = string.format('%.0f', oldest)
    local coming = redis.call('ZRANGEBYSCORE', line, oldest, newest, 'WITHSCORES', 'LIMIT', 0, 1)
    if coming[1] or score >= AWAY then
      head, score = coming, tonumber(coming[2])
    end
  end
  return head[1], score, missed
end

-- The foremost of those present whose processes are gone, a hundred at most, are away from now on: for so long that nobody
-- waits for them to arrive. They keep their dates, and their places among their like. False when nothing could be done.
local function pass_over(here, asks)
  local line = redis.call('ZRANGE', here.line, 0, 99, 'WITHSCORES')
  local tickets, away, long_ago = {}, {}, microseconds() - IN_FLIGHT
  for i = 1, #line, 2 do
    tickets[#tickets + 1] = line[i]
  end
  local homes = redis.pcall('HMGET', here.homes, unpack(tickets))
  for i, ticket in ipairs(tickets) do
    local score = tonumber(line[2 * i])
    if ticket == asks or score >= AWAY or not homes[i] or not is_deserted(here, string.match(homes[i], '^%x+')) then
      break
    end
    here.passed = here.passed + 1
    away[2 * i - 1], away[2 * i] = string.format('%.0f', AWAY + math.min(score, long_ago + here.passed)), ticket
  end
  if not away[1] or type(redis.pcall('ZADD', here.line, unpack(away))) == 'table' then
    return false
  end
  redis.pcall('HDEL', here.homes, unpack(tickets, 1, #away / 2))
  here.asked = nil
  return true
end

-- The ticket whose turn it is, its score, and how many were called before it and did not come. What is no line is empty.
-- Those whose process is gone are passed over, but for the one who asks: in one step so many that the server can take it.
local function first(here, asks)
  here.passed = here.passed or -MOST
  local ticket, score, missed = foremost(here)
  while here.passed < 0 and ticket and ticket ~= asks and score < AWAY and is_deserted(here, (home_of(here, ticket))) do
    if not pass_over(here, asks) then
      return ticket, score, missed
    end
    ticket, score = foremost(here)
  end
  if here.passed > -MOST then
    forget_the_gone(here.line, microseconds())
  end
  return ticket, score, missed
end
