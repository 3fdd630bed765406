import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from p2p_core.wire.candidate import Address, Transport
from p2p_peer.gather.port_mapping import questions
from p2p_peer.gather.port_mapping.mapper import LIFETIME, Mapped, MappingFailed
from p2p_peer.gather.port_mapping.nat_pmp import NatPmp

from tests.peer.fake_gateway import GATEWAY, Datagrams, datagrams, impatient
from tests.peer.pair import PATIENCE, soon, until

OUTSIDE = Address.of("203.0.113.5", 41000)
GIVEN = 600  # s that the gateway grants
Change = Callable[[bytearray], object]


def answer(request: bytes) -> bytearray:
    """As RFC 6886 §3.2 and §3.3 have it."""
    header = struct.pack(">BBHI", 0, request[1] | 128, 0, 1)
    if request[1] == 0:
        return bytearray(header + OUTSIDE.ip.packed)
    internal, _, lifetime = struct.unpack_from(">HHI", request, 4)
    return bytearray(header + struct.pack(">HHI", internal, OUTSIDE.port, min(lifetime, GIVEN)))


@asynccontextmanager
async def gateway(monkeypatch: pytest.MonkeyPatch, change: Change = len) -> AsyncIterator[tuple[Datagrams, NatPmp]]:
    """A gateway whose answers to mapping requests are changed, and what finds it."""

    def answers(request: bytes) -> list[bytes]:
        made = answer(request)
        if request[1]:
            change(made)
        return [bytes(made)]

    monkeypatch.setattr(questions, "WAITS", (PATIENCE,))
    async with datagrams(answers) as server:
        monkeypatch.setattr(questions, "PORT", server.port)
        found = await soon(NatPmp.find(GATEWAY))
        try:
            yield server, found
        finally:
            found.close()


async def test_a_port_is_mapped_renewed_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway(monkeypatch) as (server, nat_pmp):
        assert nat_pmp.external == OUTSIDE.ip
        mapped = await soon(nat_pmp.map(Transport.TCP, 40000, None))
        assert mapped == Mapped(Transport.TCP, 40000, OUTSIDE, GIVEN)
        assert await soon(nat_pmp.map(Transport.TCP, 40000, mapped)) == mapped
        await soon(nat_pmp.unmap(mapped))
    assert server.received == [
        b"\x00\x00",
        struct.pack(">BBxxHHI", 0, 2, 40000, 40000, LIFETIME),
        struct.pack(">BBxxHHI", 0, 2, 40000, 41000, LIFETIME),
        struct.pack(">BBxxHHI", 0, 2, 40000, 0, 0),
    ]


STRANGE: dict[str, Change] = {
    "another opcode": lambda made: made.__setitem__(1, 131),
    "an answer for TCP": lambda made: made.__setitem__(1, 130),
    "a refusal for TCP": lambda made: made.__setitem__(slice(1, 4), b"\x82\x00\x04"),
    "an address": lambda made: made.__setitem__(1, 128),
    "a request": lambda made: made.__setitem__(1, 1),
    "another version": lambda made: made.__setitem__(0, 2),
    "another port": lambda made: made.__setitem__(9, made[9] ^ 1),
    "cut off": lambda made: made.__delitem__(slice(12, None)),
}


@pytest.mark.parametrize("change", STRANGE.values(), ids=STRANGE)
async def test_what_is_no_answer_to_this_is_passed_over(monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    async with gateway(monkeypatch, change) as (_, nat_pmp):
        with impatient(monkeypatch), pytest.raises(MappingFailed, match="no answer"):
            await soon(nat_pmp.map(Transport.UDP, 40000, None))


async def test_what_was_not_answered_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway may be slow, and have mapped the port."""
    async with gateway(monkeypatch, lambda made: made.clear()) as (server, nat_pmp):
        with impatient(monkeypatch), pytest.raises(MappingFailed, match="no answer"):
            await soon(nat_pmp.map(Transport.TCP, 40000, None))
        await until(lambda: len(server.received) >= 4)
        assert server.received[-1] == struct.pack(">BBxxHHI", 0, 2, 40000, 0, 0)


async def test_a_refusal_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway(monkeypatch, lambda made: made.__setitem__(3, 4)) as (_, nat_pmp):
        with pytest.raises(MappingFailed, match="it answers: out of resources"):
            await soon(nat_pmp.map(Transport.UDP, 40000, None))


@pytest.mark.parametrize("at", [slice(10, 12), slice(12, 16)], ids=["to port 0", "for no time"])
async def test_a_mapping_that_is_none(monkeypatch: pytest.MonkeyPatch, at: slice) -> None:
    async with gateway(monkeypatch, lambda made: made.__setitem__(at, bytes(at.stop - at.start))) as (_, nat_pmp):
        with pytest.raises(MappingFailed, match="mapped nothing"):
            await soon(nat_pmp.map(Transport.UDP, 40000, None))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"\x00\x80\x00\x03" + bytes(8), "network failure"),
        (b"\x02\x80\x00\x01" + bytes(20), "no answer"),  # PCP, and nothing else
        (b"\x00\x81\x00\x02" + bytes(12), "no answer"),
        (b"\x00\x81\x00\x00" + bytes(12), "no answer"),
        (b"", "no answer"),
    ],
)
async def test_a_gateway_without_nat_pmp(monkeypatch: pytest.MonkeyPatch, said: bytes, why: str) -> None:
    monkeypatch.setattr(questions, "WAITS", (0.02, 0.02) if why == "no answer" else (PATIENCE,))
    async with datagrams(lambda _: [said]) as server:
        monkeypatch.setattr(questions, "PORT", server.port)
        with pytest.raises(MappingFailed, match=why):
            await soon(NatPmp.find(GATEWAY))
