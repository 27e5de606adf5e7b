-- Gives back one event of the key KEYS[1]; see take.lua. ARGV: step. A key that is not there has all of its limit.
local clock = redis.call('TIME')
local seconds, nanos = tonumber(clock[1]), tonumber(clock[2]) * 1000

local tat = redis.call('GET', KEYS[1])
if not tat then
  return 0
end
local s, n = string.match(tat, '^(%d+)%.(%d+)$')
local ahead = (tonumber(s) - seconds) * 1e9 + (tonumber(n) - nanos) - tonumber(ARGV[1])
if ahead <= 0 then
  return redis.call('DEL', KEYS[1])
end
local at = nanos + ahead
redis.call('SET', KEYS[1], string.format('%d.%09d', seconds + math.floor(at / 1e9), at % 1e9), 'PX', math.ceil(ahead / 1e6))
return 1
