-- KEYS: lock, fence, slots, line, homes
-- ARGV: owner, ttl ms, fence retention ms, claim window ms, channel, ticket, stance, the ticket's date, its home, and what is
-- asked for: `r` to read, or to be one of so many. Answers as acquire does, and behind that 1 if all that is in its way is kept
-- for others.
local mine, owner, kind = ARGV[6], ARGV[1], ARGV[10] == 'r' and 'r' or tonumber(ARGV[10])
local here = {lock = KEYS[1], slots = KEYS[3], line = KEYS[4], homes = KEYS[5], window = ARGV[4], channel = ARGV[5]}
here.mine, here.date = mine, tonumber(ARGV[8])
local c = crowds()
local taken = redis.pcall('GET', KEYS[1])
if type(taken) == 'string' then
  local fence, holder = string.match(taken, '^(%d+):(.*)$')
  here.fenced = fence
  return lined_up(here, holder or (string.sub(taken, 1, 1) ~= '~' and taken), kind)
elseif taken and c.swept(here) == false then
  return taken
end
local ttl, is_kept = tonumber(ARGV[2]), false
if here.crowd then
  local known = redis.call('ZSCORE', KEYS[1], 'fence:' .. owner)
  if known then
    -- The same owner again: its first answer was lost on the way.
    return c.put(here, here.crowd, ttl, c.ends_after(ttl), 'until:' .. owner) or HIGHEST + known
  end
  is_kept = mine ~= '' and redis.call('ZREM', KEYS[1], '~' .. mine) == 1
  c.fewer(here, is_kept and 1 or 0)
end
if not is_kept then
  local ticket, score = c.fill(here, mine)
  is_kept = not ticket or ticket == mine or (here.date and here.date < score % AWAY)
end
if not (is_kept and c.has_room(here, kind)) then
  local busy = lined_up(here, here.crowd and c.first_holder(here), kind)
  if here.crowd and busy[3] then
    -- Whether there would be room but for places that are only kept.
    here.crowd.count = redis.call('ZCOUNT', KEYS[1], '-inf', '(0')
    busy[7] = c.has_room(here, kind) and 1 or 0
  end
  return busy
end
here.mine, here.date = nil, nil
local fence, amiss = next_fence(owner)
if not fence then
  fill(here)
  return amiss
end
local crowd = here.crowd or {readers = kind == 'r', count = 0}
crowd.count, crowd.missed = crowd.count + 1, 0
amiss = c.put(here, crowd, ttl, c.ends_after(ttl), 'until:' .. owner, string.format('%.0f', fence - HIGHEST), 'fence:' .. owner)
if amiss then
  return amiss
end
if mine ~= '' then
  if tonumber(ARGV[8]) then
    has_waited(here, ARGV[8], microseconds())
  end
  out_of_line(here, mine)
end
-- There may be room for more: many were called at once, or one who stood in the way has come.
fill(here)
call_in_next(here)
return fence
