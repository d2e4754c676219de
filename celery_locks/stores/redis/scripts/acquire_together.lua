-- KEYS: for each key, in order, its lock, fence, line and homes   ARGV: as of acquire
-- Takes all keys or none. Answers the fence, one for all of them; or {which is the first that is not to be had, what acquire
-- answers of that}, and the ticket waits in its line alone; or {} when this owner is done with one of them. A ticket's date is
-- of when its job first found one of its keys taken, and counts in the lines of all.
local call, keys = redis.call, {}
for i = 1, #KEYS, 4 do
  local lock, fence, line, homes = unpack(KEYS, i, i + 3)
  keys[#keys + 1] = {lock = lock, fence = fence, line = line, homes = homes, window = ARGV[4], channel = ARGV[5]}
end

local had = 0
for i, here in ipairs(keys) do
  local holder, amiss = obstacle(here)
  if amiss then
    return amiss
  elseif holder ~= nil then
    for j, other in ipairs(keys) do
      -- What is kept for it, and comes before a key that is kept for another, stays so for its short time. Were it given on,
      -- those who wait for several keys could pass them round among themselves for ever, and none would have all.
      if j ~= i and not (j < i and other.others == true and holder == false) then
        step_back(other)
      end
    end
    return {i, lined_up(here, holder)}
  end
  had = had + (here.had and 1 or 0)
end
if had == #keys then
  return had_already(keys)
end
local fence = microseconds()
for _, here in ipairs(keys) do
  local last = call('GET', here.fence) or '0:'
  local _, colon = string.find(last, '^%d+:')
  if not colon then
    return redis.error_reply('WRONGTYPE what is kept under ' .. here.fence .. ' is no fence')
  end
  here.done = string.sub(last, colon + 1)
  if is_done(here.done, ARGV[1]) then
    -- This owner gave up or released before its request arrived.
    return {}
  end
  fence = math.max(fence, string.sub(last, 1, colon - 1) + 1)
end
local written = string.format('%.0f:', fence)
-- The fences first: were one refused after a lock, that would stay without its owner knowing.
for _, here in ipairs(keys) do
  call('SET', here.fence, written .. here.done, 'PX', ARGV[3])
end
for _, here in ipairs(keys) do
  call('SET', here.lock, written .. ARGV[1], 'PX', ARGV[2])
end
for _, here in ipairs(keys) do
  if here.others and mine ~= '' then
    if out_of_line(here, mine) == 1 and tonumber(ARGV[8]) then
      has_waited(here, ARGV[8], microseconds())
    end
    call_in_next(here)
  end
end
return fence
