"""A router of the lab that maps ports when it is asked to: the real `miniupnpd`, which many home routers run.

It speaks PCP and NAT-PMP (one switch for both) and UPnP, and keeps its nftables rules in chains of its own. It maps
ports only where the router has an address of the real internet on its outside, and counts those of the lab (RFC 5737)
as private, so the lab's public segment has to be another: `Lab(public=OUTSIDE)`.
"""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.lab.nat import Lab
from tests.lab.netns import LabError, tool

__all__ = ["OUTSIDE", "Lease", "Miniupnpd", "eventually"]

OUTSIDE: Final = "5.6.7"  # somebody's, but no packet leaves the lab
PATIENCE: Final = 20.0  # s, on the busiest machine
SSDP, PCP = 1900, 5351
TABLE = "miniupnpd"

# Before the lab's own chains: what comes in by a mapping is translated here, and what is translated the lab forwards.
_CHAINS = f"""
table inet {TABLE} {{
    chain forward {{ type filter hook forward priority filter - 10; jump {TABLE}; }}
    chain {TABLE} {{
    }}
    chain prerouting {{ type nat hook prerouting priority dstnat - 10; jump prerouting_{TABLE}; }}
    chain prerouting_{TABLE} {{
    }}
    chain postrouting {{ type nat hook postrouting priority srcnat - 10; jump postrouting_{TABLE}; }}
    chain postrouting_{TABLE} {{
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Lease:
    """One mapping, as the daemon notes it in its file."""

    protocol: str  # "udp" or "tcp"
    external_port: int
    internal: str  # address:port
    expires: int  # s since 1970
    description: str


@dataclass(frozen=True, slots=True)
class Miniupnpd:
    """The daemon on the router "ra"; it ends with its lab."""

    lab: Lab
    folder: Path
    process: subprocess.Popen[Any]

    @classmethod
    def start(cls, lab: Lab, folder: Path, *, pcp: bool = True, upnp: bool = True, igd: int = 2) -> "Miniupnpd":
        """Start it, with its files in `folder` and as an Internet Gateway Device of version `igd`.

        `pcp` is NAT-PMP as well. Returns when it listens, raises LabError when it does not.
        """
        lab.namespace("ra").nft(_CHAINS)
        settings = {
            "ext_ifname": "wan",
            "listening_ip": "lan",
            "ipv6_disable": "yes",
            "enable_natpmp": "yes" if pcp else "no",
            "enable_upnp": "yes" if upnp else "no",
            "force_igd_desc_v1": "yes" if igd == 1 else "no",
            "min_lifetime": "1",  # of PCP; two minutes otherwise
            "secure_mode": "yes",
            "upnp_table_name": TABLE,
            "upnp_nat_table_name": TABLE,
            "lease_file": str(folder / "leases"),
            "uuid": "00000000-0000-0000-0000-000000000000",
        }
        rules = ["allow 1024-65535 10.0.0.0/8 1024-65535", "deny 0-65535 0.0.0.0/0 0-65535"]
        config = [*(f"{name}={value}" for name, value in settings.items()), *rules, ""]
        (folder / "conf").write_text("\n".join(config))
        argv = [tool("miniupnpd"), "-d", "-f", str(folder / "conf"), "-P", str(folder / "pid")]
        with open(folder / "log", "wb") as log:
            process = lab.popen("ra", argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        daemon = cls(lab, folder, process)
        eventually(lambda: daemon._listens(*[PCP] * pcp, *[SSDP] * upnp))
        return daemon

    def leases(self) -> list[Lease]:
        """What it has mapped, as it says."""
        try:
            lines = (self.folder / "leases").read_text().splitlines()
        except FileNotFoundError:  # it has not mapped anything, or is just writing it
            return []
        found = []
        for line in lines:
            protocol, external, address, port, expires, description = line.split(":", 5)
            found.append(Lease(protocol.lower(), int(external), f"{address}:{port}", int(expires), description))
        return found

    def rules(self) -> int:
        """How many ports the kernel forwards for it."""
        chain = self.lab.run("ra", [tool("nft"), "list", "chain", "inet", TABLE, f"prerouting_{TABLE}"]).stdout
        return chain.count("dnat")

    def log(self) -> str:
        """What it says of itself, and of all who ask it for something."""
        return (self.folder / "log").read_text(errors="replace")

    def _listens(self, *ports: int) -> bool:
        if self.process.poll() is not None:
            raise LabError(f"miniupnpd ended: {self.log()[-2000:]}")
        sockets = Path(f"/proc/{self.process.pid}/net/udp").read_text()
        return all(f":{port:04X} " in sockets for port in ports)


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)
