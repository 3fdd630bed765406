-- What every script has in front of it, below the constants that redis_scripts.py sets:
-- DEAD_AFTER, FRESH and KEPT, all in ms. docs/decisions/redis-store.md has the keys and why all is as it is.
--
-- KEYS[1] is the prefix of all keys. An instance that calls is alive at that moment.

local PREFIX = KEYS[1]
local INSTANCES = PREFIX .. 'instances'  -- sorted set: instance by the time of its last beat, 0 once it was given up
local ORDER = PREFIX .. 'order'          -- counts advertisements and matches
local PRESENCE_FIELDS = 4                -- of a peer without advertisements and matches

local WAITS, MATCHED, TOO_MANY = 0, 1, 2

local time = redis.call('TIME')
local NOW = time[1] * 1000 + math.floor(time[2] / 1000)

-- A peer that is here: a hash of instance, stream, observed, rtt,
-- 'w' .. other: its advertisement for `other`, as order|offer, and 'm' .. other: the number of its match with `other`.
local function presence(peer) return PREFIX .. 'peer:' .. peer end

-- What has to be told to the streams of an instance, in its order: a stream.
local function events(instance) return PREFIX .. 'events:' .. instance end

-- The peers whose streams an instance owns: a set.
local function peers(instance) return PREFIX .. 'peers:' .. instance end

local function holds(peer, stream) return redis.call('HGET', presence(peer), 'stream') == stream end

local function is_alive(instance)
  local beat = redis.call('ZSCORE', INSTANCES, instance)
  return beat and tonumber(beat) >= NOW - DEAD_AFTER
end

local function next_number()
  local number = redis.call('INCR', ORDER)
  if number == 1 then redis.call('PEXPIRE', ORDER, KEPT) end
  return number
end

-- Nobody is told anything once its instance was given up: that must not bring the key back.
local function tell(instance, kind, stream, ...)
  redis.call('XADD', events(instance), 'NOMKSTREAM', '*', 'kind', kind, 'stream', stream, ...)
end

-- Whether the calling instance's `stream` is still that of `peer`. If not, it is lost, and told so: behind what else there
-- was to tell, `displaced` most of all.
local function still_holds(instance, peer, stream)
  if holds(peer, stream) then return true end
  tell(instance, 'lost', stream)
  return false
end

-- Tells `other` that `peer` has ended their match, unless `other` has done so itself.
local function left(peer, other)
  local to = redis.call('HMGET', presence(other), 'instance', 'stream', 'm' .. peer)
  if to[3] then tell(to[1], 'left', to[2], 'peer', peer) end
end

local function forget(peer, instance)
  for _, field in ipairs(redis.call('HKEYS', presence(peer))) do
    if #field > 32 and field:byte() == 109 then left(peer, field:sub(2)) end  -- 'm'
  end
  redis.call('DEL', presence(peer))
  redis.call('SREM', peers(instance), peer)
end

local function split(advertisement)
  local bar = advertisement:find('|', 1, true)
  return tonumber(advertisement:sub(1, bar - 1)), advertisement:sub(bar + 1)
end

-- Tells `peer`. `own` and `their` are what `meet` read: instance, stream, observed, rtt, advertisement.
local function tell_matched(peer, own, their, other, role, ticket, number)
  local _, offer = split(their[5])
  tell(own[1], 'matched', own[2], 'of', peer, 'peer', other, 'role', role, 'offer', offer, 'observed', their[3],
       'rtt', own[4], 'their_rtt', their[4], 'ticket', ticket, 'match', number, 'own', own[5])
end

-- Matches `peer`, of the calling instance, with `other` if each wants the other.
--
-- Both instances have to be seen alive for it, within FRESH. Unless both streams are the caller's own, or the other
-- instance `has_asked` for it, that one is asked to call `acknowledge`. Until it does, nothing has changed: a proposal
-- that nobody takes up is withdrawn by having become old.
local function meet(peer, other, has_asked, own_ticket, other_ticket)
  local their = redis.call('HMGET', presence(other), 'instance', 'stream', 'observed', 'rtt', 'w' .. peer)
  if not their[5] or not is_alive(their[1]) then return WAITS end
  local own = redis.call('HMGET', presence(peer), 'instance', 'stream', 'observed', 'rtt', 'w' .. other)
  if not own[5] then return WAITS end
  if their[1] ~= own[1] and not has_asked then
    tell(their[1], 'proposed', their[2], 'of', other, 'peer', peer)
    return WAITS
  end
  local number = next_number()
  redis.call('HDEL', presence(peer), 'w' .. other)
  redis.call('HDEL', presence(other), 'w' .. peer)
  redis.call('HSET', presence(peer), 'm' .. other, number)
  redis.call('HSET', presence(other), 'm' .. peer, number)
  local own_order, their_order = split(own[5]), split(their[5])
  local is_first = own_order < their_order
  tell_matched(other, their, own, peer, is_first and 'responder' or 'initiator', other_ticket, number)
  tell_matched(peer, own, their, other, is_first and 'initiator' or 'responder', own_ticket, number)
  return MATCHED
end
