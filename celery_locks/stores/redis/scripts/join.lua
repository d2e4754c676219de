-- Goes before acquire and enter, when a key is not to be had.
-- An heir asks again before so many microseconds are over. One that does not may have gone, and could not say so.
local LATELY = 3000000
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
  if is_too_late(here.fence or KEYS[2], ARGV[1]) then
    -- It must not stand in the way of others.
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
    -- What it takes to hand the key over to it there, if it may be: its ttl, which try of it this is, until when, its owner.
    local heir = here.echo and string.format(' %s %s %.0f ', ARGV[2], here.echo, now + LATELY) .. ARGV[1] or ''
    comes_home(here, mine, home, home ~= '' and ' slot' .. heir)
  end
  return {holder, remaining, dated .. '-' .. mine, place, present and 1 or 0, age or false}
end
