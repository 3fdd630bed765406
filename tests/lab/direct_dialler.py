"""Connects directly to another peer, both of them dialling and listening; again for each line of standard input.

    python direct_dialler.py KEYPAIR PEERKEY HOST PORT TARGET REMOTE_PORT

A line is how many seconds to wait before. What came of it is told in one line of JSON: the session, this side's role
in it, and what the other side said.
"""

import asyncio
import json
import sys
from pathlib import Path

from p2p_peer import ConnectOptions, MessageReceived, load_key_pair, load_public_key
from p2p_peer.serverless.direct import connect_direct


async def main(keypair: str, peerkey: str, host: str, port: str, target: str, remote_port: str) -> None:
    key, peer_key = load_key_pair(Path(keypair).read_bytes()), load_public_key(Path(peerkey).read_bytes())
    options = ConnectOptions(state_dir=Path(keypair).parent / "state")
    while line := await asyncio.to_thread(sys.stdin.readline):
        await asyncio.sleep(float(line))
        session = await connect_direct(
            key,
            target=target,
            remote_port=int(remote_port),
            host=host,
            port=int(port),
            peer_key=peer_key,
            require_known=False,
            options=options,
        )
        async with session:
            await session.send_message(f"hello in {session.session_id.hex()}")
            session.finish()
            heard = [event.text async for event in session if isinstance(event, MessageReceived)]
        met = {"session": session.session_id.hex(), "role": session.role.value, "heard": heard}
        print(json.dumps(met), flush=True)


asyncio.run(main(*sys.argv[1:]))
