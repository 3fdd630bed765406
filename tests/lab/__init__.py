"""A laboratory of network address translators: real processes, real kernels, made-up networks.

    with Lab(a="port-restricted", b="symmetric", delay=20) as lab:
        mediator = lab.popen("med", [sys.executable, "-m", "p2p_server.cli"])
        peer = lab.run("a", [sys.executable, "-m", "p2p_peer.cli.main", "--mediator", lab.mediator_address])

Everything happens in Linux network namespaces (`man ip-netns`) joined by virtual cables, with nftables as the NATs;
no packet leaves the machine. From the outside in:

    kinds      what each kind of NAT does, in the words of RFC 4787
    ruleset    a NAT's behaviour as nftables rules
    netns      one network namespace
    link       a cable with delay and loss (delaylink.c, or delaylink.py where there is no C compiler)
    nat        the lab: topologies, addresses, processes, cleanup
    capture    listens on an interface of the lab;  pcap  decodes what it heard and puts TCP streams together
    reflector  a small server that tells clients how it sees them;  probe  asks it, and classifies the NAT
    stun_alone the mediator's STUN without a mediator
    miniupnpd  a router that opens ports when it is asked to;  port_holder  asks it
    rootless   whether a lab can be built here, and how: as root, or in a user namespace
    marks      runs or skips the tests marked `netns` accordingly
"""

from tests.lab.capture import Capture
from tests.lab.kinds import KINDS
from tests.lab.nat import Lab
from tests.lab.netns import LabError
from tests.lab.rootless import Availability, availability

__all__ = ["KINDS", "Availability", "Capture", "Lab", "LabError", "availability"]
