"""IPv6 laid over a lab of topology "two": public addresses for both peers, and firewalls instead of NATs.

    med 2001:db8::10     ra wan 2001:db8::101, lan 2001:db8:0:1::1     a 2001:db8:0:1::10     (b likewise, with 2)

The firewalls let out everything, and let in what belongs to it, as home routers do (RFC 6092). The lab must have been
made with `ipv6=True`; both peers' kinds must be one NAT.
"""

import json
from typing import Final

from tests.lab.nat import Lab
from tests.lab.netns import tool

__all__ = ["MEDIATOR", "address", "lay", "without_ipv4"]

MEDIATOR: Final = "2001:db8::10"
NUMBERS: Final = {"a": 1, "b": 2}

_FIREWALL: Final = """
table ip6 firewall {
chain through_router {
type filter hook forward priority filter; policy drop;
ct state established,related accept
iifname "lan" accept
}
}
"""


def address(peer: str) -> str:
    """The peer's own address, which everybody sees."""
    return f"2001:db8:0:{NUMBERS[peer]}::10"


def lay(lab: Lab) -> None:
    """Give everybody addresses and routes."""
    med = lab.namespace("med")
    med.ip(f"addr add {MEDIATOR}/64 dev eth0 nodad")
    for peer, number in NUMBERS.items():
        router, host, other = lab.namespace(f"r{peer}"), lab.namespace(peer), 3 - number
        network, wan = f"2001:db8:0:{number}::", f"2001:db8::10{number}"
        router.sysctl("net/ipv6/conf/all/forwarding", "1")
        router.ip(
            f"addr add {wan}/64 dev wan nodad",
            f"addr add {network}1/64 dev lan nodad",
            f"route add 2001:db8:0:{other}::/64 via 2001:db8::10{other}",
        )
        router.nft(_FIREWALL)
        host.ip(f"addr add {address(peer)}/64 dev eth0 nodad", f"route add default via {network}1")
        med.ip(f"route add {network}/64 via {wan}")
    _settle(lab)


def without_ipv4(lab: Lab) -> None:
    """Take IPv4 away from both peers."""
    for peer in NUMBERS:
        lab.namespace(peer).ip(f"addr del {lab.address(peer)}/24 dev eth0")


def _settle(lab: Lab) -> None:
    """As for IPv4: no first packet waits for neighbour discovery on a slow link."""
    routers = {f"2001:db8::10{number}": (f"r{peer}", "wan") for peer, number in NUMBERS.items()}
    interfaces = {MEDIATOR: ("med", "eth0"), **routers}
    hardware = {each: _hardware(lab, *interface) for each, interface in interfaces.items()}
    for each, (host, interface) in interfaces.items():
        lab.namespace(host).ip(
            *(
                f"neigh replace {other} lladdr {mac} dev {interface} nud permanent"
                for other, mac in hardware.items()
                if other != each
            )
        )


def _hardware(lab: Lab, host: str, interface: str) -> str:
    [found] = json.loads(lab.run(host, [tool("ip"), "-json", "link", "show", interface]).stdout)
    return str(found["address"])
