"""A stranger on the ports that a real `p2p-peer` punches with: while it waits for the other peer, and in a session."""

import asyncio
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from p2p_peer.events import PathChanged, PathLost, TransferReceived

from tests.attack.open_ports import datagrams, flood, needs_proc, ports
from tests.peer.pair import Pair, channels, soon
from tests.peer.quic_pair import udp_paths
from tests.programs import PATIENCE, Keys, Mediator, Peer, Programs
from tests.token_peers import paste, token_of, token_peer

LOOPBACK = ("--bind", "127.0.0.1")  # where a packet of ours does not leave the computer


def start(programs: Programs, name: str, *arguments: object, **options: object) -> Peer:
    return programs.peer(name, *arguments, *LOOPBACK, stdin=subprocess.PIPE, **options)


def talks(speaker: Peer, listener: Peer, text: str) -> None:
    """Say a line, which has to arrive."""
    before = len(listener.all("message"))
    assert speaker.process.stdin is not None
    speaker.process.stdin.write(f"{text}\n")
    speaker.process.stdin.flush()
    assert listener.wait_for("message", nth=before + 1)["text"] == text


@needs_proc
def test_everything_at_the_ports_of_one_who_waits(programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path) -> None:
    """TRIES: probes, preambles, STUN answers and QUIC in a peer's name, a hundred connections, at every port it has.

    OUTCOME: the peers meet while the connections are held; of the ports, a session over TCP leaves none open.
    """
    alice_keys, bob_keys = keys
    mediator: Mediator = programs.mediator(tmp_path / "mediator", keys)
    with ExitStack() as held:
        alice = start(programs, "alice", mediator, alice_keys, bob_keys)
        alice.wait_for("waiting")
        assert flood(alice.process.pid, held) >= 2
        bob = start(programs, "bob", mediator, bob_keys, alice_keys)
        for peer in (alice, bob):
            assert peer.wait_for("connected")["path"] == "tcp"
        talks(alice, bob, "hello")
        talks(bob, alice, "hello to you")
    deadline = time.monotonic() + PATIENCE
    while any(ports(peer.process.pid, kind) for peer in (alice, bob) for kind in ("tcp", "udp")):
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_everything_at_the_port_of_a_session(tmp_path: Path) -> None:
    """TRIES: the same at the sockets of a session over QUIC, while a file is on its way.

    OUTCOME: the file arrives, on the same path; nothing that came is told to the user.
    """
    paths = udp_paths()
    pair = Pair.on(await channels(paths), tmp_path)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.2", 0))
        stranger.setblocking(False)
        pair.responder.accept_all(pair.inbox)
        pair.file("f", 8 * 2**20)
        sending = pair.start("f")
        rounds = 0
        while not sending.done() or rounds < 50:
            rounds += 1
            for path in paths:
                for data in datagrams():
                    with suppress(OSError):
                        stranger.sendto(data, path.socket.getsockname())
            await asyncio.sleep(0.001)
        await soon(sending)
        await pair.responder.wait_for(TransferReceived)
    assert (pair.inbox / "f").read_bytes() == (pair.outbox / "f").read_bytes()
    for ended in (pair.initiator, pair.responder):
        assert [event for event in ended.events if isinstance(event, PathLost | PathChanged)] == []
    await pair.close()


@needs_proc
def test_everything_at_the_ports_of_a_token(programs: Programs, tmp_path: Path) -> None:
    """TRIES: the same on a peer that shows a token, by somebody who has not read it.

    OUTCOME: whoever has read the token comes in; nobody else is told of.
    """
    with ExitStack() as held:
        alice = token_peer(programs, "alice", tmp_path / "a", *LOOPBACK)
        shown = token_of(alice)
        assert flood(alice.process.pid, held)
        bob = token_peer(programs, "bob", tmp_path / "b", *LOOPBACK)
        paste(shown, bob)
        paste(token_of(bob), alice)
        alice.wait_for("connected")
        bob.wait_for("connected")
        flood(bob.process.pid, held)
        talks(alice, bob, "hello")
    assert alice.all("turned_away") == bob.all("turned_away") == []
