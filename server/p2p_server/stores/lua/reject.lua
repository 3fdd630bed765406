-- An instance read of a match too late to tell its peer, which still waits. The match ends, and the peer's advertisement
-- is what it was, unless there is a newer one or it was withdrawn meanwhile.
local instance, peer, stream, other, number, advertisement, own_ticket, other_ticket = unpack(ARGV)
if not still_holds(instance, peer, stream) then return WAITS end
local key = presence(peer)
local match = redis.call('HGET', key, 'm' .. other)
local was_withdrawn = match == '-' .. number
if not (match == number or was_withdrawn) then return WAITS end
redis.call('HDEL', key, 'm' .. other)
left(peer, other)
if not was_withdrawn then redis.call('HSETNX', key, 'w' .. other, advertisement) end
return meet(peer, other, false, own_ticket, other_ticket)
