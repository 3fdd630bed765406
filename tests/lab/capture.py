"""Listening on an interface of the lab with tcpdump."""

import os
import re
import socket
import subprocess
from pathlib import Path
from threading import Condition, Thread
from types import TracebackType
from typing import Self

from tests.lab import pcap
from tests.lab.netns import LabError, Namespace, tool

MARKER_ETHERTYPE = 0x88B5  # IEEE 802 Std, local experimental ethertype 1
MARKER_LENGTH = 16  # bytes
MARKER_TIMEOUT = 10.0  # s; a marker takes well under a millisecond
BUFFER = 16384  # KiB in the kernel, so that a burst does not outrun tcpdump


class Capture:
    """A context manager: what crosses an interface while it is open, or until `stop`.

    `packets` and `tcp_streams` may be asked at any time and cover everything sent or received on the interface up to
    that moment: a marker frame is sent after it and waited for, so that nothing is still on its way through tcpdump.
    """

    def __init__(self, namespace: Namespace, interface: str, expression: str = "") -> None:
        """`expression` is a filter as in pcap-filter(7), such as "tcp port 443"; empty takes everything."""
        self._namespace = namespace
        self._interface = interface
        self._expression = expression
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: Thread | None = None
        self._captured = bytearray()
        self._grown = Condition()

    def __enter__(self) -> Self:
        marker = f"ether proto {MARKER_ETHERTYPE:#x}"
        options = ["-n", "-U", "--immediate-mode", "-B", str(BUFFER), "-i", self._interface, "-w", "-"]
        self._process = subprocess.Popen(
            self._namespace.command(
                [
                    tool("tcpdump"),
                    *options,
                    *("-Z", "root"),  # stay who we are: there may be no other user in the namespace
                    f"({self._expression}) or {marker}" if self._expression else "",
                ]
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._process.stderr is not None
        complaints = b""
        while b"listening on" not in complaints:
            line = self._process.stderr.readline()
            if not line:
                self._end()
                raise LabError(f"tcpdump on {self._interface} of {self._namespace.name}: {complaints.decode().strip()}")
            complaints += line
        self._reader = Thread(target=self._read, name=f"capture {self._interface}", daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.stop()
        else:
            self._end()

    def stop(self) -> None:
        """Takes in what is still on its way and ends. Raises LabError when the kernel had to drop packets."""
        if self._process is None:
            return
        try:
            self._catch_up()
        finally:
            complaints = self._end()
        dropped = re.search(r"(\d+) packets? dropped by kernel", complaints)
        if dropped and int(dropped[1]):
            raise LabError(f"the capture on {self._interface} has holes: {dropped[0]}")

    def packets(self) -> list[pcap.Packet]:
        """The TCP segments and UDP datagrams so far, in order."""
        self._catch_up()
        return pcap.parse(bytes(self._captured))

    def tcp_streams(self) -> list[pcap.Stream]:
        """The bytes of all TCP connections so far, see `pcap.tcp_streams`."""
        return pcap.tcp_streams(self.packets())

    def save(self, path: Path) -> None:
        """Writes a pcap file, for other programs to read."""
        self._catch_up()
        path.write_bytes(self._captured)

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while chunk := os.read(descriptor, 1 << 16):
            with self._grown:
                self._captured += chunk
                self._grown.notify_all()

    def _catch_up(self) -> None:
        """Waits until everything that crossed the interface before this call has been read."""
        if self._process is None:
            return
        marker = os.urandom(MARKER_LENGTH)
        searched = max(0, len(self._captured) - MARKER_LENGTH)
        header = bytes(6) + bytes(6) + MARKER_ETHERTYPE.to_bytes(2, "big")  # to nobody, from nobody
        with self._namespace.socket(socket.SOCK_RAW, socket.AF_PACKET) as raw:
            raw.bind((self._interface, 0))
            raw.send(header + marker)
        with self._grown:
            if not self._grown.wait_for(lambda: self._captured.find(marker, searched) >= 0, MARKER_TIMEOUT):
                raise LabError(f"tcpdump on {self._interface} of {self._namespace.name} has stopped reading")

    def _end(self) -> str:
        """Ends tcpdump and returns what it had to say."""
        process, self._process = self._process, None
        assert process is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.terminate()
        if self._reader is not None:
            self._reader.join()
        complaints = process.stderr.read().decode(errors="replace")
        process.wait()
        process.stdout.close()
        process.stderr.close()
        return complaints
