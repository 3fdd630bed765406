"""Somebody in between of a direct connection, where no mediator has told the two of each other."""

import asyncio
import socket
from typing import Any

import pytest
from p2p_core.errors import ConnectionLost, NoPath, ProofFailed
from p2p_core.proof import Role
from p2p_peer.channel import introduction
from p2p_peer.channel.channel import until as stream_until
from p2p_peer.channel.stream import StreamEnded, Wait
from p2p_peer.channel.tls import TlsSocket
from p2p_peer.events import TurnedAway
from p2p_peer.serverless.direct import DirectMode

from tests.attack import direct_callers
from tests.attack.direct_callers import connected
from tests.keys import key
from tests.peer import conftest as peers
from tests.peer.directly import ALICE, BOB, HERE, Meetings
from tests.peer.pair import soon

start, clock, no_tasks_left = direct_callers.start, peers.clock, peers.no_tasks_left


def in_between(target: int) -> tuple[socket.socket, "asyncio.Task[None]"]:
    """Listen for whoever wants to get to port `target`: two TLS connections, and every byte inside passed on."""
    listener = socket.create_server((HERE, 0))
    listener.setblocking(False)

    async def go_between() -> None:
        loop = asyncio.get_running_loop()
        accepted, _ = await loop.sock_accept(listener)
        towards_dialler = TlsSocket(accepted, Role.RESPONDER)
        towards_target = TlsSocket(await connected(target), Role.INITIATOR)
        try:
            for stream in (towards_dialler, towards_target):
                for step in (stream.handshake_to_binding, stream.handshake_to_end):
                    while (wait := step()) is not None:
                        await stream_until(stream, wait)
            async with asyncio.TaskGroup() as both:
                both.create_task(pass_on(towards_dialler, towards_target))
                both.create_task(pass_on(towards_target, towards_dialler))
        except* (ConnectionLost, StreamEnded):
            pass
        finally:
            towards_dialler.close()
            towards_target.close()

    return listener, asyncio.create_task(go_between())


async def pass_on(source: TlsSocket, sink: TlsSocket) -> None:
    space = memoryview(bytearray(65536))
    while True:
        count = source.read_into(space)
        if count is None:
            await stream_until(source, Wait.READ)
        else:
            assert sink.write(space[:count]) == count


@pytest.mark.parametrize("gullible", [False, True])
async def test_somebody_in_between(start: Meetings, monkeypatch: pytest.MonkeyPatch, gullible: bool) -> None:
    """TRIES: to sit in two TLS connections and to pass all on; once with a victim made to believe any proof.

    OUTCOME: both proofs fail, as each holds for one channel; of a gullible one the other side finds it out.
    """
    real = introduction.verify

    def verify(public_key: Any, *arguments: Any) -> None:
        if not (gullible and public_key == key(BOB).public_key()):
            real(public_key, *arguments)

    monkeypatch.setattr(introduction, "verify", verify)
    waits = start(BOB, DirectMode.LISTEN)
    listener, between = in_between(await waits.port())
    with listener:
        error = await start(ALICE, DirectMode.CONNECT, listener.getsockname()[1]).error()
        await soon(between)
    if gullible:
        assert isinstance(error, NoPath)
        turned = await waits.wait_for(TurnedAway)
        assert str(turned.error) == f"the peer at {turned.address} did not prove that it has the key it showed"
    else:
        assert isinstance(error, ProofFailed)
    assert not waits.meeting.done()
    assert start.store(ALICE).peers() == start.store(BOB).peers() == ()
