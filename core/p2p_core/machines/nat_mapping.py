"""How a NAT maps one local port, from where several STUN servers saw it (RFC 4787 §4.1, RFC 5780 §4.3).

A NAT that maps alike whatever the destination shows all servers one address. One that does not takes a port for each:
often the next one, and then the port it will take for the other peer can be told beforehand.
"""

from collections.abc import Collection, Sequence
from itertools import pairwise

from p2p_core.wire.candidate import Address
from p2p_core.wire.offer import Mapping

__all__ = ["MAX_STEP", "mapping_of"]

MAX_STEP = 16  # ports; others behind the NAT take some in between, and random ports come as close once in 2000 times


def mapping_of(mapped: Sequence[Address], own: Collection[Address]) -> tuple[Mapping, int]:
    """Return the mapping of a port, and by how many ports a sequential one advances with each destination (else 0).

    `mapped` is where different destinations saw the port, in the order they were asked; `own` are the addresses the
    port has on this machine: where it is seen at one of them, there is no NAT.
    """
    if mapped and all(address in own for address in mapped):
        return Mapping.INDEPENDENT, 0
    if len(mapped) < 2:
        return Mapping.UNKNOWN, 0
    if len(set(mapped)) == 1:
        return Mapping.INDEPENDENT, 0
    if len({address.ip for address in mapped}) > 1:  # a pool of addresses, of which any may be next
        return Mapping.RANDOM, 0
    steps = [after.port - before.port for before, after in pairwise(mapped)]
    # None, where a NAT maps by address alone and two ports of one were asked.
    steps = [step for step in steps if step]
    if max(map(abs, steps)) <= MAX_STEP and len({step > 0 for step in steps}) == 1:
        return Mapping.SEQUENTIAL, min(steps, key=abs)
    return Mapping.RANDOM, 0
