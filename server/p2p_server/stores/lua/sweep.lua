-- Forgets some streams of an instance that is dead, or of the caller itself, which ends. Returns whether there are more.
local instance, is_own, many = ARGV[1], ARGV[2] == '1', ARGV[3]
if is_alive(instance) and not is_own then return 0 end
redis.call('ZADD', INSTANCES, 'XX', 0, instance)  -- from now on it is given up, and told so if it beats again
for _, peer in ipairs(redis.call('SPOP', peers(instance), many)) do
  if redis.call('HGET', presence(peer), 'instance') == instance then forget(peer, instance) end
end
if redis.call('EXISTS', peers(instance)) == 1 then return 1 end
redis.call('DEL', events(instance))
redis.call('ZREM', INSTANCES, instance)
return 0
