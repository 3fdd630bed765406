"""Gathers without a mediator, holds the mappings for a while, and tells in JSON where TCP was seen at each keepalive.

python mapping_holder.py KEEPALIVES STUN_SERVER...      (as --stun takes them; a keepalive each half second)
"""

import asyncio
import json
import sys
from contextlib import AsyncExitStack

from p2p_core.wire.candidate import Address
from p2p_peer.config import stun_server
from p2p_peer.gather import reflexive
from p2p_peer.gather.candidates import gather
from p2p_peer.gather.stun import TcpStun
from p2p_peer.options import ConnectOptions


async def main(keepalives: str, *stun: str) -> None:
    reflexive.KEEPALIVE = 0.5
    seen: list[str] = []
    enough = asyncio.Event()
    ask = TcpStun.ask

    async def noting(self: TcpStun, server: Address) -> Address:
        mapped = await ask(self, server)
        seen.append(str(mapped))
        if len(seen) == len(stun) + int(keepalives):
            enough.set()
        return mapped

    TcpStun.ask = noting  # type: ignore[method-assign]
    options = ConnectOptions(stun=tuple(map(stun_server, stun)), port_mapping=False, ip_version=4)
    async with AsyncExitStack() as keep:
        found = await gather(options, None, (), keep)
        await enough.wait()
        await asyncio.sleep(0)
        print(json.dumps({"seen": seen, "changed": found.changed.is_set()}), flush=True)


asyncio.run(main(*sys.argv[1:]))
