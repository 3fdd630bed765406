"""The real programs as processes that write down every secret they make or derive: for tests that look for these.

    python -m tests.recorded FILE p2p-peer|p2p-server arguments

A line of hexadecimal digits each: what the system's random source gave, of 12 bytes and more, and what HKDF and the
exporter of TLS made. So nonces, punch shares and keys, keys of sealed offers, tickets and names of streams are in it.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from subprocess import Popen
from typing import Any

from tests.programs import Start, start_here

__all__ = ["recorded"]

_SHORTEST = 12  # bytes: less may stand somewhere by chance


def recorded(file: Path) -> Start:
    """Return what starts one of the programs so that it adds its secrets to `file`."""

    def start(argv: Sequence[str], **options: Any) -> Popen[str]:
        name, arguments = (argv[2], argv[3:]) if argv[1] == "-m" else (argv[0], argv[1:])
        program = "p2p-server" if "server" in Path(name).name else "p2p-peer"
        return start_here([sys.executable, "-m", "tests.recorded", str(file), program, *arguments], **options)

    return start


def _record_in(path: str) -> None:
    from cryptography.hazmat.primitives.kdf import hkdf
    from OpenSSL import SSL
    from p2p_core import punching

    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def note(secret: bytes) -> bytes:
        if len(secret) >= _SHORTEST:
            os.write(descriptor, secret.hex().encode() + b"\n")
        return secret

    random, export = os.urandom, SSL.Connection.export_keying_material
    os.urandom = lambda size: note(random(size))

    def exported(self: Any, *arguments: Any, **options: Any) -> bytes:
        return note(export(self, *arguments, **options))

    SSL.Connection.export_keying_material = exported  # type: ignore[method-assign, assignment]

    class Hkdf:
        def __init__(self, **how: Any) -> None:
            self._real = hkdf.HKDF(**how)

        def derive(self, of: bytes) -> bytes:
            return note(self._real.derive(note(of)))

    punching.HKDF = Hkdf  # type: ignore[assignment, misc]


if __name__ == "__main__":
    _record_in(sys.argv.pop(1))
    program = sys.argv.pop(1)
    sys.argv[0] = program
    if program == "p2p-server":
        from p2p_server.cli import run_program
    else:
        from p2p_peer.cli.main import run_program
    run_program()
