-- See Store.measured.
local peer, stream, rtt = unpack(ARGV)
if holds(peer, stream) then redis.call('HSET', presence(peer), 'rtt', rtt) end
return 0
