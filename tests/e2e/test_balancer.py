"""What the balancer in front of several mediators does by itself: docs/running.md, "The layer below"."""

import selectors
import socket
import time
from contextlib import ExitStack
from pathlib import Path

from tests.balancer import HERE, INSTANCES, Balancer
from tests.programs import PATIENCE, Programs

AT_ONCE = 200  # connections of one address in 10 s
MORE = 100


def test_one_address_opens_so_many_connections(programs: Programs, tmp_path: Path) -> None:
    with ExitStack() as stack:
        mediators = [stack.enter_context(socket.create_server((HERE, 0), backlog=AT_ONCE)) for _ in INSTANCES]
        balancer = Balancer.start(tmp_path, [each.getsockname()[1] for each in mediators])
        programs.callback(balancer.stop)
        peers = [stack.enter_context(socket.socket()) for _ in range(AT_ONCE + MORE)]
        for each in peers:
            each.connect_ex((HERE, balancer.port))  # which may see already that it is closed
        closed = until_closed(peers, MORE * 9 // 10)  # what it counts in 10 s that go on is an estimate
        assert len(closed) <= MORE


def until_closed(sockets: list[socket.socket], count: int) -> set[socket.socket]:
    """Wait until so many of these have been closed by the other side; return them. None of them is told anything."""
    closed: set[socket.socket] = set()
    deadline = time.monotonic() + PATIENCE
    with selectors.DefaultSelector() as selector:
        for each in sockets:
            selector.register(each, selectors.EVENT_READ, each)
        while len(closed) < count:
            ready = selector.select(deadline - time.monotonic())
            assert ready, f"{len(closed)} of {count} were closed"
            for key, _ in ready:
                selector.unregister(key.data)
                closed.add(key.data)
    return closed
