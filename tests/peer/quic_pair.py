"""Two punched UDP sockets on loopback, straight to each other or through a NAT that loses, repeats and rebinds."""

import asyncio
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from p2p_core.proof import PathKind, Role
from p2p_core.wire.candidate import Address
from p2p_peer.paths.base import Path

_BUFFER = 4 * 1024 * 1024


def udp_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
    sock.bind(("127.0.0.1", 0))
    return sock


def address(sock: socket.socket) -> Address:
    return Address.of(*sock.getsockname())


def udp_paths() -> tuple[Path, Path]:
    """The initiator's and the responder's."""
    ours, theirs = udp_socket(), udp_socket()
    return Path(PathKind.QUIC, ours, address(theirs)), Path(PathKind.QUIC, theirs, address(ours))


@dataclass
class Nat:
    """Stands between the two: each sees the other at an address of its own.

    `passes` is asked for each datagram, with the sender's role, how many times it goes on: 0 loses it, 2 repeat it.
    """

    passes: Callable[[Role, bytes], int] = lambda sender, datagram: 1
    seen: list[tuple[Role, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        ours, theirs = udp_socket(), udp_socket()
        self._ends = {Role.INITIATOR: ours.getsockname(), Role.RESPONDER: theirs.getsockname()}
        self._outside = {role: udp_socket() for role in Role}  # where each is seen by the other
        for role in Role:
            self._listen(role)
        self.paths = (
            Path(PathKind.QUIC, ours, address(self._outside[Role.RESPONDER])),
            Path(PathKind.QUIC, theirs, address(self._outside[Role.INITIATOR])),
        )

    def address_of(self, role: Role) -> Address:
        """Where the other side sees `role`."""
        return address(self._outside[role])

    def rebind(self, role: Role) -> None:
        """Give `role` another address; nothing comes through the former one any more."""
        former = self._outside[role]
        asyncio.get_running_loop().remove_reader(former)
        self._outside[role] = udp_socket()
        former.close()
        self._listen(role)

    def close(self) -> None:
        for sock in self._outside.values():
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()

    def _listen(self, role: Role) -> None:
        sock = self._outside[role]
        asyncio.get_running_loop().add_reader(sock, self._to, role, sock)

    def _to(self, role: Role, sock: socket.socket) -> None:
        """Carry what came for `role`: it goes out where the other side is seen."""
        while True:
            try:
                datagram = sock.recv(65536)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                continue
            self.seen.append((role.other, datagram[:64]))
            for _ in range(self.passes(role.other, datagram)):
                try:
                    self._outside[role.other].sendto(datagram, self._ends[role])
                except BlockingIOError:
                    return


def losing(share: float, seed: int) -> Callable[[Role, bytes], int]:
    """Lose `share` of all datagrams, and repeat as many; the same ones for the same seed."""
    chance = random.Random(seed)

    def passes(sender: Role, datagram: bytes) -> int:
        drawn = chance.random()
        return 0 if drawn < share else 2 if drawn > 1 - share else 1

    return passes
