"""Listening on an interface of the lab, with a packet socket (packet(7)).

Not with tcpdump: inside a user namespace it ends at once, because it may not set its groups, and what it has read but
not yet written when it is told to stop is lost. The kernel puts each frame into a packet socket as it crosses the
interface, so reading the socket empty gives everything up to that moment.
"""

import os
import select
import socket
import struct
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from types import TracebackType
from typing import Final, Self

from tests.lab import pcap
from tests.lab.netns import LabError, Namespace

BUFFER: Final = 1 << 26  # bytes in the kernel, so that a burst does not outrun the reading thread
LARGEST_FRAME: Final = 1 << 18  # bytes; segmentation offload makes frames of 64 KiB and more

# <asm-generic/socket.h>, <linux/if_ether.h>, <linux/if_packet.h>; Python's socket module lacks them
SO_RCVBUFFORCE: Final = 33
SO_TIMESTAMPNS: Final = 35
ETH_P_ALL: Final = 3
SOL_PACKET: Final = 263
PACKET_STATISTICS: Final = 6

TIMESPEC: Final = struct.Struct("@ll")  # seconds and nanoseconds
STATISTICS: Final = struct.Struct("@II")  # frames seen, frames dropped


class Capture:
    """A context manager: what crosses an interface of a namespace while it is open, in both directions.

    What was captured may be asked for at any time, also afterwards. Everything sent or received before is in it.
    """

    def __init__(self, namespace: Namespace, interface: str) -> None:
        self._namespace = namespace
        self._interface = interface
        self._frames: list[pcap.Frame] = []
        self._lock = Lock()  # around reading from the socket, and `_frames`
        self._socket: socket.socket | None = None
        self._reader: Thread | None = None
        self._stop = -1  # file descriptor that wakes the reading thread for the last time

    def __enter__(self) -> Self:
        sock = self._namespace.socket(socket.SOCK_RAW, socket.AF_PACKET)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            with suppress(PermissionError):  # older kernels let only the machine's own root go beyond the limit
                sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
            sock.bind((self._interface, ETH_P_ALL))
        except OSError as error:
            sock.close()
            raise LabError(f"cannot listen on {self._interface} of {self._namespace.name}: {error.strerror}") from error
        self._socket = sock
        self._stop = os.eventfd(0)
        self._reader = Thread(target=self._read, args=(sock,), name=f"capture {self._interface}", daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Takes in what has come, and listens no more. Raises LabError when the kernel had to drop frames."""
        sock, self._socket = self._socket, None
        if sock is None:
            return
        assert self._reader is not None
        os.eventfd_write(self._stop, 1)
        self._reader.join()
        os.close(self._stop)
        with sock:
            self._drain(sock)
            _, dropped = STATISTICS.unpack(sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, STATISTICS.size))
        if dropped:
            raise LabError(f"the capture on {self._interface} of {self._namespace.name} lacks {dropped} frames")

    def frames(self) -> list[pcap.Frame]:
        """All Ethernet frames so far, in order."""
        if self._socket is not None:
            self._drain(self._socket)
        with self._lock:
            return list(self._frames)

    def packets(self) -> list[pcap.Packet]:
        """The TCP segments and UDP datagrams so far, in order."""
        return pcap.packets(self.frames())

    def tcp_streams(self) -> list[pcap.Stream]:
        """The bytes of all TCP connections so far, see `pcap.tcp_streams`."""
        return pcap.tcp_streams(self.packets())

    def save(self, path: Path) -> None:
        """Writes what came so far to a pcap file, for other programs to read."""
        path.write_bytes(pcap.dump(self.frames()))

    def _read(self, sock: socket.socket) -> None:
        """The thread that keeps the kernel's buffer empty."""
        while self._stop not in select.select([sock.fileno(), self._stop], [], [])[0]:
            self._drain(sock)

    def _drain(self, sock: socket.socket) -> None:
        """Reads all frames that there are."""
        with self._lock, suppress(BlockingIOError):
            while True:
                frame, ancillary, _, _ = sock.recvmsg(LARGEST_FRAME, socket.CMSG_SPACE(TIMESPEC.size))
                seconds, nanoseconds = TIMESPEC.unpack(ancillary[0][2])
                self._frames.append(pcap.Frame(seconds + nanoseconds / 1e9, frame))
