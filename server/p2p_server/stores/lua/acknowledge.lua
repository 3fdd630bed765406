-- An instance was asked for a match, at a time in ms. If that was long ago, it asks the other in turn.
local instance, peer, stream, other, asked_at, own_ticket, other_ticket = unpack(ARGV)
if not still_holds(instance, peer, stream) then return WAITS end
return meet(peer, other, NOW - asked_at <= FRESH, own_ticket, other_ticket)
