-- See Store.signal. Returns 0 if there is no such match.
local peer, stream, to, body = unpack(ARGV)
local own = redis.call('HMGET', presence(peer), 'stream', 'm' .. to)
if own[1] ~= stream then return 1 end
if not own[2] then return 0 end
local their = redis.call('HMGET', presence(to), 'instance', 'stream', 'm' .. peer)
if their[3] then tell(their[1], 'signal', their[2], 'peer', peer, 'body', body) end
return 1
