"""The event loop of the command: a name server that does not answer must not keep the program from ending."""

import asyncio
import logging
import socket
import threading
from typing import Any

__all__ = ["ProgramLoop"]

_log = logging.getLogger(__name__)


class ProgramLoop(asyncio.SelectorEventLoop):
    """Resolves names in daemon threads. asyncio's own threads for that are waited for when the loop ends."""

    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - the name that asyncio gave it
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """As `socket.getaddrinfo`, without blocking."""
        result: asyncio.Future[Any] = self.create_future()

        def settle(value: Any, error: Exception | None) -> None:
            if result.done():
                return
            if error is None:
                result.set_result(value)
            else:
                result.set_exception(error)

        def resolve() -> None:
            value, failure = None, None
            try:
                value = socket.getaddrinfo(host, port, family, type, proto, flags)
            except Exception as error:
                failure = error
            try:
                self.call_soon_threadsafe(settle, value, failure)
            except RuntimeError:  # the loop has ended: nobody wants to know any more
                return

        threading.Thread(target=resolve, name=f"resolve {host!r}", daemon=True).start()
        found: list[Any] = await result
        _log.debug("%s resolves to %s", host, ", ".join(dict.fromkeys(str(name[0]) for *_, name in found)))
        return found
