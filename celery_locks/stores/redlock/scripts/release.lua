-- KEYS: lock, fence   ARGV: owner, fence retention ms
-- Answers 1 when the lock is given back, now or by an earlier release of this owner, else 0. Either way the owner gets
-- nothing more here: a request of its own that is still on its way is refused.
local function kept(name)
  -- What is not a string is not ours, and no reason to fail.
  local value = redis.pcall('GET', name)
  return type(value) == 'string' and value or value and 'foreign' or nil
end
local fence, owner = string.match(kept(KEYS[1]) or '', '^(%d+):(.*)%z%d+$')
local last, done = string.match(kept(KEYS[2]) or '0:', '^(%d+):(.*)$')
local held = owner == ARGV[1]
local listed = '\0' .. (done or '') .. '\0'
if not held and string.find(listed, '\0' .. ARGV[1] .. '\0', 1, true) then
  return 1
end
local marked
if done and (held or not string.find(listed, '\0\1' .. ARGV[1] .. '\0', 1, true)) then
  if #done > 400 then
    -- Enough to know the owners of a burst; a key must not grow with its use.
    done = string.match(string.sub(done, 1, 400), '^(.*)%z') or ''
  end
  local mark = (held and '' or '\1') .. ARGV[1]
  local highest = string.format('%.0f:', math.max(last, fence or 0))
  marked = redis.pcall('SET', KEYS[2], highest .. mark .. (done == '' and '' or '\0' .. done), 'PX', ARGV[2])
end
if held and marked and marked.err then
  -- No memory is left for a mark. The lock becomes one itself, which needs none.
  redis.call('RENAME', KEYS[1], KEYS[2])
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
elseif held then
  redis.call('DEL', KEYS[1])
end
return held and 1 or 0
