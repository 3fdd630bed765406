"""Ports that stay free while nobody listens on them, for programs that are ended and started again."""

import random
import socket

__all__ = ["lasting_ports"]

_NOT_LENT = range(10_000, 32_000, 10)  # below those that systems give to whoever dials (32768 and up on Linux)


def lasting_ports(count: int = 1) -> int:
    """Return the first of so many ports in a row, up to 10, that are free for TCP and UDP on 127.0.0.1."""
    while True:
        first = random.choice(_NOT_LENT)
        try:
            for port in range(first, first + count):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    with socket.socket(socket.AF_INET, kind) as sock:
                        sock.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
