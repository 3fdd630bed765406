"""What the balancer in front of several mediators does by itself: docs/running.md, "The layer below"."""

import asyncio
import selectors
import socket
import time
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from pathlib import Path

from p2p_server.limits import Limits

from tests.balancer import HERE, INSTANCES, Balancer
from tests.peer.directly import own_ports
from tests.programs import PATIENCE, Keys, Programs
from tests.server.raw_http2 import MAX_STREAMS, ShutConnection, any_certificate

AT_ONCE = 400  # connections of one address in 4 s
MORE = 200


def test_one_address_opens_so_many_connections(programs: Programs, tmp_path: Path) -> None:
    with ExitStack() as stack:
        mediators = [stack.enter_context(socket.create_server((HERE, 0), backlog=AT_ONCE)) for _ in INSTANCES]
        ports = [each.getsockname()[1] for each in mediators]
        balancer = Balancer.start(tmp_path, ports, ports)  # nobody says there that it serves
        programs.callback(balancer.stop)
        peers = [stack.enter_context(socket.socket()) for _ in range(AT_ONCE + MORE)]
        for each in peers:
            each.connect_ex((HERE, balancer.port))  # which may see already that it is closed
        closed = until_closed(peers, MORE * 9 // 10)  # what it counts in 4 s that go on is an estimate
        assert len(closed) <= MORE


async def test_strangers_take_no_mediator_out(programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path) -> None:
    """They hold all the places for health checks over gRPC, and take no answers: the balancer asks somewhere else."""
    alice, bob = keys
    async with AsyncExitStack() as stack:
        shown = stack.enter_context(own_ports(len(INSTANCES)))
        shared = ("--behind-proxy", "--no-stun")
        mediators = [programs.mediator(tmp_path, keys, *shared, "--metrics", f"{HERE}:{port}") for port in shown]
        balancer = Balancer.start(tmp_path, [each.port for each in mediators], shown)
        programs.callback(balancer.stop)
        for name in INSTANCES:
            balancer.send_to(name)
            held = [await checks(balancer, stack) for _ in range(Limits().health_checks // MAX_STREAMS)]
            assert all(len(each.begun) == MAX_STREAMS for each in held)
            assert len((await checks(balancer, stack)).over) == MAX_STREAMS  # refused
        balancer.send_to(*INSTANCES)
        for name in INSTANCES:
            balancer.ask(f"set server mediators/{name} health down")  # until a check succeeds
        async with asyncio.timeout(PATIENCE):
            while balancer.states() != dict.fromkeys(INSTANCES, "UP"):
                await asyncio.sleep(0.05)
        balancer.send_to("a")  # they share no Redis
        dialled = replace(mediators[0], port=balancer.port)
        peers = [
            programs.peer(name, dialled, own, other, "--message", "hello")
            for name, own, other in (("alice", alice, bob), ("bob", bob, alice))
        ]
        assert [await asyncio.to_thread(peer.exit_code) for peer in peers] == [0, 0]


async def checks(balancer: Balancer, stack: AsyncExitStack) -> ShutConnection:
    """Ask as often as one connection can; return when the mediator has taken or refused each."""
    connection = await ShutConnection.at(balancer.port, any_certificate())
    stack.push_async_callback(connection.close)
    for _ in range(MAX_STREAMS):
        connection.call("/grpc.health.v1.Health/Check", b"")
    async with asyncio.timeout(PATIENCE):
        while len(connection.begun | connection.over) < MAX_STREAMS:
            await asyncio.sleep(0.001)
    return connection


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
