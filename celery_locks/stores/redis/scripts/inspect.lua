-- KEYS: a lock each   Answers for each {what is written, remaining ms}, or {} when it is free or no lock.
local answers = {}
for i, key in ipairs(KEYS) do
  local taken = redis.pcall('GET', key)
  answers[i] = type(taken) == 'string' and {taken, redis.call('PTTL', key)} or {}
end
return answers
