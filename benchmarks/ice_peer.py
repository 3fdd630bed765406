#!/usr/bin/env python3
"""One side of an ICE connection made with aioice, for `benchmarks/connect.py`.

    ice_peer.py serve ADDRESS                               passes on what two peers tell each other; prints its port
    ice_peer.py initiator|responder ADDRESS PORT STUN_PORT  meets the other one through the server at ADDRESS:PORT

A peer gathers its candidates, sends them as one line, and waits for the other side's, which the server hands over when
it has both. It prints the seconds from then until ICE has a connection that both sides have agreed upon, and ends with
1 and the reason on standard error when there is none.
"""

import asyncio
import json
import sys
import time

import aioice

PATIENCE = 10.0  # s to connect; beyond any limit of ours, and where ICE cannot it may go on for ever
LINGER = 1.0  # s that a peer answers checks when it is done: the other side may not be


async def serve(address: str) -> None:
    """Introduce peers two by two, until the process is ended."""
    waiting: list[tuple[bytes, asyncio.StreamWriter]] = []

    async def introduce(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting.append((await reader.readline(), writer))
        if len(waiting) == 2:
            (one, to_one), (other, to_other) = waiting
            waiting.clear()
            for line, to in ((other, to_one), (one, to_other)):
                to.write(line)
                to.close()

    server = await asyncio.start_server(introduce, address, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


async def meet(role: str, address: str, port: int, stun_port: int) -> float:
    """Return the seconds from both having the other's candidates to the connection."""
    connection = aioice.Connection(
        ice_controlling=role == "initiator", stun_server=(address, stun_port), use_ipv6=False
    )
    await connection.gather_candidates()
    own = {
        "username": connection.local_username,
        "password": connection.local_password,
        "candidates": [candidate.to_sdp() for candidate in connection.local_candidates],
    }
    reader, writer = await asyncio.open_connection(address, port)
    writer.write(json.dumps(own).encode() + b"\n")
    other = json.loads(await reader.readline())
    writer.close()
    began = time.monotonic()
    connection.remote_username, connection.remote_password = other["username"], other["password"]
    for candidate in other["candidates"]:
        await connection.add_remote_candidate(aioice.Candidate.from_sdp(candidate))
    await connection.add_remote_candidate(None)
    try:
        async with asyncio.timeout(PATIENCE):
            await connection.connect()
        seconds = time.monotonic() - began
        await asyncio.sleep(LINGER)
    finally:
        await connection.close()
    return seconds


def main(command: str, address: str, *rest: str) -> None:
    """Do as the command line says."""
    if command == "serve":
        asyncio.run(serve(address))
        return
    port, stun_port = map(int, rest)
    try:
        print(asyncio.run(meet(command, address, port, stun_port)))
    except (OSError, TimeoutError) as error:
        sys.exit(f"ICE did not connect: {error or 'too slow'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
