"""A wire between two TLS ends that a test moves by hand, flight by flight."""

import socket

from p2p_core.proof import PathKind
from p2p_core.wire.candidate import Address
from p2p_peer.paths.base import Path

from tests.peer.pair import until

_SOMEWHERE = Address.of("192.0.2.1", 1)


class Wire:
    """Two paths that lead to the test: `pass_on` carries what has come from one end to the other."""

    def __init__(self) -> None:
        ours, self._of_initiator = socket.socketpair()
        theirs, self._of_responder = socket.socketpair()
        for sock in (ours, theirs, self._of_initiator, self._of_responder):
            sock.setblocking(False)
        self.initiator = Path(PathKind.TCP, ours, _SOMEWHERE)
        self.responder = Path(PathKind.TCP, theirs, _SOMEWHERE)

    async def from_initiator(self) -> bytes:
        return await _flight(self._of_initiator)

    async def from_responder(self) -> bytes:
        return await _flight(self._of_responder)

    def to_initiator(self, data: bytes) -> None:
        assert self._of_initiator.send(data) == len(data)

    def to_responder(self, data: bytes) -> None:
        assert self._of_responder.send(data) == len(data)

    def is_quiet(self) -> bool:
        """Whether neither end has sent anything that was not carried."""
        return not (_now(self._of_initiator) or _now(self._of_responder))

    def close(self) -> None:
        for sock in (self.initiator.socket, self.responder.socket, self._of_initiator, self._of_responder):
            sock.close()


async def _flight(sock: socket.socket) -> bytes:
    """Whatever an end sends before it waits: it is done in one turn of the event loop."""
    await until(lambda: bool(_now(sock)))
    data = b""
    while part := _now(sock):
        data += sock.recv(len(part))
    return data


def _now(sock: socket.socket) -> bytes:
    try:
        return sock.recv(100_000, socket.MSG_PEEK)
    except BlockingIOError:
        return b""
