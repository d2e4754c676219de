-- KEYS: lock, fence, line, homes and, of one who shares the key, slots
-- ARGV: owner, fence retention ms, 1 to refuse this owner from now on although it holds nothing, -1 not to although it does,
-- claim window ms, channel, the ticket that it asked with, or '', and the home, of one to whom the key may have been handed over
-- Answers 1 when the lock is given back, now or by an earlier call of this owner, else 0.
local find, sub = string.find, string.sub
local here = {lock = KEYS[1], line = KEYS[3], homes = KEYS[4], slots = KEYS[5], window = ARGV[4], channel = ARGV[5]}
local function parts(value)
  -- What is not a string is not ours, and no reason to fail.
  local _, colon = find(type(value) == 'string' and value or '', '^%d+:')
  if colon then
    return sub(value, 1, colon), sub(value, colon + 1)
  end
end
local taken = redis.pcall('GET', KEYS[1])
local fence, owner = parts(taken)
local last, done = parts(redis.pcall('GET', KEYS[2]) or '0:')
local held, most = owner == ARGV[1], 400
if type(taken) == 'table' and crowds().swept(here) then
  local score = redis.call('ZSCORE', KEYS[1], 'fence:' .. ARGV[1])
  -- Those who hold it with others end close to each other.
  held, most = score ~= false, 1600
  fence = held and last == '0:' and string.format('%.0f:', HIGHEST + score)
end
if not held and ARGV[6] ~= '' then
  -- It may have joined the line without its answer being heard.
  left(here, ARGV[6])
end
if done and not held and find('\0' .. done .. '\0', '\0' .. ARGV[1] .. '\0', 1, true) then
  return 1
end
local marked
if done and (held and ARGV[3] ~= '-1' or ARGV[3] == '1') then
  if #done > most then
    -- Enough to know the owners of a burst; a key must not grow with its use. The pattern is slow, and rarely needed.
    local cut = find(done, '\0', most - 59, true)
    done = cut and cut < most + 2 and sub(done, 1, cut - 1) or string.match(sub(done, 1, most), '^(.*)%z') or ''
  end
  done = ARGV[1] .. (done == '' and '' or '\0' .. done)
  marked = redis.pcall('SET', KEYS[2], (fence or last) .. done, 'PX', ARGV[2])
end
if held and here.crowd then
  redis.call('ZREM', KEYS[1], 'until:' .. ARGV[1], 'fence:' .. ARGV[1])
  crowds().fewer(here, 1)
elseif held and marked and marked.err then
  -- No memory is left for a mark. The lock becomes one itself, which needs none.
  redis.call('RENAME', KEYS[1], KEYS[2])
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
elseif held then
  redis.call('DEL', KEYS[1])
end
if held and owner then
  local ticket, score, missed = first(here)
  local own = ticket and ARGV[7] and (home_of(here, ARGV[6]) or ARGV[7]) == ARGV[7]
  -- It was handed the key in the moment in which its process said that it is here. What waits elsewhere is another copy.
  if own and out_of_line(here, ARGV[6]) == 1 and ticket == ARGV[6] then
    ticket, score, missed = first(here)
  end
  if ticket and not (marked and not marked.err and inherited(here, ticket, score, fence, done, ARGV[2])) then
    fill(here, nil, ticket, score, missed)
  end
elseif held then
  fill(here)
end
return held and 1 or 0
