"""The real `p2p-peer` with offers of somebody else's making: it names whom it likes as reachable at what it likes.

Everything else it does as it should: it proves its key, signs and seals, and has a session over the relay.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from tests.programs import Start

__all__ = ["flooder"]

_PROGRAM = """
import json, sys
from ipaddress import ip_address
from p2p_core import limits
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.offer import Mapping
from p2p_peer.cli.main import run_program
from p2p_peer.gather.candidates import Gathered
import p2p_peer.keeper

settings = json.loads(sys.argv.pop(1))
candidates = tuple(
    Candidate(CandidateKind.SERVER_REFLEXIVE, Transport[transport], Address(ip_address(ip), port))
    for ip, port in settings["addresses"]
    for transport in ("UDP", "TCP")
)
Gathered.candidates = lambda self: candidates
Gathered.udp_mapping = Gathered.tcp_mapping = property(lambda self: Mapping[settings["mapping"]])
Gathered.udp_port_step = property(lambda self: 1)
p2p_peer.keeper.UPGRADE_AFTER = (0.1,) * 1000  # and again, and again

run_program()
"""


def flooder(addresses: Sequence[tuple[str, int]], start: Start, mapping: str = "RANDOM") -> Start:
    """What starts a `p2p-peer` whose offers list these addresses, over UDP and TCP, in the way of `start`.

    `mapping` is how its NAT is said to map, a name of `Mapping`: some invite to probe more ports than are named.
    """
    settings = json.dumps({"addresses": addresses, "mapping": mapping})

    def begin(argv: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        arguments = argv[3:] if argv[1] == "-m" else argv[1:]
        return start([sys.executable, "-c", _PROGRAM, settings, *arguments], **options)

    return begin
