"""Both peers of one relay, one sending as fast as it goes: run by `benchmarks/relay_stall.py`.

    relay_flood.py HOST PORT STATE_DIR KEY KEY

Prints a line when it relays, and the bytes that came through when its input ends.
"""

import asyncio
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from p2p_core.identity import PeerId, RSAPrivateKey, load_key_pair
from p2p_core.proof import Role
from p2p_peer.mediator import Introduction, MediatorClient
from p2p_peer.mediator_identity import recognise
from p2p_peer.paths.base import BUDGET
from p2p_peer.paths.relay import Relaying
from p2p_peer.trust import TrustStore

BLOCK = bytes(1024 * 1024)


async def main(host: str, port: str, state_dir: str, *key_pairs: str) -> None:
    """Relay until the input ends."""
    loop = asyncio.get_running_loop()
    mediator = await recognise(host, int(port), store=TrustStore(Path(state_dir)), expected=None, confirm=None)
    keys = _load(key_pairs)
    clients = [await MediatorClient.connect(mediator, one) for one in keys]
    for client, other in zip(clients, reversed(keys), strict=True):
        await client.advertise(PeerId.of(other.public_key()), b"no offer")
    introductions: dict[Role, Introduction] = {it.role: it for it in [await one.introduction() for one in clients]}
    relaying = {}
    for role, introduction in introductions.items():
        assert introduction.relay is not None
        relaying[role] = Relaying(mediator, introduction.relay, role, BUDGET)
    await relaying[Role.INITIATOR].found
    source = relaying[Role.INITIATOR].nominate().socket
    sending = loop.create_task(_send(source))
    sink = (await relaying[Role.RESPONDER].nominated).socket
    print("relaying", flush=True)
    stopped = loop.run_in_executor(None, sys.stdin.read)
    received, space = 0, bytearray(len(BLOCK))
    while not stopped.done():
        received += await loop.sock_recv_into(sink, space)
    sending.cancel()
    await asyncio.wait([sending])
    source.close()
    sink.close()
    for one in relaying.values():
        await one.exhausted
    for client in clients:
        await client.close()
    print(received, flush=True)


def _load(key_pairs: Sequence[str]) -> list[RSAPrivateKey]:
    return [load_key_pair(Path(one).read_bytes()) for one in key_pairs]


async def _send(source: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await loop.sock_sendall(source, BLOCK)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
