-- See Store.signal. Returns 0 if there is no such match.
local instance, peer, stream, to, body = unpack(ARGV)
if not still_holds(instance, peer, stream) then return 1 end
if redis.call('HEXISTS', presence(peer), 'm' .. to) == 0 then return 0 end
local their = redis.call('HMGET', presence(to), 'instance', 'stream', 'm' .. peer)
if their[3] then tell(their[1], 'signal', their[2], 'peer', peer, 'body', body) end
return 1
