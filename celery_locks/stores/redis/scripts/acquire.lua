-- KEYS: lock, fence, line, homes
-- ARGV: owner, ttl ms, fence retention ms, claim window ms, channel, ticket, stance, the ticket's date, its home,
-- the number of its try, if the key may be handed over to it there, or '', and, if it comes after another owner and takes over
-- what that has, this one
-- The lock is kept as `fence:owner`, or as `~ticket` while it is kept for the first in its line; the fence as `fence:` and
-- the owners that are done with the key, the latest first, a NUL between them.
-- Answers the fence, or {holder, remaining ms, dated ticket, place, 1 if it is present, its holder's age in microseconds} when
-- the key is not to be had, or {} when this owner is done with it. Without a ticket nobody joins the line, and the three
-- in between are not there; nor is an age that is not known. The stance of one that joins: `wait`, present
-- where it asks; `next`, present if it is the next, else away; `go`, away.
local call, mine = redis.call, ARGV[6]
local here = {lock = KEYS[1], line = KEYS[3], homes = KEYS[4], window = ARGV[4], channel = ARGV[5], echo = ARGV[10] ~= '' and ARGV[10]}
local taken = redis.pcall('GET', KEYS[1])
if type(taken) == 'table' then
  local crowd = crowds().swept(here)
  if crowd == false then
    return taken
  elseif crowd then
    return lined_up(here, crowds().first_holder(here))
  end
  taken = false
end
local others = taken and mine ~= '' and taken == '~' .. mine
if taken and not others then
  local fence, owner = string.match(taken, '^(%d+):(.*)$')
  if owner and owner ~= '' and owner == ARGV[11] then
    -- Handed over, with its fence.
    if is_too_late(KEYS[2], ARGV[1]) then
      return {}
    end
    call('SET', KEYS[1], fence .. ':' .. ARGV[1], 'PX', ARGV[2])
    if mine ~= '' then
      out_of_line(here, mine)
    end
    return tonumber(fence)
  elseif owner ~= ARGV[1] then
    here.fenced = fence
    return lined_up(here, owner or (string.sub(taken, 1, 1) ~= '~' and taken))
  end
  -- The same owner again: its first answer, or what was handed over to it, was lost on the way.
  call('PEXPIRE', KEYS[1], ARGV[2])
  return tonumber(fence)
end
if not taken then
  local ticket, score, missed = first(here, mine)
  local date = tonumber(ARGV[8])
  if ticket and ticket ~= mine and not (date and date < score % AWAY) then
    fill(here, mine, ticket, score, missed)
    return lined_up(here, false)
  end
  others = ticket or date
end
local fence, written = next_fence(ARGV[1])
if not fence then
  return written
end
call('SET', KEYS[1], written .. ARGV[1], 'PX', ARGV[2])
if others and mine ~= '' then
  if tonumber(ARGV[8]) then
    has_waited(here, ARGV[8], microseconds())
  end
  out_of_line(here, mine)
  call_in_next(here)
end
return fence
