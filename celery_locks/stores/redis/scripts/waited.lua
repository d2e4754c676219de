-- Goes after line: what is remembered of conflicts of a key, and how long those waited who have it now.
local function stats_of(here)
  local prefix = string.sub(here.channel, 1, -5)
  local stats = prefix .. 'stats:{stats}:'
  return string.sub(here.lock, #prefix + 2, -2), stats .. 'count', stats .. 'waited', stats .. 'held', prefix
end

-- One that first found it taken at this date has it now.
local function has_waited(here, date, now)
  local key, count, waited = stats_of(here)
  if type(redis.pcall('ZSCORE', count, key)) == 'string' then
    redis.pcall('ZINCRBY', waited, string.format('%.0f', math.max(0, now - date)), key)
    redis.pcall('PEXPIRE', waited, 604800000)
  end
end
