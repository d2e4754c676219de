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

-- It has been away for so long that nobody waits for it to arrive, and keeps its date, and its place among its like.
-- False on a full server.
local function pass_over(here, ticket, score, place)
  local date = math.min(score, microseconds() - IN_FLIGHT + place)
  if type(redis.pcall('ZADD', here.line, string.format('%.0f', AWAY + date), ticket)) == 'table' then
    return false
  end
  comes_home(here, ticket, '')
  return true
end

-- The ticket whose turn it is, its score, and how many were called before it and did not come. What is no line is empty.
-- Whose process is gone is passed over, but for the one who asks.
local function first(here, asks)
  local passed, ticket, score, missed = -500, foremost(here)
  while passed < 0 and ticket and ticket ~= asks and score < AWAY and is_deserted(here, ticket) do
    if not pass_over(here, ticket, score, passed) then
      return ticket, score, missed
    end
    passed, ticket, score = passed + 1, foremost(here)
  end
  if passed > -500 then
    forget_the_gone(here.line, microseconds())
  end
  return ticket, score, missed
end
