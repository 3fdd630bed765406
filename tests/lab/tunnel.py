"""A tunnel for TCP only, as ngrok is: all that comes to a public port goes on to a local one, from one address.

    python tunnel.py PUBLIC_ADDRESS PUBLIC_PORT LOCAL_ADDRESS LOCAL_PORT

Whoever listens at the end sees one address for everybody; its other ports, STUN among them, cannot be reached. Prints
"ready" when it listens. It stands alone, so that it starts quickly.
"""

import asyncio
import contextlib
import sys

CHUNK = 1 << 16  # bytes


async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry one direction of one connection to its end."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def serve(public_address: str, public_port: int, local_address: str, local_port: int) -> None:
    """Serve until the process is ended."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(local_address, local_port)
        await asyncio.gather(pour(reader, far_writer), pour(far_reader, writer))
        for each in (writer, far_writer):
            each.close()

    await asyncio.start_server(carry, public_address, public_port)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
