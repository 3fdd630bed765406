"""Meet another peer by tokens, and say hello: `python examples/by_token.py [ADDRESS]`, on both sides.

With no keys at all: they are made for this one session, and each token says whose it is. ADDRESS is one of this
computer, if it is to be that one alone; 127.0.0.1 on both sides to try it on one machine.
"""

import asyncio
import ipaddress
import sys

from p2p_peer import ConnectOptions, MessageReceived, PunchwireError, make_token


async def main(address: str | None = None) -> None:
    """Show our token, read the other side's, say hello, and listen until it has nothing more to say."""
    # From another network, name a STUN server too: stun=(StunServer("stun.example.org", 3478, Transport.UDP),)
    options = ConnectOptions(bind=None if address is None else ipaddress.ip_address(address))
    async with await make_token(options=options) as own:
        print(own.text, flush=True)  # carry it to the other side
        read = await own.read(await asyncio.to_thread(input))  # our ports stay open meanwhile
        session = await own.connect(read)
    async with session:
        await session.send_message(f"hello, {session.peer.short}")
        session.finish()
        async for event in session:
            if isinstance(event, MessageReceived):
                print(event.text)


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except PunchwireError as error:
        sys.exit(f"{error}\n{error.advice}")
