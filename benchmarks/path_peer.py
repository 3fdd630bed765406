"""One side of a session on a path that stands already: run by `benchmarks/paths.py`.

    path_peer.py KIND ROLE FD HOST PORT (send | receive) PATH

KIND and ROLE are a path's and ours, FD is the path's socket, HOST and PORT are the other side's. Sends the file PATH,
or receives one into the folder PATH; prints the seconds from the acceptance to the receipt. The keys are the tests'.
"""

import asyncio
import socket
import sys
from contextlib import AsyncExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from p2p_core.agreement import Agreement, Side
from p2p_core.identity import PeerId
from p2p_core.proof import PathKind, Role
from p2p_core.wire.candidate import Address
from p2p_core.wire.offer import Offer
from p2p_peer.channel.channel import establish
from p2p_peer.cli.event_loop import ProgramLoop
from p2p_peer.events import FileOffered, FileReceived
from p2p_peer.paths.base import Path as PeerPath
from p2p_peer.session import Session

from tests.keys import key

KEYS = {Role.INITIATOR: key(0), Role.RESPONDER: key(1)}


async def main(*arguments: str) -> None:
    """Send or receive one file."""
    kind, role_name, number, host, port, what, path = arguments
    role = Role(role_name)
    sock = socket.socket(fileno=int(number))
    sock.setblocking(False)
    held = agreement(role)
    key, other_key = KEYS[role], KEYS[role.other].public_key()
    channel = await establish(PeerPath(PathKind(kind), sock, Address.of(host, int(port))), held, key, other_key)
    async with Session(channel, held, key, other_key, resources=AsyncExitStack()) as session:
        seconds = (await session.send_file(path)).seconds if what == "send" else await received(session, Path(path))
        print(seconds, flush=True)
        session.finish()
        async for _ in session:
            pass


async def received(session: Session, folder: Path) -> float:
    """Take the file that is offered."""
    async for event in session:
        if isinstance(event, FileOffered):
            session.accept_file(event, folder)
        elif isinstance(event, FileReceived):
            return event.seconds
    raise RuntimeError("the session ended before the file had come")


def agreement(role: Role) -> Agreement:
    """What a mediator would have brought about."""
    offer = Offer(0, 600, bytes(32), bytes(32), ())
    sides = {role: Side.of(PeerId.of(key.public_key()), offer, role.value.encode()) for role, key in KEYS.items()}
    return Agreement.between(role, sides[role], sides[role.other])


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=ProgramLoop) as runner:
        runner.run(main(*sys.argv[1:]))
