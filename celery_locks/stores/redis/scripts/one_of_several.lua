-- Goes after join and before acquire_together: what is done about one of several keys.
local mine = ARGV[6]

-- Who has it, or false where nobody can be named; nil when it is to be had. An error when it is no lock.
local function obstacle(here)
  local taken = redis.pcall('GET', here.lock)
  if type(taken) == 'table' then
    local crowd = crowds().swept(here)
    if crowd == false then
      return nil, taken
    elseif crowd then
      return crowds().first_holder(here)
    end
    taken = false
  end
  here.others = taken and mine ~= '' and taken == '~' .. mine
  if taken and not here.others then
    local fence, owner = string.match(taken, '^(%d+):(.*)$')
    here.after = owner and owner ~= '' and owner == ARGV[11]
    here.had = (here.after or owner == ARGV[1]) and tonumber(fence)
    if here.had then
      return nil
    end
    here.fenced = fence
    return owner or (string.sub(taken, 1, 1) ~= '~' and taken)
  end
  if not taken then
    local ticket, score, missed = first(here, mine)
    local date = tonumber(ARGV[8])
    if ticket and ticket ~= mine and not (date and date < score % AWAY) then
      fill(here, mine, ticket, score, missed)
      return false
    end
    here.others = ticket or date
  end
end

-- What it might have had, or waited for, goes to the next: it waits for another key, and holds nothing meanwhile. Nor does
-- the one after whom it comes, who has nothing left to do.
local function step_back(here)
  if mine ~= '' then
    left(here, mine)
  end
  local taken = redis.pcall('GET', here.lock)
  local owner = type(taken) == 'string' and string.match(taken, '^%d+:(.*)$')
  if owner and owner ~= '' and (owner == ARGV[1] or owner == ARGV[11]) then
    redis.call('DEL', here.lock)
    taken = false
  end
  if not taken then
    fill(here)
  end
end
