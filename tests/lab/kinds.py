"""The kinds of NAT the lab can build, as tables in the words of RFC 4787 (UDP) and RFC 5382 (TCP).

A kind is a chain of NATs, from the peer's home towards the public segment: none for a peer with a public address, one
for most homes, two where the carrier translates as well (RFC 6888).
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Mapping(Enum):
    """Which packets of one private address and port share one public address and port (RFC 4787 section 4.1)."""

    ENDPOINT_INDEPENDENT = "all, wherever they go"
    ADDRESS_AND_PORT_DEPENDENT = "those to one remote address and port"


class Ports(Enum):
    """How the public port is chosen (RFC 4787 section 4.2)."""

    PRESERVED = "the private port, when it is free"
    OTHER = "any port of 10000-29999, never the private one"
    RANDOM = "at random, anew for each mapping"
    SEQUENTIAL = "the one after the last mapping's, from 30000 on"


class Filtering(Enum):
    """Whose packets may come in through a mapping (RFC 4787 section 5)."""

    ENDPOINT_INDEPENDENT = "anyone's"
    ADDRESS_DEPENDENT = "those of an address that was sent to"
    ADDRESS_AND_PORT_DEPENDENT = "those of an address and port that was sent to"


class Unsolicited(Enum):
    """What becomes of packets that filtering keeps out (RFC 5382 section 4.3 for TCP)."""

    DROP = "dropped without a word"
    REJECT = "refused: TCP reset, ICMP port unreachable; OpenWrt's default"
    ANSWER = "answered by the router's own stack, which also remembers the flow and so spoils the port for later"


class Outbound(Enum):
    """What the firewall in front of the NAT lets out."""

    EVERYTHING = "everything"
    TCP = "TCP to any port"
    WEB = "TCP to ports 80 and 443"


@dataclass(frozen=True, slots=True)
class Nat:
    """The behaviour of one NAT; the defaults are those of a common home router."""

    mapping: Mapping = Mapping.ENDPOINT_INDEPENDENT
    ports: Ports = Ports.PRESERVED
    filtering: Filtering = Filtering.ADDRESS_AND_PORT_DEPENDENT
    unsolicited: Unsolicited = Unsolicited.DROP
    outbound: Outbound = Outbound.EVERYTHING

    def __post_init__(self) -> None:
        independent = self.mapping is Mapping.ENDPOINT_INDEPENDENT
        if independent != (self.ports in {Ports.PRESERVED, Ports.OTHER}):
            raise ValueError(f"the lab has no NAT with {self.mapping.name} mapping and {self.ports.name} ports")


_HOME: Final = Nat()
_HOME_OTHER_PORTS: Final = Nat(ports=Ports.OTHER)
_SYMMETRIC: Final = Nat(Mapping.ADDRESS_AND_PORT_DEPENDENT, Ports.RANDOM)

KINDS: Final[dict[str, tuple[Nat, ...]]] = {
    "none": (),
    "full-cone": (Nat(filtering=Filtering.ENDPOINT_INDEPENDENT),),
    "restricted": (Nat(filtering=Filtering.ADDRESS_DEPENDENT),),
    "port-restricted": (_HOME,),
    "pr-nopreserve": (_HOME_OTHER_PORTS,),
    "pr-reject": (Nat(unsolicited=Unsolicited.REJECT),),
    "pr-open": (Nat(unsolicited=Unsolicited.ANSWER),),
    "symmetric": (_SYMMETRIC,),
    "sym-reject": (Nat(Mapping.ADDRESS_AND_PORT_DEPENDENT, Ports.RANDOM, unsolicited=Unsolicited.REJECT),),
    "sym-seq": (Nat(Mapping.ADDRESS_AND_PORT_DEPENDENT, Ports.SEQUENTIAL),),
    "cgnat": (_HOME, _HOME_OTHER_PORTS),
    "cgnat-sym": (_HOME, _SYMMETRIC),
    "udp-blocked": (Nat(outbound=Outbound.WEB),),
    "no-udp": (Nat(outbound=Outbound.TCP),),
}
"""Every kind by the name that `Lab` takes."""


def kind(name: str) -> tuple[Nat, ...]:
    """The chain of NATs of that name, from the home outwards; raises ValueError for a name that is not in KINDS."""
    try:
        return KINDS[name]
    except KeyError:
        raise ValueError(f"no NAT kind {name!r}; there are {', '.join(KINDS)}") from None


def single(name: str) -> Nat:
    """The one NAT of a kind that has exactly one; raises ValueError for the others."""
    chain = kind(name)
    if len(chain) != 1:
        raise ValueError(f"{name!r} is {len(chain)} NATs, and exactly one is needed here")
    return chain[0]
