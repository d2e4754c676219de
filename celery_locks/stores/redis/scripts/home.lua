-- Goes after the line and before the other scripts: where those in line wait, and how they are told.
-- Where a ticket waits: the home, a process that has a channel of its own name, with ` slot` if it waits there in a slot, or
-- ` come` if it may be called to, when it is the next. Nothing of one that is away, or waits where no wake is heard.
local function home_of(here, ticket)
  if here.homes and here.asked ~= ticket then
    local said = redis.pcall('HGET', here.homes, ticket)
    here.asked, here.said = ticket, type(said) == 'string' and said or ''
  end
  local home, comes = string.match(here.said or '', '^(%x*)( ?c?)')
  return home ~= '' and home, comes
end

local function comes_home(here, ticket, home, how)
  if not here.homes then
    return
  end
  here.asked = nil
  local said = home .. (how or '')
  if said == '' then
    redis.pcall('HDEL', here.homes, ticket)
  elseif redis.pcall('HSET', here.homes, ticket, said) == 1 then
    redis.pcall('PEXPIRE', here.homes, LONGEST)
  end
end

-- It waits no longer.
local function out_of_line(here, ticket)
  local gone = here.line and redis.pcall('ZREM', here.line, ticket) == 1
  if gone then
    comes_home(here, ticket, '')
  end
  return gone and 1 or 0
end

-- Say to who waits with this ticket, where it waits, what it is to do, and how long the key is kept for it.
local function tell(here, word, ticket, score, ms, home)
  home = home or home_of(here, ticket)
  local channel = home and here.channel .. ':' .. home or here.channel
  -- Whoever may not publish still has a line, in which each comes by its countdown.
  return redis.pcall('PUBLISH', channel, string.format('%s %016.0f-%s %d %s', word, score % AWAY, ticket, ms, here.lock))
end

-- Whether this process hears no more.
local function is_deserted(here, home)
  here.hearers = here.hearers or {}
  if home and not here.hearers[home] then
    local heard = redis.pcall('PUBSUB', 'NUMSUB', here.channel .. ':' .. home)
    here.hearers[home] = heard[2] or 1
  end
  return home and here.hearers[home] == 0
end

-- It is present there. One that has come into a slot meanwhile waits on in that.
local function is_at(here, ticket, home, comes)
  local other = home_of(here, ticket)
  if not string.find(here.said or '', ' slot', 1, true) or is_deserted(here, other) then
    comes_home(here, ticket, home, comes == '1' and ' come')
  end
end
