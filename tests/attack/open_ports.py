"""The ports that another process of this computer has open, as a stranger's scan would find them, and floods of them.

What is sent is anybody's: nobody who sends it knows a key, or where the two peers are to meet.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from p2p_core.proof import Role
from p2p_core.wire import stun
from p2p_core.wire.candidate import Address
from p2p_core.wire.preamble import Preamble, PreambleKind
from p2p_core.wire.probe import Probe, ProbeKind

__all__ = ["datagrams", "flood", "needs_proc", "ports"]

needs_proc = pytest.mark.skipif(
    not Path("/proc/net/tcp").exists(), reason="this system does not say who has which port"
)

LISTENS = "0A"  # TCP_LISTEN of <net/tcp_states.h>
CONNECTIONS = 100
ROUNDS = 20


def ports(process: int, kind: str) -> set[int]:
    """Where a process listens over "tcp", or has a socket of "udp"."""
    inodes = set()
    for number in Path(f"/proc/{process}/fd").iterdir():
        with suppress(OSError):
            inodes.add(str(number.readlink()).removeprefix("socket:[").removesuffix("]"))
    found = set()
    for name in (kind, f"{kind}6"):
        with suppress(OSError):
            for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
                _, local, _, state, *_, inode = line.split()[:10]
                if inode in inodes and (kind == "udp" or state == LISTENS):
                    found.add(int(local.rpartition(":")[2], 16))
    return found


def datagrams() -> Iterator[bytes]:
    """What may come to any UDP port."""
    nonce, key = os.urandom(16), os.urandom(32)
    yield b""
    yield os.urandom(1200)
    for kind in ProbeKind:
        for role in Role:
            yield Probe(kind, role, nonce).encode(key)
    yield stun.BindingRequest.fresh().encode()
    yield stun.BindingResponse(os.urandom(12), Address.of("203.0.113.7", 7)).encode()
    initial = b"\xc3\0\0\0\x01\x08" + os.urandom(8) + b"\0\0\x44\x9e"  # QUIC version 1 (RFC 9000 §17.2.2)
    yield initial + os.urandom(1200 - len(initial))
    yield b"\xc3\xfa\xce\xb0\x0c\x08" + os.urandom(1194)  # a version that there is not
    yield b"\x40" + os.urandom(1199)  # as if it belonged to a connection


def greetings() -> Iterator[bytes]:
    """What may come on any TCP connection."""
    nonce, key = os.urandom(16), os.urandom(32)
    yield b""
    yield b"GET / HTTP/1.1\r\n\r\n"
    yield b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + os.urandom(32)
    yield b"PWT\x01\x01"
    for kind in PreambleKind:
        for role in Role:
            yield Preamble(kind, role, nonce).encode(key)
    yield os.urandom(1000)


def flood(process: int, stack: ExitStack) -> int:
    """Send all of it to all ports of a process, and hold the connections; return how many ports there were."""
    udp, tcp = ports(process, "udp"), ports(process, "tcp")
    sender = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sender.bind(("127.0.0.2", 0))
    for port in udp:
        for data in ROUNDS * tuple(datagrams()):
            with suppress(OSError):
                sender.sendto(data, ("127.0.0.1", port))
    said = tuple(greetings())
    for port in tcp:
        for number in range(CONNECTIONS):
            knocking = stack.enter_context(socket.socket())
            knocking.bind(("127.0.0.2", 0))
            knocking.setblocking(False)
            with suppress(OSError):
                knocking.connect(("127.0.0.1", port))
            with suppress(OSError):
                knocking.send(said[number % len(said)])
    return len(udp) + len(tcp)
