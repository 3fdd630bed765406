"""Real `p2p-peer token --json` processes, and how tokens get from one to the other."""

import subprocess
from pathlib import Path

from tests.programs import Keys, Peer, Programs, Start, p2p_peer, start_here

__all__ = ["paste", "token_of", "token_peer"]


def token_peer(
    programs: Programs,
    name: str,
    state: Path,
    *arguments: str | Path,
    own: Keys | None = None,
    other: Keys | None = None,
    start: Start = start_here,
    stderr: int | None = None,
) -> Peer:
    """Start one with these keys, if any; it ends with `programs`. What it remembers is in `state`."""
    keys = [*([] if own is None else [own.pair]), *([] if other is None else [other.public])]
    argv = p2p_peer("token", *keys, "--json", "--no-port-mapping", "--state-dir", state, *arguments)
    process = start(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr)
    peer = Peer(name, process)
    programs.callback(peer.stop)
    return peer


def token_of(peer: Peer) -> str:
    """Return the peer's token, once it has made it."""
    token: str = peer.wait_for("token")["token"]
    return token


def paste(text: str, peer: Peer) -> None:
    """Type a token, or what is taken for one, and a line break."""
    assert peer.process.stdin is not None
    peer.process.stdin.write(f"{text}\n")
    peer.process.stdin.flush()
