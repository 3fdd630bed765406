"""Gathers candidates as a peer does without a mediator, and tells them in one line of JSON.

python lone_gatherer.py ADDRESS_SERVICE [STUN_SERVER]...      (as the flags of p2p-peer take them)
"""

import asyncio
import json
import sys
from contextlib import AsyncExitStack

from p2p_peer.config import address_service_url, stun_server
from p2p_peer.gather.candidates import gather
from p2p_peer.options import ConnectOptions


async def main(address_service: str, *stun: str) -> None:
    options = ConnectOptions(
        address_service=address_service_url(address_service), stun=tuple(map(stun_server, stun)), port_mapping=False
    )
    failed: list[str] = []
    async with AsyncExitStack() as keep:
        found = await gather(options, None, (), keep, service_failed=failed.append)
        candidates = [str(candidate) for candidate in found.candidates()]
        print(json.dumps({"candidates": candidates, "failed": failed, "udp": found.udp_mapping.name}), flush=True)


asyncio.run(main(*sys.argv[1:]))
