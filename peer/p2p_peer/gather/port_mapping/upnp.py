"""Maps ports by UPnP: the services WANIPConnection and WANPPPConnection of an Internet Gateway Device."""

import math
import secrets
from collections.abc import Mapping
from ipaddress import AddressValueError, IPv4Address

from p2p_core.errors import Malformed
from p2p_core.wire.candidate import Address, Transport

from p2p_peer.gather.port_mapping import http, mapper, soap, ssdp
from p2p_peer.gather.port_mapping.gateways import Gateway
from p2p_peer.gather.port_mapping.mapper import Mapped, MappingFailed
from p2p_peer.gather.port_mapping.soap import Service

__all__ = ["Upnp"]

TRIES = 3  # ports asked for where others have theirs mapped already
_FIRST_PORT, _PORTS = 1024, 64512  # where those are chosen from: 1024 and up
_PROTOCOLS = {Transport.UDP: "UDP", Transport.TCP: "TCP"}
_TAKEN = 718  # ConflictInMappingEntry
_NO_SUCH_ACTION = (401, 602)  # Invalid Action, Optional Action Not Implemented
_ONLY_PERMANENT = 725  # OnlyPermanentLeasesSupported


class _Fault(MappingFailed):
    def __init__(self, number: int) -> None:
        super().__init__(f"it answers: error {number}")
        self.number = number


class Upnp:
    """A gateway that speaks UPnP, and its service that has an address on the outside."""

    def __init__(self, gateway: Gateway, service: Service, external: IPv4Address) -> None:
        self.external = external
        self._gateway = gateway
        self._service = service

    @classmethod
    async def find(cls, gateway: Gateway) -> "Upnp":
        """Search for `gateway`, and for its way to the outside; this changes nothing. Raises `MappingFailed`."""
        described = await ssdp.find_description(gateway)
        try:
            answer = await http.exchange(described, gateway.ours)
            if answer.status != 200:
                raise MappingFailed(f"its description is not to be had: HTTP status {answer.status}")
            services = soap.read_services(answer.body, described)
        except (OSError, Malformed) as error:
            raise MappingFailed(f"its description: {_reason(error)}") from error
        for service in services:
            try:
                values = await _call(gateway, service, "GetExternalIPAddress", {})
                external = IPv4Address(values.get("NewExternalIPAddress", ""))
            except (AddressValueError, MappingFailed):
                continue  # a way to the outside that is not in use
            if not external.is_unspecified:
                return cls(gateway, service, external)
        raise MappingFailed("it has no address on the outside")

    async def map(self, transport: Transport, port: int, known: Mapped | None) -> Mapped:
        """Map `port`, or renew the mapping `known` of it. Raises `MappingFailed`."""
        if known is not None:
            return await self._add("AddPortMapping", transport, port, known.external.port, mapper.LIFETIME)
        wishes = [port, *(secrets.randbelow(_PORTS) + _FIRST_PORT for _ in range(TRIES - 1))]
        actions = [("AddPortMapping", wish) for wish in wishes]
        if self._service.kind.endswith(":2"):
            actions.insert(0, ("AddAnyPortMapping", port))  # the gateway chooses another port where this one is taken
        for action, wish in actions:
            try:
                return await self._add(action, transport, port, wish, mapper.LIFETIME)
            except _Fault as fault:
                if fault.number not in (_TAKEN, *_NO_SUCH_ACTION):
                    raise
        raise MappingFailed("others have the ports that were asked for")

    async def unmap(self, mapped: Mapped) -> None:
        """Give a mapping back. Raises `MappingFailed`."""
        which = {
            "NewRemoteHost": "",
            "NewExternalPort": mapped.external.port,
            "NewProtocol": _PROTOCOLS[mapped.transport],
        }
        await _call(self._gateway, self._service, "DeletePortMapping", which)

    def close(self) -> None:
        """Nothing is held open between calls."""

    async def _add(self, action: str, transport: Transport, port: int, wish: int, lifetime: int) -> Mapped:
        arguments = {
            "NewRemoteHost": "",
            "NewExternalPort": wish,
            "NewProtocol": _PROTOCOLS[transport],
            "NewInternalPort": port,
            "NewInternalClient": self._gateway.ours,
            "NewEnabled": 1,
            "NewPortMappingDescription": "Punchwire",
            "NewLeaseDuration": lifetime,
        }
        try:
            values = await _call(self._gateway, self._service, action, arguments)
            number = int(values.get("NewReservedPort", wish))
            external = Address.of(str(self.external), number)
        except _Fault as fault:
            if fault.number == _ONLY_PERMANENT and lifetime:
                return await self._add(action, transport, port, wish, 0)
            raise
        except (ValueError, Malformed):
            raise MappingFailed("it mapped a port that does not exist, as it says") from None
        return Mapped(transport, port, external, lifetime or math.inf)


async def _call(gateway: Gateway, service: Service, action: str, arguments: Mapping[str, object]) -> dict[str, str]:
    """Call `action`; return what it gives back. Raises `MappingFailed`, `_Fault` where the gateway says no."""
    headers, body = soap.call(service, action, arguments)
    try:
        answer = await http.exchange(service.control, gateway.ours, headers, body)
        if answer.status == 200:
            return soap.read_answer(answer.body, action)
        raise _Fault(soap.read_fault(answer.body))
    except (OSError, Malformed) as error:
        raise MappingFailed(f"{action}: {_reason(error)}") from error


def _reason(error: OSError | Malformed) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {http.ANSWER_TIME:g} s"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
