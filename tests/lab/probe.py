"""Finds out how a peer's NAT behaves, with the reflector's help, in the manner of RFC 5780.

No test of filtering waits for silence over UDP: what may be kept out is sent first, and then, on the same way, what is
let in.
"""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.kinds import Filtering, Mapping
from tests.lab.nat import Lab
from tests.lab.reflector import PORTS

REPLY_TIMEOUT = 2.0  # s for what must come, however busy the machine
SILENCE_TIMEOUT = 0.2  # s for what should not come at all

Endpoint = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of one local port.

    `private` is the port itself, `public` the address and port it was seen under, by the remote endpoint that saw it.
    `refused` says whether what was filtered came back as refused; it is None for UDP, where the reflector can't tell.
    """

    private: int
    public: dict[Endpoint, Endpoint]
    filtering: Filtering
    refused: bool | None = None

    @property
    def mapping(self) -> Mapping:
        if len(set(self.public.values())) == 1:
            return Mapping.ENDPOINT_INDEPENDENT
        return Mapping.ADDRESS_AND_PORT_DEPENDENT

    @property
    def ports(self) -> list[int]:
        """The public ports in the order they were asked for."""
        return [port for _, port in self.public.values()]


@contextmanager
def reflector(lab: Lab) -> Iterator[list[Endpoint]]:
    """Runs the reflector on the mediator's host; its endpoints, both ports of the first address first."""
    argv = [sys.executable, str(Path(__file__).with_name("reflector.py")), *lab.mediator_addresses]
    with lab.popen("med", argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield [(address, port) for address in lab.mediator_addresses for port in PORTS]
        finally:
            process.terminate()


def observe_udp(lab: Lab, peer: str, endpoints: list[Endpoint], patience: float = REPLY_TIMEOUT) -> Observation | None:
    """Mapping and filtering of a peer's UDP; None where no answer comes within `patience`, in seconds."""
    with lab.namespace(peer).socket(socket.SOCK_DGRAM) as plain, lab.namespace(peer).socket(socket.SOCK_DGRAM) as fresh:
        try:
            public = {endpoint: ask(plain, endpoint, patience) for endpoint in endpoints}
        except TimeoutError:
            return None
        return Observation(plain.getsockname()[1], public, _udp_filtering(fresh, endpoints))


def ask(sock: socket.socket, endpoint: Endpoint, timeout: float = REPLY_TIMEOUT) -> Endpoint:
    """The address and port that a UDP socket is seen under by an endpoint; TimeoutError when there is no answer."""
    sock.settimeout(timeout)
    sock.sendto(b"where", endpoint)
    return _endpoint(sock.recv(2048).decode())


def _udp_filtering(sock: socket.socket, endpoints: list[Endpoint]) -> Filtering:
    """Who may answer a socket that has spoken to the first endpoint only."""
    contacted, other_port, other_address = endpoints[0], endpoints[1], endpoints[2]
    ask(sock, contacted)
    answering = (other_address, other_port, contacted)
    sock.sendto(f"from {' '.join(f'{address} {port}' for address, port in answering)}".encode(), contacted)
    heard = []
    while contacted not in heard:
        _, sender = sock.recvfrom(2048)
        heard.append(sender)
    if other_address in heard:
        return Filtering.ENDPOINT_INDEPENDENT
    return Filtering.ADDRESS_DEPENDENT if other_port in heard else Filtering.ADDRESS_AND_PORT_DEPENDENT


def observe_tcp(lab: Lab, peer: str, endpoints: list[Endpoint], patience: float = REPLY_TIMEOUT) -> Observation | None:
    """Mapping and filtering of a peer's TCP; None where no connection comes about within `patience`, in seconds."""
    with _TcpPort(lab, peer) as plain, _TcpPort(lab, peer) as fresh:
        try:
            public = {endpoint: plain.connect(endpoint, patience)[0] for endpoint in endpoints}
        except TimeoutError:
            return None
        contacted, other_address = endpoints[0], endpoints[2]
        _, connection = fresh.connect(contacted, patience)
        connection.sendall(f"dial {other_address[0]} {contacted[0]}\n".encode())
        from_other_address, from_other_port = connection.recv(2048).decode().split()
    if from_other_address == "connected":
        filtering = Filtering.ENDPOINT_INDEPENDENT
    elif from_other_port == "connected":
        filtering = Filtering.ADDRESS_DEPENDENT
    else:
        filtering = Filtering.ADDRESS_AND_PORT_DEPENDENT
    return Observation(plain.number, public, filtering, refused=from_other_address == "refused")


class _TcpPort:
    """One local TCP port that listens and connects, as for a simultaneous open."""

    def __init__(self, lab: Lab, peer: str) -> None:
        self._namespace = lab.namespace(peer)
        self._sockets: list[socket.socket] = []
        self.number = 0
        listener = self._socket()
        listener.listen()
        self.number = listener.getsockname()[1]

    def __enter__(self) -> "_TcpPort":
        return self

    def __exit__(self, *error: object) -> None:
        for sock in self._sockets:
            sock.close()

    def connect(self, endpoint: Endpoint, patience: float) -> tuple[Endpoint, socket.socket]:
        """Connects from this port; the address and port it was seen under, and the connection."""
        sock = self._socket()
        sock.settimeout(patience)
        sock.connect(endpoint)
        return _endpoint(sock.recv(2048).decode()), sock

    def _socket(self) -> socket.socket:
        sock = self._namespace.socket(socket.SOCK_STREAM)
        self._sockets.append(sock)
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
        sock.bind(("0.0.0.0", self.number))
        return sock


def _endpoint(reply: str) -> Endpoint:
    address, port = reply.split()
    return address, int(port)
