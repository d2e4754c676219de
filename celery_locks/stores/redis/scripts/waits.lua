-- Goes after memory: what is remembered of those who waited in line.

-- One that first found it taken at this date has it now.
local function remember_wait(here, date, now)
  local key, count, waited = names_of_memory(here)
  if type(redis.pcall('ZSCORE', count, key)) == 'string' then
    redis.pcall('ZINCRBY', waited, string.format('%.0f', math.max(0, now - date)), key)
    redis.pcall('PEXPIRE', waited, REMEMBERED)
  end
end
