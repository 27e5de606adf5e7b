-- Counts one event of the key KEYS[1] if its limit allows it. All times are nanoseconds.
-- ARGV: step (what one event takes), burst (what the whole limit takes), window.
-- Answers: 1 or 0 (admitted or not), the time until the whole limit is there again, the time until the next event may happen.
--
-- The key's value is the theoretical arrival time of its next event, as "seconds.nanoseconds" since 1970: a double holds 53
-- bits exactly, which is not enough for both together. Only differences are computed with, and those are exact up to 104 days.
local clock = redis.call('TIME')
local seconds, nanos = tonumber(clock[1]), tonumber(clock[2]) * 1000
local step, burst, window = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local ahead = 0
local tat = redis.call('GET', KEYS[1])
if tat then
  local s, n = string.match(tat, '^(%d+)%.(%d+)$')
  -- the bound holds a key no longer than its window when the server's clock has been set back
  ahead = math.min(math.max((tonumber(s) - seconds) * 1e9 + (tonumber(n) - nanos), 0), math.max(burst, window))
end

local next = ahead + step
if next > burst then
  return {0, ahead, next - burst}
end
local at = nanos + next
redis.call('SET', KEYS[1], string.format('%d.%09d', seconds + math.floor(at / 1e9), at % 1e9), 'PX', math.ceil(next / 1e6))
return {1, next, 0}
