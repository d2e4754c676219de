-- Goes after one_of_several: all keys are had already, by the same owner, whose first answer was lost on the way, or by
-- the one after whom it comes, who hands them over with their fence.
local function had_already(keys)
  for _, here in ipairs(keys) do
    if here.after and is_too_late(here.fence, ARGV[1]) then
      return {}
    end
  end
  for _, here in ipairs(keys) do
    if here.after then
      redis.call('SET', here.lock, string.format('%.0f:', here.had) .. ARGV[1], 'PX', ARGV[2])
      if mine ~= '' then
        out_of_line(here, mine)
      end
    else
      redis.call('PEXPIRE', here.lock, ARGV[2])
    end
  end
  return keys[1].had
end
