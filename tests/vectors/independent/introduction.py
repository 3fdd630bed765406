"""Introductions and the session id of two who made them (introduction.md)."""

import hashlib

from tests.vectors import pages
from tests.vectors.independent.checks import check
from tests.vectors.independent.fields import VERSION, join, x
from tests.vectors.independent.frames import check_control

check_control(
    {
        "frame-introduction": (0x13, [(1, 1), (2, b"\x0a\x0b\x0c"), (3, x(3))]),
        "frame-introduction-token-read": (0x13, [(1, 1), (2, b"\x0a\x0b\x0c"), (3, x(3)), (4, x(6))]),
    }
)


@check("session-id-unmediated", "session-id-unmediated-token")
def _session_id_unmediated(name: str) -> None:
    read = x(6) if name.endswith("token") else b""
    encoded = join("punchwire session id without a mediator", VERSION, x(1), x(2), x(3), x(4), read, b"")
    assert pages.read(name) == hashlib.sha256(encoded).digest()
