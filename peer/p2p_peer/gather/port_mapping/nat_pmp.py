"""Maps ports by NAT-PMP (RFC 6886)."""

from ipaddress import IPv4Address

from p2p_core.wire import nat_pmp
from p2p_core.wire.candidate import Address, Transport
from p2p_core.wire.nat_pmp import ExternalAddress, ExternalAddressRequest, MapRequest, Refused

from p2p_peer.gather.port_mapping import mapper
from p2p_peer.gather.port_mapping.gateways import Gateway
from p2p_peer.gather.port_mapping.mapper import Mapped, MappingFailed
from p2p_peer.gather.port_mapping.questions import Questions

__all__ = ["NatPmp"]


class NatPmp:
    """A gateway that speaks NAT-PMP."""

    def __init__(self, questions: Questions, external: IPv4Address) -> None:
        self.external = external
        self._questions = questions

    @classmethod
    async def find(cls, gateway: Gateway) -> "NatPmp":
        """Ask `gateway` for its address on the outside, which changes nothing. Raises `MappingFailed`."""
        questions = await Questions.open(gateway)
        try:
            answer: ExternalAddress | Refused = await questions.ask(ExternalAddressRequest().encode(), _read_external)
            if isinstance(answer, Refused):
                raise MappingFailed(f"it answers: {answer}")
        except BaseException:
            questions.close()
            raise
        return cls(questions, answer.ip)

    async def map(self, transport: Transport, port: int, known: Mapped | None) -> Mapped:
        """Map `port`, or renew the mapping `known` of it. Raises `MappingFailed`."""
        wish = known.external.port if known else port
        take_back = b"" if known else MapRequest(transport, port, 0, 0).encode()
        answer = await self._ask(MapRequest(transport, port, wish, mapper.LIFETIME), take_back)
        if not (answer.external_port and answer.lifetime):
            raise MappingFailed("it mapped nothing, as it says")
        return Mapped(transport, port, Address(self.external, answer.external_port), answer.lifetime)

    async def unmap(self, mapped: Mapped) -> None:
        """Give a mapping back (§3.4). Raises `MappingFailed`."""
        await self._ask(MapRequest(mapped.transport, mapped.port, 0, 0))

    def close(self) -> None:
        """Close the socket."""
        self._questions.close()

    async def _ask(self, request: MapRequest, take_back: bytes = b"") -> nat_pmp.Mapped:
        def read(data: bytes) -> nat_pmp.Mapped | Refused | None:
            answer = nat_pmp.decode(data)
            if isinstance(answer, ExternalAddress) or answer.transport is not request.transport:
                return None
            if isinstance(answer, nat_pmp.Mapped) and answer.internal_port != request.internal_port:
                return None
            return answer

        answer: nat_pmp.Mapped | Refused = await self._questions.ask(request.encode(), read, take_back=take_back)
        if isinstance(answer, Refused):
            raise MappingFailed(f"it answers: {answer}")
        return answer


def _read_external(data: bytes) -> ExternalAddress | Refused | None:
    answer = nat_pmp.decode(data)
    if isinstance(answer, nat_pmp.Mapped) or (isinstance(answer, Refused) and answer.transport):
        return None
    return answer
