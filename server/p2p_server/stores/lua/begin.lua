-- An instance begins. Returns the id of its first event, which tells the time too; it reads on from there.
local instance = ARGV[1]
redis.call('ZADD', INSTANCES, NOW, instance)
redis.call('PEXPIRE', INSTANCES, KEPT)
local first = redis.call('XADD', events(instance), '*', 'kind', 'begun', 'stream', '')
redis.call('PEXPIRE', events(instance), KEPT)
return first
