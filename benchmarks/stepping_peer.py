"""A peer that connects as `p2p-peer` does and says when each step was done: run by `benchmarks/start.py`.

    stepping_peer.py HOST PORT KEYPAIR PEERKEY STATE_DIR

Prints a line for each step: its name, and the time on the system's monotonic clock (s), which all processes share.
"""

import time

INTERPRETER = time.monotonic()

import asyncio  # noqa: E402 - what comes now is a step of its own
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

from p2p_peer.app import connect  # noqa: E402
from p2p_peer.cli.event_loop import ProgramLoop  # noqa: E402
from p2p_peer.events import ConnectEvent  # noqa: E402
from p2p_peer.keyfiles import read_key_pair, read_public_key  # noqa: E402
from p2p_peer.options import ConnectOptions  # noqa: E402

IMPORTS = time.monotonic()


async def main(host: str, port: str, key_pair: str, peer_key: str, state_dir: str) -> None:
    """Connect, start nothing, and leave with the other side."""
    own, other = read_key_pair(Path(key_pair), no_passphrase), read_public_key(Path(peer_key))
    done("keys")
    options = ConnectOptions(state_dir=Path(state_dir))
    async with await connect(host, int(port), own, other, options=options, notify=tell) as session:
        session.finish()
        async for _ in session:
            pass


def no_passphrase(path: Path) -> None:
    """The benchmark's key pairs are not locked."""


def tell(event: ConnectEvent) -> None:
    """Name a step as its event is named."""
    done(type(event).__name__)


def done(step: str, at: float | None = None) -> None:
    """Say that a step is done: now, if not otherwise said."""
    print(step, at or time.monotonic(), flush=True)


if __name__ == "__main__":
    done("interpreter", INTERPRETER)
    done("imports", IMPORTS)
    with asyncio.Runner(loop_factory=ProgramLoop) as runner:
        runner.run(main(*sys.argv[1:]))
