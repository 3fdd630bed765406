"""What happens to networks while they are in use, done to a running lab."""

import socket
import struct
from typing import Final, Literal

from tests.lab.nat import Lab
from tests.lab.netns import LabError, Namespace

__all__ = ["change_address", "cut", "forget_flows", "gateway", "heal"]

# <linux/netlink.h>, <linux/netfilter/nfnetlink.h>, <linux/netfilter/nfnetlink_conntrack.h>
NETLINK_NETFILTER: Final = 12
NLM_F_REQUEST, NLM_F_ACK, NLMSG_ERROR = 1, 4, 2
CONNTRACK_DELETE: Final = 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE; of no flow in particular: of all
MESSAGE: Final = struct.Struct("=IHHIIBBH")  # struct nlmsghdr and struct nfgenmsg
ANSWER: Final = struct.Struct("=IHHIIi")  # struct nlmsghdr and the error, negative

Protocol = Literal["tcp", "udp"]


def gateway(lab: Lab, peer: str) -> Namespace:
    """Where a peer's packets enter and leave the public segment: its outermost NAT, or itself."""
    is_shared = lab.public_address("a") == lab.public_address("b")
    candidates = ("ca", "ra") if is_shared else (f"c{peer}", f"r{peer}", peer)
    return next(lab.namespace(host) for host in candidates if host in lab.hosts)


def forget_flows(namespace: Namespace) -> None:
    """Make a NAT forget all its mappings, as a restart would; kinds that do not keep ports choose new ones."""
    with namespace.entered():
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    with netlink:
        netlink.send(
            MESSAGE.pack(MESSAGE.size, CONNTRACK_DELETE, NLM_F_REQUEST | NLM_F_ACK, 1, 0, socket.AF_UNSPEC, 0, 0)
        )
        _, kind, _, _, _, error = ANSWER.unpack_from(netlink.recv(4096))
    if kind != NLMSG_ERROR or error:
        raise LabError(f"{namespace.name}: its flows cannot be deleted: netlink error {error}")


def cut(lab: Lab, *protocols: Protocol) -> None:
    """Lose everything that the peers send to each other over these protocols (all without), without a word."""
    which = f"meta l4proto {{ {', '.join(protocols)} }} " if protocols else ""
    for peer, other in (("a", "b"), ("b", "a")):
        gateway(lab, peer).nft(
            "table ip cut { chain incoming { type filter hook prerouting priority raw;"
            f" {which}ip saddr {lab.public_address(other)} drop; }}; }}"
        )


def heal(lab: Lab) -> None:
    """Undo `cut`."""
    for peer in ("a", "b"):
        gateway(lab, peer).nft("delete table ip cut")


def change_address(lab: Lab, peer: str, address: str) -> None:
    """Take the peer's interface down, and up with another address of the same network; routes are as before."""
    namespace = lab.namespace(peer)
    network = address.rpartition(".")[0]
    namespace.ip(
        "link set eth0 down",
        f"addr del {lab.address(peer)}/24 dev eth0",
        f"addr add {address}/24 dev eth0",
        "link set eth0 up",
        f"route add default via {network}.1",
    )
