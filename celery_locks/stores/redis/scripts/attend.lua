-- KEYS: for each a lock, its line and, for all or none, its homes, and its slots
-- ARGV: for each the claim window in ms, the channel, a ticket that is present, or '', its date, if it has one, its home, if
-- wakes are heard there, and 1 if it may be called to wait in a slot
-- Answers for each {ms until it is worth another look, 1 if the key is kept for this ticket}, and of a ticket the dated
-- ticket, its place (0 for one that came with its date), and the holder.
local answers, now = {}, microseconds()
local count = #ARGV / 6
local names = #KEYS / count
for i = 1, count do
  local here, ticket, date, home, comes = {}, nil, nil, nil, nil
  here.lock, here.line, here.homes, here.slots = unpack(KEYS, names * (i - 1) + 1, names * i)
  here.window, here.channel, ticket, date, home, comes = unpack(ARGV, 6 * i - 5, 6 * i)
  -- A key that holds something else, an error here, must not cost the others their places.
  local taken = redis.pcall('GET', here.lock)
  if type(taken) == 'table' and crowds().swept(here) == nil then
    taken = false
  end
  local granted = ticket ~= '' and taken == '~' .. ticket
  local called = ticket ~= '' and here.crowd and redis.call('ZSCORE', here.lock, '~' .. ticket)
  -- The time stands still while a script runs: those who join together come in the order in which they are named.
  local joined = ticket ~= '' and since(here.line, ticket, date, now + i)
  local dated = joined and string.format('%016.0f', joined)
  if dated and not called then
    if not granted then
      redis.pcall('ZADD', here.line, dated, ticket)
      redis.pcall('PEXPIRE', here.line, LONGEST)
    end
    is_at(here, ticket, home, comes)
  end
  local fence, holder = nil, false
  if type(taken) == 'string' then
    fence, holder = string.match(taken, '^(%d+):(.*)$')
  end
  holder = holder or (here.crowd and crowds().first_holder(here)) or false
  if joined == now + i and date == '' then
    memory().conflict(here, ticket, holder, fence and now - fence, now)
  end
  if not taken or here.crowd then
    fill(here, ticket)
    granted, called = granted or (here.called and not here.crowd), called or (here.called and here.crowd)
  end
  if granted then
    -- It is here now, and has the whole window to take the key, however little was left of the time it had to arrive.
    redis.call('PEXPIRE', here.lock, here.window)
  elseif called then
    crowds().put(here, here.crowd, tonumber(here.window), crowds().ends_after(tonumber(here.window)), '~' .. ticket)
  end
  local again = here.crowd and crowds().ends_in(here) or redis.call('PTTL', here.lock)
  answers[i] = {again, (granted or called) and 1 or 0}
  if dated then
    local place = date == '' and place_of(here.line, dated) or 0
    answers[i] = {answers[i][1], answers[i][2], dated .. '-' .. ticket, place, holder}
  end
end
return answers
