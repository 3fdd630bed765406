"""Gathers candidates once, as a peer does on its way to another, and tells what it found in one line of JSON.

python gatherer.py HOST PORT KEY MEDIATOR_ID      (of a running mediator, and a key that it admits)
"""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from p2p_core.identity import PeerId, load_key_pair
from p2p_peer.gather.candidates import gather
from p2p_peer.gather.port_mapping.mapping import PortMapping
from p2p_peer.mediation import Mediation
from p2p_peer.options import ConnectOptions


async def main(host: str, port: str, key: str, mediator_id: str) -> None:
    state_dir = Path(key).parent / "state"
    options = ConnectOptions(mediator_id=PeerId.parse(mediator_id), state_dir=state_dir)
    mediation = Mediation(host, int(port), load_key_pair(Path(key).read_bytes()), options)
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as keep:
        keep.push_async_callback(mediation.close)
        await mediation.open(lambda event: None)
        named = [replace(server, host=server.host or host) for server in mediation.client.welcome.stun]
        began = loop.time()
        port_mapping = PortMapping()
        keep.push_async_callback(port_mapping.close)
        gathered = await gather(options, mediation.identity.address, named, keep, port_mapping)
        found = {
            "seconds": loop.time() - began,
            "candidates": [str(candidate) for candidate in gathered.candidates()],
            "udp": gathered.udp_mapping.name,
            "udp_port_step": gathered.udp_port_step,
            "tcp": gathered.tcp_mapping.name,
        }
        print(json.dumps(found), flush=True)


asyncio.run(main(*sys.argv[1:]))
