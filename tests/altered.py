"""The real `p2p-peer` as a process, with other limits or another resolver: for what would take too long otherwise."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tests.programs import Start, start_here

__all__ = ["altered"]

_PROGRAM = """
import importlib, json, signal, socket, sys
from p2p_peer.cli.main import run_program

settings = json.loads(sys.argv.pop(1))
def alter(limits):
    for name, value in limits.items():
        module, constant = name.rsplit(".", 1)
        module = importlib.import_module(module)
        assert hasattr(module, constant), name
        setattr(module, constant, value)

alter(settings["limits"])
signal.signal(signal.SIGUSR1, lambda *_: alter(settings["later"]))

names, real_resolver = settings["names"], socket.getaddrinfo
def getaddrinfo(host, *rest, **named):
    return [found for address in names.get(host, [host]) for found in real_resolver(address, *rest, **named)]
socket.getaddrinfo = getaddrinfo

run_program()
"""


def altered(
    *,
    limits: Mapping[str, float] | None = None,
    later: Mapping[str, float] | None = None,
    names: Mapping[str, Sequence[str]] | None = None,
    start: Start = start_here,
) -> Start:
    """Return what starts `p2p-peer` in the way of `start`, otherwise itself.

    `limits` are module constants by their full names, `later` those that it gets by SIGUSR1; `names` is what the
    resolver knows beside the truth.
    """
    settings = json.dumps({"limits": dict(limits or {}), "later": dict(later or {}), "names": dict(names or {})})

    def begin(argv: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        arguments = argv[3:] if argv[1] == "-m" else argv[1:]
        return start([sys.executable, "-c", _PROGRAM, settings, *arguments], **options)

    return begin
