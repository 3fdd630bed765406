"""Meet another peer, say hello, take what it sends: `python examples/hello.py HOST PORT KEYPAIR PEERKEY`."""

import asyncio
import sys
from pathlib import Path

from p2p_peer import MessageReceived, PunchwireError, TransferOffered, connect, load_key_pair, load_public_key


async def main(host: str, port: str, keypair: str, peerkey: str) -> None:
    """Say hello once, and listen until the other side has nothing more to say."""
    key = load_key_pair(Path(keypair).read_bytes())
    peer_key = load_public_key(Path(peerkey).read_bytes())
    async with await connect(host, int(port), key, peer_key) as session:
        await session.send_message(f"hello, {session.peer.short}")
        session.finish()  # with both sides done, the session ends by itself
        async for event in session:
            match event:
                case MessageReceived(text=text):
                    print(text)
                case TransferOffered():
                    session.accept(event, ".")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except PunchwireError as error:
        sys.exit(f"{error}\n{error.advice}")
