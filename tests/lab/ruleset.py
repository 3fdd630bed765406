"""A NAT's behaviour as an nftables ruleset.

Linux's own NAT is the base: connection tracking filters by address and port; `masquerade` keeps the private port, and
maps independently of the endpoint, as it takes an earlier mapping of the same source again where it can. Weaker
filtering is made with two dynamic sets that every outgoing packet feeds, `mappings` (public port -> private address and
port) and `contacted` (public port, remote address): what they allow in is translated even though no flow matches it.
"""

from tests.lab.kinds import Filtering, Nat, Outbound, Ports, Unsolicited

WAN = "wan"
LAN = "lan"

MAPPING_TIMEOUT = "120s"  # RFC 4787 REQ-5 asks for two minutes at least
OTHER_PORTS = (
    "10000-29999"  # below Linux's ephemeral ports (32768-60999), so that a private port is never kept by chance
)
SEQUENTIAL_PORTS = range(30000, 34096)

_TRANSPORT = "meta l4proto { tcp, udp }"
_TO_MAPPED = "dnat ip to meta l4proto . th dport map @mappings"

_OUTBOUND = {
    Outbound.EVERYTHING: "",
    Outbound.TCP: "meta l4proto tcp",
    Outbound.WEB: "tcp dport { 80, 443 }",
}

_UNSOLICITED = {
    Unsolicited.DROP: ["drop"],
    Unsolicited.REJECT: ["meta l4proto tcp reject with tcp reset", "reject with icmp port-unreachable"],
    Unsolicited.ANSWER: ["accept"],
}


def ruleset(nat: Nat, wan_address: str, lan_network: str, hairpin: bool = False) -> str:
    """Text for `nft -f -`, for a router whose interfaces are called WAN and LAN.

    `wan_address` is its one address on the outside, `lan_network` the inside as "10.1.0.0/24". With `hairpin`, hosts on
    the inside reach each other's public addresses, with a public source address (RFC 4787 REQ-9); filtering does not
    apply to them.
    """
    return "\n".join(
        [
            "table ip nat_lab {",
            "map mappings { type inet_proto . inet_service : ipv4_addr . inet_service;"
            f" flags dynamic,timeout; timeout {MAPPING_TIMEOUT}; size 65535; }}",
            "set contacted { type inet_proto . inet_service . ipv4_addr;"
            f" flags dynamic,timeout; timeout {MAPPING_TIMEOUT}; size 65535; }}",
            *_chain("incoming", "nat hook prerouting priority dstnat", _destinations(nat, wan_address, hairpin)),
            *_chain(
                "outgoing", "nat hook postrouting priority srcnat", _sources(nat, wan_address, lan_network, hairpin)
            ),
            *_chain("learn", "filter hook postrouting priority srcnat + 50", _lessons(nat, hairpin)),
            *_chain("to_router", "filter hook input priority filter", _to_router(nat)),
            *_chain("through_router", "filter hook forward priority filter; policy drop", _through_router(nat)),
            "}",
            "",
        ]
    )


def _chain(name: str, hook: str, rules: list[str]) -> list[str]:
    return [f"chain {name} {{", f"type {hook};", *rules, "}"]


def _destinations(nat: Nat, wan_address: str, hairpin: bool) -> list[str]:
    """Which new flows from outside (and, with hairpin, from inside) are sent on to the owner of a mapping."""
    rules = []
    from_outside = f'iifname "{WAN}" ip daddr {wan_address} {_TRANSPORT}'
    if nat.filtering is Filtering.ENDPOINT_INDEPENDENT:
        rules.append(f"{from_outside} {_TO_MAPPED}")
    elif nat.filtering is Filtering.ADDRESS_DEPENDENT:
        rules.append(f"{from_outside} meta l4proto . th dport . ip saddr @contacted {_TO_MAPPED}")
    if hairpin:
        rules.append(f'iifname "{LAN}" ip daddr {wan_address} {_TRANSPORT} {_TO_MAPPED}')
    return rules


def _sources(nat: Nat, wan_address: str, lan_network: str, hairpin: bool) -> list[str]:
    """How the source of a new flow to the outside is rewritten."""
    rules = []
    if hairpin:
        rules.append(f'oifname "{LAN}" ct status dnat ip saddr {lan_network} snat to {wan_address}')
    outward = f'oifname "{WAN}"'
    if nat.ports is Ports.OTHER:
        rules.append(f"{outward} {_TRANSPORT} masquerade to :{OTHER_PORTS}")
    elif nat.ports is Ports.RANDOM:
        rules.append(f"{outward} masquerade fully-random")
    elif nat.ports is Ports.SEQUENTIAL:
        # A map, because `numgen` gives a number in host byte order, which `masquerade` does not take for a port.
        ports = ", ".join(f"{index} : {port}" for index, port in enumerate(SEQUENTIAL_PORTS))
        rules.append(f"{outward} {_TRANSPORT} masquerade to :numgen inc mod {len(SEQUENTIAL_PORTS)} map {{ {ports} }}")
    rules.append(f"{outward} masquerade")  # what is left: preserved ports, and ICMP
    return rules


def _lessons(nat: Nat, hairpin: bool) -> list[str]:
    """What outgoing packets, already translated, teach the two sets."""
    if nat.filtering is Filtering.ADDRESS_AND_PORT_DEPENDENT and not hairpin:
        return []
    outgoing = f'oifname "{WAN}" ct direction original {_TRANSPORT}'
    inside = "ct original ip saddr . ct original proto-src"
    return [
        f"{outgoing} update @mappings {{ meta l4proto . th sport : {inside} }}",
        f"{outgoing} update @contacted {{ meta l4proto . th sport . ip daddr }}",
    ]


def _to_router(nat: Nat) -> list[str]:
    """Packets addressed to the router itself: what no mapping wanted ends here."""
    return [
        "ct state established,related accept",
        f'iifname {{ "{LAN}", "lo" }} accept',
        *_UNSOLICITED[nat.unsolicited],
    ]


def _through_router(nat: Nat) -> list[str]:
    """Packets on their way through."""
    # A stack that answers for itself still forwards nothing it was not asked to.
    rejections = _UNSOLICITED[nat.unsolicited] if nat.unsolicited is Unsolicited.REJECT else []
    return [
        "ct state established,related accept",
        "ct status dnat accept",
        f'iifname "{LAN}" {_OUTBOUND[nat.outbound]} accept',
        *rejections,
    ]
