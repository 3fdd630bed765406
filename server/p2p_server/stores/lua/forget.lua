-- See Store.forget.
local instance, peer, stream = unpack(ARGV)
if holds(peer, stream) then forget(peer, instance) end
return 0
