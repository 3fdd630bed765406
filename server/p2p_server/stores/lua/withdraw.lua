-- See Store.withdraw.
local instance, peer, stream, wanted = unpack(ARGV)
local key = presence(peer)
if not still_holds(instance, peer, stream) or redis.call('HDEL', key, 'w' .. wanted) == 1 then return 0 end
local number = redis.call('HGET', key, 'm' .. wanted)
if number and number:byte() ~= 45 then redis.call('HSET', key, 'm' .. wanted, '-' .. number) end  -- for `reject`
return 0
