"""The rules that docs/running.md puts below the mediator's own limits do what they say."""

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.netns import Namespace

pytestmark = pytest.mark.netns

RULES = Path(__file__).parents[2] / "share" / "doc" / "punchwire" / "limits.nft"
PORT = 54700
AT_ONCE, PER_SECOND, TRIES = 400, 100, 900


@pytest.fixture
def machine() -> Iterator[Namespace]:
    """A machine with nothing but loopback."""
    namespace = Namespace(f"pw{os.getpid()}-firewall")
    namespace.create(ipv6=True)
    try:
        yield namespace
    finally:
        namespace.delete()


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
@pytest.mark.parametrize("port", [PORT, PORT + 1])
def test_one_address_opens_so_many_connections(
    machine: Namespace, family: socket.AddressFamily, host: str, port: int
) -> None:
    machine.nft(RULES.read_text())
    machine.nft(RULES.read_text())  # once more changes nothing
    with ExitStack() as stack:

        def opened() -> socket.socket:
            return stack.enter_context(machine.socket(socket.SOCK_STREAM, family))

        listening = opened()
        listening.bind((host, port))
        listening.listen(TRIES)
        began = time.monotonic()
        tried = [opened() for _ in range(TRIES)]
        for one in tried:
            one.setblocking(False)
            one.connect_ex((host, port))
        passed = sum(is_connected(one) for one in tried)
        refused = sum(one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED for one in tried)
        took = time.monotonic() - began
    if port == PORT:
        assert AT_ONCE <= passed <= AT_ONCE + PER_SECOND * took + 1
        assert refused == TRIES - passed  # each is told at once, and does not try again for nothing
    else:
        assert passed == TRIES


def is_connected(sock: socket.socket) -> bool:
    """Over loopback a connection that is let through is there at once."""
    try:
        sock.getpeername()
    except OSError:
        return False
    return True
