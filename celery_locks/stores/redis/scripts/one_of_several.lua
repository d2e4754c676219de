-- Goes after join and before acquire_together: what is done about one of several keys.
local mine = ARGV[6]

-- Who has it, or false where nobody can be named; nil when it is to be had.
local function obstacle(here)
  local taken = redis.call('GET', here.lock)
  here.others = taken and mine ~= '' and taken == '~' .. mine
  if taken and not here.others then
    local fence, owner = string.match(taken, '^(%d+):(.*)$')
    here.had = owner == ARGV[1] and tonumber(fence)
    if here.had then
      return nil
    end
    return owner or (string.sub(taken, 1, 1) ~= '~' and taken)
  end
  if not taken then
    local ticket, score, missed = first(here, mine)
    local date = tonumber(ARGV[8])
    if ticket and ticket ~= mine and not (date and date < score % AWAY) then
      hand_over(here, ticket, score, missed)
      return false
    end
    here.others = ticket or date
  end
end

-- What it might have had, or waited for, goes to the next: it waits for another key, and holds nothing meanwhile.
local function step_back(here)
  out_of_line(here, mine)
  local taken = redis.pcall('GET', here.lock)
  local owner = type(taken) == 'string' and string.match(taken, '^%d+:(.*)$')
  if not taken or taken == '~' .. mine or owner == ARGV[1] then
    redis.call('DEL', here.lock)
    hand_over(here, first(here))
  end
end

-- One took its place who was in line: the next may wait in a slot for its turn, which comes when this one ends.
local function call_in_next(here)
  local head = redis.pcall('ZRANGE', here.line, 0, 0, 'WITHSCORES')
  if head[1] and tonumber(head[2]) < AWAY then
    local _, comes = home_of(here, head[1])
    if comes == ' c' then
      tell(here, 'come', head[1], head[2], here.window)
    end
  end
end
