-- See Store.claim. Returns 0 if the instance was given up.
local instance, peer, stream, observed, rtt = unpack(ARGV)
if not is_alive(instance) then return 0 end
local older = redis.call('HMGET', presence(peer), 'instance', 'stream')
if older[1] then
  tell(older[1], 'displaced', older[2])
  forget(peer, older[1])
end
redis.call('HSET', presence(peer), 'instance', instance, 'stream', stream, 'observed', observed, 'rtt', rtt)
redis.call('PEXPIRE', presence(peer), KEPT)
redis.call('SADD', peers(instance), peer)
redis.call('PEXPIRE', peers(instance), KEPT)
return 1
