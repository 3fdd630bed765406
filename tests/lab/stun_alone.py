"""The mediator's STUN responder without a mediator: all the help that peers with tokens get from others.

    python stun_alone.py ADDRESS ADDRESS      (the two addresses of a host on the public segment)

It answers at the mediator's ports: UDP 54700 and 54701, TCP 54701 and 54702. When it does, it prints the flags that
make `p2p-peer` ask there.
"""

import asyncio
import subprocess
import sys
from pathlib import Path

from p2p_server.clock import LoopClock
from p2p_server.config import Config
from p2p_server.metrics import Metrics
from p2p_server.stun_ports import StunPorts
from p2p_server.stun_responder import StunResponder

from tests.lab.nat import Lab

__all__ = ["serve_stun"]


def serve_stun(lab: Lab) -> list[str]:
    """Serve STUN on the host "med", until the lab goes away; return the flags that make `p2p-peer` ask there."""
    argv = [sys.executable, "-m", __name__, *lab.mediator_addresses]
    process = lab.popen("med", argv, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    flags: list[str] = process.stdout.readline().split()
    assert flags, "it did not start"
    return flags


async def _serve(first: str, second: str) -> None:
    ports = await StunPorts.bind(Config(Path(), None, host=first, stun_host=second))
    responder = StunResponder(Config(Path(), None).limits, LoopClock(), Metrics())
    await responder.start(ports.sockets)
    servers = [f"{server.host or first}:{server.port}/{server.transport.value}" for server in ports.own]
    print(*(f"--stun={server}" for server in servers), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
