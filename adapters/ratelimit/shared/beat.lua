-- Notes that the node ARGV[1] is alive in the sorted set KEYS[1], and answers how many have been within ARGV[2] seconds. The set has
-- no time to live, so that a store that makes room among the keys that have one leaves it alone.
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
return redis.call('ZCARD', KEYS[1])
