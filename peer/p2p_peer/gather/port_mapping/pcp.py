"""Maps ports by PCP (RFC 6887)."""

import os

from p2p_core.wire import pcp
from p2p_core.wire.candidate import Transport
from p2p_core.wire.pcp import NONCE_BYTES, Announced, AnnounceRequest, MapRequest, Refused

from p2p_peer.gather.port_mapping import mapper
from p2p_peer.gather.port_mapping.gateways import Gateway
from p2p_peer.gather.port_mapping.mapper import Mapped, MappingFailed
from p2p_peer.gather.port_mapping.questions import Questions

__all__ = ["Pcp"]


class Pcp:
    """A gateway that speaks PCP."""

    external = None  # only a mapping tells

    def __init__(self, questions: Questions, gateway: Gateway) -> None:
        self._questions = questions
        self._client = gateway.ours
        self._nonce = os.urandom(NONCE_BYTES)  # one for all: a mapping is known by it and its port (§11.3)

    @classmethod
    async def find(cls, gateway: Gateway) -> "Pcp":
        """Ask `gateway` whether it speaks PCP, which changes nothing. Raises `MappingFailed`."""
        questions = await Questions.open(gateway)
        try:
            answer: Announced | Refused = await questions.ask(AnnounceRequest(gateway.ours).encode(), _read_announced)
            if isinstance(answer, Refused):
                raise MappingFailed(f"it answers: {answer}")
        except BaseException:
            questions.close()
            raise
        return cls(questions, gateway)

    async def map(self, transport: Transport, port: int, known: Mapped | None) -> Mapped:
        """Map `port`, or renew the mapping `known` of it. Raises `MappingFailed`."""
        answer = await self._ask(transport, port, known, mapper.LIFETIME)
        if not (answer.external and answer.lifetime):
            raise MappingFailed("it mapped nothing, as it says")
        return Mapped(transport, port, answer.external, answer.lifetime)

    async def unmap(self, mapped: Mapped) -> None:
        """Give a mapping back (§15.1). Raises `MappingFailed`."""
        await self._ask(mapped.transport, mapped.port, mapped, 0)

    def close(self) -> None:
        """Close the socket."""
        self._questions.close()

    async def _ask(self, transport: Transport, port: int, known: Mapped | None, lifetime: int) -> pcp.Mapped:
        wish = known.external if known else None
        request = MapRequest(self._client, self._nonce, transport, port, wish, lifetime)
        take_back = b"" if known else MapRequest(self._client, self._nonce, transport, port, None, 0).encode()

        def read(data: bytes) -> pcp.Mapped | Refused | None:
            answer = pcp.decode(data)
            about = answer.mapping if isinstance(answer, Refused) else answer
            if not isinstance(about, pcp.Mapped):
                return None
            ours = (about.nonce, about.transport, about.internal_port) == (self._nonce, transport, port)
            return answer if ours and not isinstance(answer, Announced) else None

        answer: pcp.Mapped | Refused = await self._questions.ask(request.encode(), read, take_back=take_back)
        if isinstance(answer, Refused):
            raise MappingFailed(f"it answers: {answer}")
        return answer


def _read_announced(data: bytes) -> Announced | Refused | None:
    answer = pcp.decode(data)
    return None if isinstance(answer, pcp.Mapped) else answer
