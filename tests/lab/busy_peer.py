"""A peer that waits for another one, in an event loop that is busy for a while.

    python busy_peer.py HOST PORT KEYPAIR PEERKEY SECONDS

It says "waiting" when it waits, "busy" and "back" around the time in which nothing else is done, and "lost" if it loses
the mediator. It ends with its standard input.
"""

import asyncio
import sys
import time
from pathlib import Path

from p2p_peer import Advertised, ConnectEvent, ConnectOptions, MediatorLost, connect, load_key_pair, load_public_key


def be_busy(seconds: float) -> None:
    print("busy", flush=True)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass  # and not asleep, which would let other threads go on
    print("back", flush=True)


async def main(host: str, port: str, keypair: str, peerkey: str, seconds: str) -> None:
    def notify(event: ConnectEvent) -> None:
        if isinstance(event, Advertised):
            print("waiting", flush=True)
            asyncio.get_running_loop().call_later(0.5, be_busy, float(seconds))  # once the mediator has heard of it
        elif isinstance(event, MediatorLost):
            print("lost", flush=True)

    key, peer_key = load_key_pair(Path(keypair).read_bytes()), load_public_key(Path(peerkey).read_bytes())
    options = ConnectOptions(state_dir=Path(keypair).parent / "state")
    waiting = asyncio.create_task(connect(host, int(port), key, peer_key, options=options, notify=notify))
    await asyncio.to_thread(sys.stdin.read)
    waiting.cancel()
    await asyncio.wait([waiting])


asyncio.run(main(*sys.argv[1:]))
