-- See Store.advertise.
local instance, peer, stream, wanted, offer, max_others, own_ticket, other_ticket = unpack(ARGV)
if not still_holds(instance, peer, stream) then return WAITS end
local key = presence(peer)
local own = redis.call('HMGET', key, 'w' .. wanted, 'm' .. wanted)

-- Peers that are wanted or matched, each once.
local function others()
  local seen, count = {}, 0
  for _, field in ipairs(redis.call('HKEYS', key)) do
    local other = field:sub(2)
    if #other == 32 and not seen[other] then seen[other], count = true, count + 1 end
  end
  return count
end

local order = own[1] and split(own[1])
if not order then
  max_others = tonumber(max_others)
  if not own[2] and redis.call('HLEN', key) - PRESENCE_FIELDS >= max_others and others() >= max_others then
    return TOO_MANY
  end
  order = next_number()
end
redis.call('HSET', key, 'w' .. wanted, string.format('%d|', order) .. offer)
return meet(peer, wanted, false, own_ticket, other_ticket)
