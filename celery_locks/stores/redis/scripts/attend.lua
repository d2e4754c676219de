-- KEYS: for each a lock and its line
-- ARGV: for each the claim window in ms, the channel, a ticket that is present, or '', and its date, if it has one
-- Answers for each {ms until it is worth another look, 1 if the key is kept for this ticket}, and of a ticket the dated
-- ticket, its place (0 for one that came with its date), and the holder.
local answers, now = {}, microseconds()
for i = 1, #KEYS / 2 do
  local lock, line, ticket, date = KEYS[2 * i - 1], KEYS[2 * i], ARGV[4 * i - 1], ARGV[4 * i]
  -- A key that holds something else, an error here, must not cost the others their places.
  local taken = redis.pcall('GET', lock)
  local granted = ticket ~= '' and taken == '~' .. ticket
  -- The time stands still while a script runs: those who join together come in the order in which they are named.
  local joined = ticket ~= '' and since(line, ticket, date, now + i)
  local dated = joined and string.format('%016.0f', joined)
  if dated and not granted then
    redis.pcall('ZADD', line, dated, ticket)
    redis.pcall('PEXPIRE', line, LONGEST)
  end
  if not taken then
    local window, channel = ARGV[4 * i - 3], ARGV[4 * i - 2]
    local called = hand_over(lock, line, window, channel, first(line, channel, ticket))
    granted = called ~= nil and called == ticket
  end
  if granted then
    -- It is here now, and has the whole window to take the key, however little was left of the time it had to arrive.
    redis.call('PEXPIRE', lock, ARGV[4 * i - 3])
  end
  answers[i] = {redis.call('PTTL', lock), granted and 1 or 0}
  if dated then
    local holder = type(taken) == 'string' and string.match(taken, '^%d+:(.*)$') or false
    answers[i] = {answers[i][1], answers[i][2], dated .. '-' .. ticket, date == '' and place_of(line, dated) or 0, holder}
  end
end
return answers
