import socket
from collections.abc import Callable, Iterable

import pytest
from p2p_core.wire.candidate import Address
from p2p_peer.gather.port_mapping import soap, ssdp
from p2p_peer.gather.port_mapping.http import Location
from p2p_peer.gather.port_mapping.mapper import MappingFailed
from p2p_peer.gather.port_mapping.ssdp import find_description

from tests.peer.fake_gateway import GATEWAY, Datagrams, datagrams
from tests.peer.pair import soon


def answer(location: str = "http://127.0.0.1:5000/desc.xml") -> bytes:
    return f"HTTP/1.1 200 OK\r\nST: x\r\nLOCATION: {location}\r\n\r\n".encode("ascii")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssdp, "WAITS", (0.02, 0.04))
    monkeypatch.setattr(ssdp, "GROUP", "127.0.0.1")  # the tests join no groups


async def find(monkeypatch: pytest.MonkeyPatch, server: Datagrams) -> Location:
    monkeypatch.setattr(ssdp, "PORT", server.port)
    return await soon(find_description(GATEWAY))


async def test_the_gateway_says_where_it_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    async with datagrams(lambda _: [b"", b"garbage", answer(), answer("http://127.0.0.1:6000/")]) as server:
        assert await find(monkeypatch, server) == Location(Address.of("127.0.0.1", 5000), "/desc.xml")
        asked = server.received[0].decode("ascii").split("\r\n")
        assert asked == [
            "M-SEARCH * HTTP/1.1",
            f"HOST: 127.0.0.1:{server.port}",
            'MAN: "ssdp:discover"',
            "MX: 1",
            f"ST: {soap.DEVICES[0]}",
            "",
            "",
        ]


async def test_a_search_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = 2 * len(soap.DEVICES)
    async with datagrams(lambda _: [answer()] if len(server.received) > at_once else []) as server:
        assert (await find(monkeypatch, server)).path == "/desc.xml"


@pytest.mark.parametrize(
    "said",
    [
        lambda _: [],
        lambda _: [b"garbage"],
        lambda _: [answer("http://203.0.113.9:5000/desc.xml")],
        lambda _: [answer("http://127.0.0.2:5000/desc.xml")],
        lambda _: [answer("http://localhost:5000/desc.xml")],
        lambda _: [answer("file:///etc/passwd")],
    ],
    ids=["silence", "garbage", "a third party", "another machine", "a name", "a file"],
)
async def test_nothing_to_be_believed(
    monkeypatch: pytest.MonkeyPatch, said: Callable[[bytes], Iterable[bytes]]
) -> None:
    async with datagrams(said) as server:
        with pytest.raises(MappingFailed, match="no answer"):
            await find(monkeypatch, server)
        assert len(server.received) == len(ssdp.WAITS) * 2 * len(soap.DEVICES)


async def test_another_machines_answer_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        try:
            other.bind(("127.0.0.2", 0))
        except OSError:
            pytest.skip("this system has one loopback address only")

        def said(_: bytes) -> list[bytes]:
            other.sendto(answer(), server.sources[-1])
            return []

        async with datagrams(said) as server:
            with pytest.raises(MappingFailed, match="no answer"):
                await find(monkeypatch, server)
