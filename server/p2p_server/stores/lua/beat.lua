-- An instance is alive, has read its events up to `read`, and still has these streams: peer, stream, peer, stream, ….
-- Returns the time in ms and the instances that are dead; nothing if this one was given up, or its data is gone.
local instance, read = ARGV[1], ARGV[2]
if not is_alive(instance) or redis.call('EXISTS', events(instance)) == 0 then return nil end

redis.call('ZADD', INSTANCES, NOW, instance)
redis.call('XTRIM', events(instance), 'MINID', read)
for _, key in ipairs({INSTANCES, ORDER, events(instance), peers(instance)}) do redis.call('PEXPIRE', key, KEPT) end

for i = 3, #ARGV, 2 do
  local peer, stream = ARGV[i], ARGV[i + 1]
  if still_holds(instance, peer, stream) then redis.call('PEXPIRE', presence(peer), KEPT) end
end

return {NOW, redis.call('ZRANGEBYSCORE', INSTANCES, '-inf', '(' .. string.format('%d', NOW - DEAD_AFTER))}
