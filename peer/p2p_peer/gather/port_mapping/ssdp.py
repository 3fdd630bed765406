"""Finds the gateway's UPnP description by SSDP (UPnP Device Architecture §1.3)."""

import asyncio
import socket
from typing import Any

from p2p_core.errors import Malformed

from p2p_peer.gather.port_mapping import soap
from p2p_peer.gather.port_mapping.gateways import Gateway
from p2p_peer.gather.port_mapping.http import Location
from p2p_peer.gather.port_mapping.mapper import MappingFailed

__all__ = ["find_description"]

GROUP, PORT = "239.255.255.250", 1900
WAITS = (0.25, 0.75)  # s after each time the search is sent: datagrams get lost, and after 1 s nobody wants an answer
HOPS = 2  # §1.3.2 recommends it


async def find_description(gateway: Gateway) -> Location:
    """Search for the gateway as a device; return where it describes itself. Raises `MappingFailed`.

    It is asked as a member of the group, and directly, which it has to answer without delay. Answers of other
    machines are not looked at, nor those that lead to other machines.
    """
    answer: asyncio.Future[Location] = asyncio.get_running_loop().create_future()
    transport = await _open(gateway, answer)
    try:
        for wait in WAITS:
            for host in (str(gateway.ip), GROUP):
                for device in soap.DEVICES:
                    transport.sendto(soap.search(f"{host}:{PORT}", device), (host, PORT))
            if (await asyncio.wait([answer], timeout=wait))[0]:
                return answer.result()
        raise MappingFailed("no answer")
    finally:
        transport.close()


async def _open(gateway: Gateway, answer: asyncio.Future[Location]) -> asyncio.DatagramTransport:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, gateway.ours.packed)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, HOPS)
        sock.bind((str(gateway.ours), 0))
        loop = asyncio.get_running_loop()
        return (await loop.create_datagram_endpoint(lambda: _Search(gateway, answer), sock=sock))[0]
    except OSError as error:
        sock.close()
        raise MappingFailed(error.strerror or str(error)) from error
    except BaseException:
        sock.close()
        raise


class _Search(asyncio.DatagramProtocol):
    def __init__(self, gateway: Gateway, answer: asyncio.Future[Location]) -> None:
        self._gateway = gateway
        self._answer = answer

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Take the first answer that is the gateway's and leads to it."""
        if addr[0] != str(self._gateway.ip) or self._answer.done():
            return
        try:
            location = soap.read_location(data)
        except Malformed:
            return
        if location.server.ip == self._gateway.ip:
            self._answer.set_result(location)
