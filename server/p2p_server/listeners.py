"""Listening sockets of asyncio, and the connections that came by them, closed without leaving one behind."""

import asyncio
from collections.abc import Collection, Iterable
from typing import Protocol

__all__ = ["Connection", "stop"]

_TURNS_TO_BE_MADE = 2  # of the event loop, until a connection that was just accepted has its protocol


class Connection(Protocol):
    """One that was accepted."""

    gone: asyncio.Event  # set once it is closed

    def cut(self) -> None:
        """Close it, whatever is still to be sent."""


async def stop(servers: Iterable[asyncio.Server], connections: Collection[Connection]) -> None:
    """Take no more connections, and cut those there are; return when all are closed."""
    for server in servers:
        server.close()
    for _ in range(_TURNS_TO_BE_MADE):
        await asyncio.sleep(0)
    remaining = list(connections)
    for connection in remaining:
        connection.cut()
    for connection in remaining:  # Server.wait_closed does not wait for them before Python 3.12
        await connection.gone.wait()
