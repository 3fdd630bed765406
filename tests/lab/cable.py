"""Hosts on one cable, with no NAT between them: each has the addresses it is given, and no others.

    med 2001:db8::1, 10.9.0.1      a ...      b ...

A host without an IPv6 address has IPv6 switched off, unless it is to have link-local addresses.
"""

import itertools
import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Final, Self

from tests.lab import netns, rootless
from tests.lab.nat import PREFIX
from tests.lab.netns import Namespace

__all__ = ["LINK_LOCAL", "Cable"]

LINK_LOCAL: Final = "link-local"  # in a host's addresses: IPv6 is on, with the address the kernel makes
_numbers = itertools.count(1000)  # a lab's numbers begin at 1


class Cable:
    """A context manager that builds the network and takes it away again, with every process inside it."""

    def __init__(self, hosts: Mapping[str, Sequence[str]]) -> None:
        """Give each host its addresses; IPv4 ones are in a /24, IPv6 ones in a /64."""
        self._hosts = hosts
        prefix = f"{PREFIX}{os.getpid()}-{next(_numbers)}-"
        self._hub = Namespace(f"{prefix}hub")
        self._namespaces = {host: Namespace(prefix + host) for host in hosts}
        self._stack = ExitStack()

    def namespace(self, host: str) -> Namespace:
        """The namespace of a host."""
        return self._namespaces[host]

    def popen(self, host: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a process on a host; whoever starts it ends it."""
        return subprocess.Popen(self._namespaces[host].command(argv), **options)

    def silence(self, host: str, address: str) -> None:
        """Let what a host sends to this address of its network get lost: there is nobody, and nobody says so."""
        self._namespaces[host].ip(f"neigh replace {address} lladdr 02:00:00:00:00:99 dev eth0 nud permanent")

    def __enter__(self) -> Self:
        rootless.require()
        with ExitStack() as stack:
            stack.callback(self._remove)
            self._hub.create()
            self._hub.ip("link add br0 type bridge", "link set br0 up")
            for number, (host, addresses) in enumerate(self._hosts.items()):
                self._join(self._namespaces[host], f"to{number}", addresses)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _join(self, host: Namespace, port: str, addresses: Sequence[str]) -> None:
        host.create(ipv6=any(":" in address or address == LINK_LOCAL for address in addresses))
        given = [address for address in addresses if address != LINK_LOCAL]
        host.ip(f"link add eth0 type veth peer name {port} netns {self._hub.name}", "link set eth0 up")
        self._hub.ip(f"link set {port} master br0", f"link set {port} up")
        host.ip(*(f"addr add {a}{'/64 nodad' if ':' in a else '/24'} dev eth0" for a in given))

    def _remove(self) -> None:
        made = [one for one in (self._hub, *self._namespaces.values()) if one.path.exists()]
        try:
            netns.kill_processes(made)
        finally:
            for namespace in made:
                namespace.delete()
