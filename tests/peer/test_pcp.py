import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

import pytest
from p2p_core.wire.candidate import Address, Transport
from p2p_peer.gather.port_mapping import questions
from p2p_peer.gather.port_mapping.mapper import LIFETIME, Mapped, MappingFailed
from p2p_peer.gather.port_mapping.pcp import Pcp

from tests.peer.fake_gateway import GATEWAY, Datagrams, datagrams, impatient
from tests.peer.pair import PATIENCE, soon, until

OUTSIDE = Address.of("203.0.113.5", 41000)
GIVEN = 600  # s that the gateway grants
Change = Callable[[bytearray], object]


def answer(request: bytes, external: Address = OUTSIDE) -> bytearray:
    """As RFC 6887 §7.2 and §11.1 have it: what was asked for, for `GIVEN` seconds at `external`."""
    header = struct.pack(">BBxBII12x", 2, request[1] | 128, 0, min(GIVEN, *struct.unpack_from(">I", request, 4)), 1)
    if request[1] == 0:
        return bytearray(header)
    there = struct.pack(">H10x2s4s", external.port, b"\xff\xff", external.ip.packed)
    return bytearray(header + request[24:42] + there)


@asynccontextmanager
async def gateway(monkeypatch: pytest.MonkeyPatch, change: Change = len) -> AsyncIterator[tuple[Datagrams, Pcp]]:
    """A gateway whose answers to MAP requests are changed, and what finds it."""

    def answers(request: bytes) -> list[bytes]:
        made = answer(request)
        if request[1] == 1:
            change(made)
        return [bytes(made)]

    monkeypatch.setattr(questions, "WAITS", (PATIENCE,))
    async with datagrams(answers) as server:
        monkeypatch.setattr(questions, "PORT", server.port)
        found = await soon(Pcp.find(GATEWAY))
        try:
            yield server, found
        finally:
            found.close()


async def test_a_port_is_mapped_renewed_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway(monkeypatch) as (server, pcp):
        mapped = await soon(pcp.map(Transport.UDP, 40000, None))
        assert mapped == Mapped(Transport.UDP, 40000, OUTSIDE, GIVEN)
        assert await soon(pcp.map(Transport.UDP, 40000, mapped)) == mapped
        await soon(pcp.unmap(mapped))
    announce, first, renewal, end = server.received
    assert announce[:2] == b"\x02\x00"
    assert first[24:36] == renewal[24:36] == end[24:36] != bytes(12)
    assert [struct.unpack_from(">I", request, 4)[0] for request in (first, renewal, end)] == [LIFETIME, LIFETIME, 0]
    assert first[42:] == struct.pack(">H10x2s4x", 40000, b"\xff\xff")
    assert renewal[42:] == end[42:] == struct.pack(">H10x2s4s", 41000, b"\xff\xff", IPv4Address("203.0.113.5").packed)


async def test_each_client_has_a_nonce_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    nonces = set()
    for _ in range(4):
        async with gateway(monkeypatch) as (server, pcp):
            await soon(pcp.map(Transport.TCP, 40000, None))
            nonces.add(server.received[-1][24:36])
    assert len(nonces) == 4


STRANGE: dict[str, Change] = {
    "another nonce": lambda made: made.__setitem__(24, made[24] ^ 1),
    "another opcode": lambda made: made.__setitem__(1, 130),
    "a request": lambda made: made.__setitem__(1, 1),
    "another version": lambda made: made.__setitem__(0, 1),
    "another protocol": lambda made: made.__setitem__(36, 6),
    "another port": lambda made: made.__setitem__(41, made[41] ^ 1),
    "cut off": lambda made: made.__delitem__(slice(50, None)),
    "a refusal of another mapping": lambda made: made.__setitem__(slice(3, 25), b"\x08" + bytes(21)),
}


@pytest.mark.parametrize("change", STRANGE.values(), ids=STRANGE)
async def test_what_is_no_answer_to_this_is_passed_over(monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    async with gateway(monkeypatch, change) as (_, pcp):
        with impatient(monkeypatch), pytest.raises(MappingFailed, match="no answer"):
            await soon(pcp.map(Transport.UDP, 40000, None))


async def test_what_was_not_answered_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway may be slow, and have mapped the port."""
    async with gateway(monkeypatch, lambda made: made.clear()) as (server, pcp):
        with impatient(monkeypatch), pytest.raises(MappingFailed, match="no answer"):
            await soon(pcp.map(Transport.TCP, 40000, None))
        await until(lambda: len(server.received) >= 4)
        _, first, second, end, *_ = server.received
        assert first == second
        assert (end[4:8], end[24:42]) == (bytes(4), first[24:42])  # the same nonce, protocol and port, for no time


async def test_a_renewal_that_was_not_answered_is_not_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway(monkeypatch) as (server, pcp):
        mapped = await soon(pcp.map(Transport.TCP, 40000, None))
        server.answer = lambda _: []
        with impatient(monkeypatch), pytest.raises(MappingFailed, match="no answer"):
            await soon(pcp.map(Transport.TCP, 40000, mapped))
        server.answer = lambda request: [bytes(answer(request))]
        await soon(pcp.unmap(mapped))
        assert len(server.received) == 5


async def test_a_refusal_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway(monkeypatch, lambda made: made.__setitem__(3, 8)) as (_, pcp):
        with pytest.raises(MappingFailed, match="it answers: no resources"):
            await soon(pcp.map(Transport.UDP, 40000, None))


@pytest.mark.parametrize("at", [slice(4, 8), slice(42, 44)], ids=["for no time", "to port 0"])
async def test_a_mapping_that_is_none(monkeypatch: pytest.MonkeyPatch, at: slice) -> None:
    async with gateway(monkeypatch, lambda made: made.__setitem__(at, bytes(at.stop - at.start))) as (_, pcp):
        with pytest.raises(MappingFailed, match="mapped nothing"):
            await soon(pcp.map(Transport.UDP, 40000, None))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"\x00\x80\x00\x01\x00\x00\x00\x00", "unsupported version"),
        (b"\x02\x80\x00\x02" + bytes(20), "not authorized"),
        (b"\x02\x81" + bytes(58), "no answer"),
        (b"", "no answer"),
    ],
)
async def test_a_gateway_without_pcp(monkeypatch: pytest.MonkeyPatch, said: bytes, why: str) -> None:
    monkeypatch.setattr(questions, "WAITS", (0.02, 0.02) if why == "no answer" else (PATIENCE,))
    async with datagrams(lambda _: [said]) as server:
        monkeypatch.setattr(questions, "PORT", server.port)
        with pytest.raises(MappingFailed, match=why):
            await soon(Pcp.find(GATEWAY))
