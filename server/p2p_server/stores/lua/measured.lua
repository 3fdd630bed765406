-- See Store.measured.
local instance, peer, stream, rtt = unpack(ARGV)
if still_holds(instance, peer, stream) then redis.call('HSET', presence(peer), 'rtt', rtt) end
return 0
