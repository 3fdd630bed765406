"""A stranger in the local network, and a hostile router, that answer those who ask for a port mapping.

SSDP and UPnP lead to where an answer says (CVE-2020-12695 is what comes of that), and XML may name files and grow.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from p2p_core.wire.candidate import Address, Transport
from p2p_peer.gather.port_mapping import http, questions, ssdp
from p2p_peer.gather.port_mapping.http import Location
from p2p_peer.gather.port_mapping.mapper import Mapped, MappingFailed
from p2p_peer.gather.port_mapping.pcp import Pcp
from p2p_peer.gather.port_mapping.ssdp import find_description
from p2p_peer.gather.port_mapping.upnp import Upnp

from tests.peer.fake_gateway import GATEWAY, WebServer, datagrams, http_answer, web_server
from tests.peer.pair import soon
from tests.peer.test_pcp import answer as pcp_answer
from tests.peer.test_soap import IP1, described

STRANGER = "127.0.0.2"  # another machine than the gateway, which is 127.0.0.1 here


@pytest.fixture
async def stranger() -> AsyncIterator[WebServer]:
    """A web server that is not the router's: nobody may be made to ask it."""
    async with web_server(lambda *_: http_answer(b"<root/>"), host=STRANGER) as server:
        yield server


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the loopback interface instead of a group, and not for long."""
    monkeypatch.setattr(ssdp, "WAITS", (0.02, 0.04))
    monkeypatch.setattr(ssdp, "GROUP", "127.0.0.1")
    monkeypatch.setattr(questions, "WAITS", (0.05, 0.05))
    monkeypatch.setattr(http, "ANSWER_TIME", 1.0)


def ssdp_answer(location: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nST: x\r\nLOCATION: {location}\r\n\r\n".encode()


@pytest.mark.usefixtures("near")
async def test_an_answer_that_leads_elsewhere(monkeypatch: pytest.MonkeyPatch, stranger: WebServer) -> None:
    """TRIES: to have the victim ask another machine, by SSDP: as the router, as a stranger, with names, files, schemes.

    OUTCOME: an answer counts if it is the router's, and leads to the router; nobody else is asked for anything.
    """
    leads = [
        f"http://{STRANGER}:{stranger.port}/desc.xml",
        f"http://127.0.0.1@{STRANGER}:{stranger.port}/",
        "http://localhost/",
        "http://0x7f000001/",
        "https://127.0.0.1/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:22/",
        "http://127.0.0.1:99999/",
        "http://[::1]/",
        "",
    ]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((STRANGER, 0))

        def said(_: bytes) -> list[bytes]:
            other.sendto(ssdp_answer("http://127.0.0.1:1/desc.xml"), server.sources[-1])  # right, but not the router's
            return [*map(ssdp_answer, leads), b"\xff" * 5000, b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000]

        async with datagrams(said) as server:
            monkeypatch.setattr(ssdp, "PORT", server.port)
            with pytest.raises(MappingFailed, match="no answer"):
                await soon(find_description(GATEWAY))
    assert stranger.requests == []


BOMB = '<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'


def hostile_answers(elsewhere: str) -> dict[str, bytes]:
    """What a hostile router says of itself."""
    return {
        "a redirect": http_answer(b"", "302 Found", [f"Location: {elsewhere}"]),
        "a service elsewhere": http_answer(described((IP1, elsewhere))),
        "a service elsewhere, without a scheme": http_answer(described((IP1, elsewhere.removeprefix("http:")))),
        "a base elsewhere": http_answer(described((IP1, "/c"), base=f"<URLBase>{elsewhere}</URLBase>")),
        "entities that grow": http_answer(described((IP1, "&b;"), before=BOMB)),
        "an entity from a file": http_answer(
            described((IP1, "&a;"), before='<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">]>')
        ),
        "an entity from elsewhere": http_answer(
            described((IP1, "&a;"), before=f'<!DOCTYPE r [<!ENTITY a SYSTEM "{elsewhere}">]>')
        ),
        "elements without end": http_answer(b"<a>" * 80_000),
        "a megabyte": http_answer(b"x" * 2**20),
        "a length of 2^63": b"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n<root/>",
        "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n<root/>",
        "a chunk of 2^32": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n<root/>",
        "headers without end": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000,
        "a line without end": b"HTTP/1.1 200 " + b"x" * 2**20,
        "SSH": b"SSH-2.0-OpenSSH_9.9\r\n",
    }


@pytest.mark.usefixtures("near")
async def test_a_router_that_is_hostile(monkeypatch: pytest.MonkeyPatch, stranger: WebServer) -> None:
    """TRIES: redirects, services and entities elsewhere, XML bombs, a megabyte, lengths that lie, heads without end.

    OUTCOME: no mapping, with a reason; nobody but the router was asked, and no file was read.
    """
    for name, said in hostile_answers(f"http://{STRANGER}:{stranger.port}/c").items():
        async with web_server(lambda *_, said=said: said) as router:
            at = router.at("/desc.xml")

            async def find(_: object, at: Location = at) -> Location:
                return at

            monkeypatch.setattr(ssdp, "find_description", find)
            with pytest.raises(MappingFailed):
                await soon(Upnp.find(GATEWAY))
            assert len(router.requests) == 1, name
    assert stranger.requests == []


@pytest.mark.usefixtures("near")
async def test_a_router_that_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    """TRIES: to hold the victim by an answer that comes a byte at a time, for ever.

    OUTCOME: the time is for the whole answer; then there is no mapping.
    """
    monkeypatch.setattr(http, "ANSWER_TIME", 0.2)

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                writer.write(b"H")
                await asyncio.sleep(0.01)
        finally:
            writer.close()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as router:
        at = Location(Address.of("127.0.0.1", router.sockets[0].getsockname()[1]), "/desc.xml")

        async def find(_: object) -> Location:
            return at

        monkeypatch.setattr(ssdp, "find_description", find)
        with pytest.raises(MappingFailed, match=r"within 0\.2 s"):
            await soon(Upnp.find(GATEWAY))


@asynccontextmanager
async def pcp(
    monkeypatch: pytest.MonkeyPatch, forge: Callable[[bytes], list[bytes]], said: Callable[[bytes], list[bytes]]
) -> AsyncIterator[Pcp]:
    """A gateway that speaks PCP, and somebody else who answers before it does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((STRANGER, 0))

        def answers(request: bytes) -> list[bytes]:
            for forged in forge(request):
                other.sendto(forged, server.sources[-1])
            return said(request)

        async with datagrams(answers) as server:
            monkeypatch.setattr(questions, "PORT", server.port)
            found = await soon(Pcp.find(GATEWAY))
            try:
                yield found
            finally:
                found.close()


EVIL = Address.of("198.51.100.66", 666)


@pytest.mark.usefixtures("near")
async def test_an_answer_before_the_routers(monkeypatch: pytest.MonkeyPatch) -> None:
    """TRIES: to name another address as the victim's, by answers before the router's: from elsewhere, or with a guess.

    OUTCOME: an answer counts from the router, with the nonce that was asked with; others are passed over.
    """

    def guessed(request: bytes) -> list[bytes]:
        right = bytes(pcp_answer(request))
        if request[1] == 0:
            return [right]
        evil = bytes(pcp_answer(request, EVIL))
        return [evil[:24] + bytes(12) + evil[36:], evil[:40], evil + bytes(2000), b"", right]

    async with pcp(monkeypatch, lambda request: [bytes(pcp_answer(request, EVIL))], guessed) as asked:
        mapped = await soon(asked.map(Transport.UDP, 40000, None))
    assert isinstance(mapped, Mapped)
    assert mapped.external != EVIL
