"""Somebody on the path who ends every TCP connection between two addresses, as some firewalls do (RFC 3360).

For each segment on its way it sends a reset to both ends, with the sequence numbers that they will believe.
"""

import select
import socket
import struct
from threading import Event, Thread
from types import TracebackType
from typing import Final, Self

from tests.lab import pcap
from tests.lab.capture import ETH_P_ALL, LARGEST_FRAME
from tests.lab.nat import Lab
from tests.lab.pcap import FIN, RST, SYN, Packet, Protocol

__all__ = ["RstStorm"]

ACK: Final = 0x10
SEGMENT: Final = struct.Struct("!HHIIBBHHH")  # the TCP header (RFC 9293 section 3.1)
PAUSE: Final = 0.05  # s between looks at whether it is over


class RstStorm:
    """A context manager; `resets` counts the segments that were answered so far."""

    def __init__(self, lab: Lab, interface: str = "to_ra") -> None:
        self.resets = 0
        self._lab = lab
        self._interface = interface
        self._peers = {lab.public_address("a"), lab.public_address("b")}
        self._over = Event()
        self._thread = Thread(target=self._blow, name="RST storm", daemon=True)

    def __enter__(self) -> Self:
        inet = self._lab.namespace("inet")
        self._seen = inet.socket(socket.SOCK_RAW, socket.AF_PACKET)
        self._seen.bind((self._interface, ETH_P_ALL))
        self._seen.setblocking(False)
        with inet.entered():
            self._sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._seen.close()
        self._sender.close()

    def _blow(self) -> None:
        while not self._over.is_set():
            if not select.select([self._seen], [], [], PAUSE)[0]:
                continue
            for packet in pcap.packets([pcap.Frame(0.0, self._seen.recv(LARGEST_FRAME))]):
                ours = packet.protocol is Protocol.TCP and {packet.source[0], packet.destination[0]} == self._peers
                if ours and not packet.flags & RST:
                    self._reset(packet)

    def _reset(self, packet: Packet) -> None:
        """Forge a reset from each end of the segment to the other one."""
        self.resets += 1
        following = packet.sequence + len(packet.payload) + bool(packet.flags & SYN) + bool(packet.flags & FIN)
        self._forge(packet.source, packet.destination, following, 0)
        self._forge(packet.destination, packet.source, packet.acknowledgement, following)

    def _forge(self, source: pcap.Endpoint, target: pcap.Endpoint, sequence: int, acknowledged: int) -> None:
        ends = socket.inet_aton(source[0]) + socket.inet_aton(target[0])
        numbers = source[1], target[1], sequence % 2**32, acknowledged % 2**32
        header = SEGMENT.pack(*numbers, 5 << 4, RST | ACK, 0, 0, 0)
        pseudo = ends + struct.pack("!BBH", 0, Protocol.TCP.value, len(header))
        header = SEGMENT.pack(*numbers, 5 << 4, RST | ACK, 0, _checksum(pseudo + header), 0)
        # The kernel fills in length, identification and checksum of the IP header (raw(7)).
        internet = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, Protocol.TCP.value, 0) + ends
        self._sender.sendto(internet + header, (target[0], 0))


def _checksum(data: bytes) -> int:
    """Of data of even length (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
