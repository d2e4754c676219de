-- KEYS: lock, fence, line   ARGV: owner, ttl ms, fence retention ms, claim window ms, channel, ticket, stance
-- The lock is kept as `fence:owner`, or as `~ticket` while it is kept for the first in its line; the fence as `fence:` and
-- the owners that are done with the key, the latest first, a NUL between them.
-- Answers the fence, or {holder, remaining ms, ticket, place, 1 if it is present} when the key is not to be had, or {} when
-- this owner is done with it. Without a ticket nobody joins the line. The stance of one that joins: `wait`, present where it
-- asks; `next`, present if it is the next, else away; `go`, away.
local function lined_up(holder)
  local mine, remaining = ARGV[6], redis.call('PTTL', KEYS[1])
  if mine == '' then
    return {holder, remaining}
  end
  local now = microseconds()
  if not string.match(mine, '^%d+%-') then
    mine = string.format('%016.0f-', now) .. mine
  end
  local since = string.match(mine, '^%d+')
  local place = redis.call('ZCOUNT', KEYS[3], '-inf', '(' .. since) + 1
  local present = ARGV[7] == 'wait' or (ARGV[7] == 'next' and place == 1)
  if present then
    redis.pcall('ZADD', KEYS[3], since, mine)
  else
    redis.pcall('ZADD', KEYS[3], string.format('%.0f', AWAY + now), mine)
    place = place + redis.call('ZCOUNT', KEYS[3], string.format('%.0f', AWAY), '+inf') - 1
  end
  redis.call('PEXPIRE', KEYS[3], LONGEST)
  return {holder, remaining, mine, place, present and 1 or 0}
end

local call, find, sub = redis.call, string.find, string.sub
local taken = call('GET', KEYS[1])
if taken and taken ~= '~' .. ARGV[6] then
  local fence, owner = string.match(taken, '^(%d+):(.*)$')
  if owner ~= ARGV[1] then
    return lined_up(owner or (sub(taken, 1, 1) == '~' and '' or taken))
  end
  -- The same owner again: its first answer was lost on the way.
  call('PEXPIRE', KEYS[1], ARGV[2])
  return tonumber(fence)
end
local known = string.match(ARGV[6], '^%d+%-')
local others = taken or known
if not taken then
  local ticket = first(KEYS[3], ARGV[4])
  others = others or ticket
  if ticket and ticket ~= ARGV[6] and not (known and ARGV[6] < ticket) then
    hand_over(KEYS[1], KEYS[3], ARGV[4], ARGV[5])
    return lined_up('')
  end
end
local last = call('GET', KEYS[2]) or '0:'
local _, colon = find(last, '^%d+:')
if not colon then
  return redis.error_reply('WRONGTYPE what is kept under ' .. KEYS[2] .. ' is no fence')
end
local done = sub(last, colon + 1)
-- First whether it is anywhere, which it hardly ever is, and only then between two NULs: the list may be long.
if find(done, ARGV[1], 1, true) and find('\0' .. done .. '\0', '\0' .. ARGV[1] .. '\0', 1, true) then
  -- This owner gave up or released before its request arrived.
  return {}
end
local now = call('TIME')
local fence = math.max(sub(last, 1, colon - 1) + 1, now[1] * 1000000 + now[2])
local written = string.format('%.0f:', fence)
-- The fence first: were it refused after the lock, the lock would stay without its owner knowing.
call('SET', KEYS[2], written .. done, 'PX', ARGV[3])
call('SET', KEYS[1], written .. ARGV[1], 'PX', ARGV[2])
if others and ARGV[6] ~= '' then
  call('ZREM', KEYS[3], ARGV[6])
  local head = call('ZRANGE', KEYS[3], 0, 0)[1]
  if head and sub(head, -1) == 's' then
    -- It may wait in a slot for its turn, which comes when this one ends.
    redis.pcall('PUBLISH', ARGV[5], 'come ' .. head .. ' ' .. ARGV[4] .. ' ' .. KEYS[1])
  end
end
return fence
