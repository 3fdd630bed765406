-- See Store.leave.
local instance, peer, stream, other = unpack(ARGV)
if not still_holds(instance, peer, stream) then return 0 end
redis.call('HDEL', presence(peer), 'w' .. other)
if redis.call('HDEL', presence(peer), 'm' .. other) == 1 then left(peer, other) end
return 0
