-- Goes before acquire and enter, when a key is not to be had.
local function lined_up(here, holder, kind)
  local line, mine, stance = here.line, ARGV[6], ARGV[7]
  local remaining = here.crowd and crowds().ends_in(here, kind or false) or redis.call('PTTL', here.lock)
  local busy, now = {holder, remaining}, microseconds()
  -- A fence is the time at which its lock was taken.
  local age = here.fenced and now - here.fenced
  busy[3] = age
  local date = mine ~= '' and line and since(line, mine, ARGV[8], now)
  if not date or date == now then
    memory().conflict(here, ARGV[1], holder, age, now)
  end
  if not date then
    return busy
  end
  local last = redis.pcall('GET', here.fence or KEYS[2])
  if is_done(type(last) == 'string' and string.match(last, '^%d+:(.*)$') or '', ARGV[1]) then
    -- This owner gave up before its request arrived, and must not stand in the way of others.
    return {}
  end
  local dated = string.format('%016.0f', date)
  local place = place_of(line, dated)
  local present = stance == 'wait' or (stance == 'next' and place == 1)
  if type(redis.pcall('ZADD', line, present and dated or string.format('%.0f', AWAY + now), mine)) == 'table' then
    -- The server is full.
    return busy
  end
  if not present then
    forget_the_gone(line, now)
    place = place + redis.call('ZCOUNT', line, string.format('%.0f', AWAY), '+inf') - 1
  end
  redis.call('PEXPIRE', line, LONGEST)
  if present or date ~= now then
    local home = present and ARGV[9] or ''
    comes_home(here, mine, home, home ~= '' and ' slot')
  end
  return {holder, remaining, dated .. '-' .. mine, place, present and 1 or 0, age}
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
