-- Goes before release: how a key is handed over as it is, held, to one that waits in a slot and has said what its acquire
-- would say. `fence` is that of who had it, with a colon, and `done` who are done with it.
local function inherited(here, ticket, score, fence, done, retention)
  local home = home_of(here, ticket)
  local ttl, echo, latest, heir = string.match(here.said or '', '^%x+ slot (%d+) (%d+) (%d+) (.+)$')
  if not (home and heir) or tonumber(latest) < microseconds() then
    return false
  end
  local number = string.format('%.0f', math.max(string.sub(fence, 1, -2) + 1, microseconds()))
  if
    redis.pcall('SET', KEYS[2], number .. ':' .. done, 'PX', retention).err
    or redis.pcall('SET', here.lock, number .. ':' .. heir, 'PX', ttl).err
  then
    return false
  end
  out_of_line(here, ticket)
  -- What is published last is sent first: the next in line has time.
  call_in_next(here)
  local heard = tell(here, 'have:' .. number .. ':' .. echo, ticket, score, ttl, home)
  -- Where nobody hears it the key is only kept for it. What anybody may have heard is not taken back.
  if type(heard) ~= 'number' or heard == 0 then
    return false
  end
  has_waited(here, score % AWAY, microseconds())
  return true
end
