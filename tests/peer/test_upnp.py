import asyncio
import math
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

import pytest
from p2p_core.wire.candidate import Address, Transport
from p2p_peer.gather.port_mapping import http, ssdp, upnp
from p2p_peer.gather.port_mapping.gateways import Gateway
from p2p_peer.gather.port_mapping.http import Location
from p2p_peer.gather.port_mapping.mapper import LIFETIME, Mapped, MappingFailed
from p2p_peer.gather.port_mapping.upnp import Upnp

from tests.peer.fake_gateway import GATEWAY, WebServer, http_answer, web_server
from tests.peer.pair import soon, until
from tests.peer.test_soap import IP1, IP2, PPP, described, envelope, fault

OUTSIDE = "203.0.113.5"


class Router:
    """An Internet Gateway Device: keeps mappings, and fails as it is told to."""

    def __init__(self, *services: str) -> None:
        self.services = services or (IP1,)
        self.external = dict.fromkeys(self.services, OUTSIDE)
        self.taken: set[int] = set()  # ports that others have mapped
        self.faults: dict[str, int] = {}  # by action
        self.only_permanent = False
        self.reserved: str | None = None  # what AddAnyPortMapping gives, if not what is asked for
        self.mappings: dict[tuple[str, int], dict[str, str]] = {}
        self.calls: list[str] = []

    def answer(self, first: str, body: bytes) -> bytes | None:
        path = first.split()[1]
        if path == "/desc.xml":
            return http_answer(described(*((kind, f"/{number}") for number, kind in enumerate(self.services))))
        match = re.search(r"<u:(\w+) xmlns:u=\"([^\"]+)\">(.*)</u:", body.decode("ascii"))
        assert match is not None
        action, kind = match[1], match[2]
        assert kind == self.services[int(path[1:])]
        self.calls.append(action)
        values = dict(re.findall(r"<(\w+)>([^<]*)</", match[3]))
        try:
            given = "".join(f"<{k}>{v}</{k}>" for k, v in self._call(kind, action, values).items())
        except KeyError as error:
            return http_answer(fault(str(error.args[0])), "500 Internal Server Error")
        return http_answer(envelope(f'<u:{action}Response xmlns:u="{kind}">{given}</u:{action}Response>'))

    def _call(self, kind: str, action: str, values: dict[str, str]) -> dict[str, str]:
        if action in self.faults:
            raise KeyError(self.faults[action])
        if action == "GetExternalIPAddress":
            return {"NewExternalIPAddress": self.external[kind]}
        key = values["NewProtocol"], int(values["NewExternalPort"])
        if action == "DeletePortMapping":
            if key not in self.mappings:
                raise KeyError(714)
            del self.mappings[key]
            return {}
        if self.only_permanent and values["NewLeaseDuration"] != "0":
            raise KeyError(725)
        if action == "AddPortMapping":
            if key[1] in self.taken:
                raise KeyError(718)
            self.mappings[key] = values
            return {}
        assert action == "AddAnyPortMapping"
        port = self.reserved or str(key[1] + (key[1] in self.taken))
        if port.isdecimal():
            self.mappings[key[0], int(port)] = values
        return {"NewReservedPort": port}


@asynccontextmanager
async def serving(monkeypatch: pytest.MonkeyPatch, router: Router) -> AsyncIterator[WebServer]:
    async with web_server(router.answer) as server:

        async def find_description(_: Gateway) -> Location:
            return server.at("/desc.xml")

        monkeypatch.setattr(ssdp, "find_description", find_description)
        yield server


@asynccontextmanager
async def found(monkeypatch: pytest.MonkeyPatch, router: Router) -> AsyncIterator[Upnp]:
    async with serving(monkeypatch, router):
        yield await soon(Upnp.find(GATEWAY))


async def test_a_port_is_mapped_renewed_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    router = Router(IP1)
    async with found(monkeypatch, router) as it:
        assert it.external == IPv4Address(OUTSIDE)
        mapped = await soon(it.map(Transport.TCP, 40000, None))
        assert mapped == Mapped(Transport.TCP, 40000, Address.of(OUTSIDE, 40000), LIFETIME)
        assert router.mappings == {
            ("TCP", 40000): {
                "NewRemoteHost": "",
                "NewExternalPort": "40000",
                "NewProtocol": "TCP",
                "NewInternalPort": "40000",
                "NewInternalClient": "127.0.0.1",
                "NewEnabled": "1",
                "NewPortMappingDescription": "Punchwire",
                "NewLeaseDuration": str(LIFETIME),
            }
        }
        router.mappings.clear()
        assert await soon(it.map(Transport.TCP, 40000, mapped)) == mapped
        assert list(router.mappings) == [("TCP", 40000)]
        await soon(it.unmap(mapped))
        assert not router.mappings


async def test_a_port_that_others_have_in_version_1(monkeypatch: pytest.MonkeyPatch) -> None:
    router = Router(IP1)
    router.taken = {40000}
    async with found(monkeypatch, router) as it:
        mapped = await soon(it.map(Transport.UDP, 40000, None))
        assert mapped.external.port != 40000
        assert list(router.mappings) == [("UDP", mapped.external.port)]
        router.taken = {mapped.external.port}  # it is not asked for another when it is renewed
        with pytest.raises(MappingFailed, match="718"):
            await soon(it.map(Transport.UDP, 40000, mapped))
        router.taken = set(range(65536))
        with pytest.raises(MappingFailed, match="others have"):
            await soon(it.map(Transport.UDP, 40000, None))


async def test_a_port_that_others_have_in_version_2(monkeypatch: pytest.MonkeyPatch) -> None:
    router = Router(IP2)
    router.taken = {40000}
    async with found(monkeypatch, router) as it:
        mapped = await soon(it.map(Transport.UDP, 40000, None))
        assert mapped == Mapped(Transport.UDP, 40000, Address.of(OUTSIDE, 40001), LIFETIME)
        await soon(it.map(Transport.UDP, 40000, mapped))
        await soon(it.unmap(mapped))
    assert router.calls[1:] == ["AddAnyPortMapping", "AddPortMapping", "DeletePortMapping"]
    assert not router.mappings


async def test_a_router_that_only_says_to_be_of_version_2(monkeypatch: pytest.MonkeyPatch) -> None:
    router = Router(IP2)
    router.faults = {"AddAnyPortMapping": 401}
    async with found(monkeypatch, router) as it:
        assert (await soon(it.map(Transport.UDP, 40000, None))).external.port == 40000


@pytest.mark.parametrize("kind", [IP1, IP2])
async def test_a_router_whose_mappings_do_not_end(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    router = Router(kind)
    router.only_permanent = True
    async with found(monkeypatch, router) as it:
        assert (await soon(it.map(Transport.UDP, 40000, None))).lifetime == math.inf
        assert router.mappings["UDP", 40000]["NewLeaseDuration"] == "0"


@pytest.mark.parametrize("reserved", ["0", "65536", "-1", "x", ""])
async def test_a_port_that_does_not_exist(monkeypatch: pytest.MonkeyPatch, reserved: str) -> None:
    router = Router(IP2)
    router.reserved = reserved or " "
    async with found(monkeypatch, router) as it:
        with pytest.raises(MappingFailed, match="does not exist"):
            await soon(it.map(Transport.UDP, 40000, None))


async def test_an_error_is_told_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    router = Router(IP1)
    router.faults = {"AddPortMapping": 606}
    async with found(monkeypatch, router) as it:
        with pytest.raises(MappingFailed, match="it answers: error 606"):
            await soon(it.map(Transport.UDP, 40000, None))
        with pytest.raises(MappingFailed, match="error 714"):
            await soon(it.unmap(Mapped(Transport.UDP, 40000, Address.of(OUTSIDE, 40000), 1)))


async def test_the_way_to_the_outside_that_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    router = Router(IP2, IP1, PPP)
    router.external = {IP2: "0.0.0.0", IP1: "", PPP: OUTSIDE}
    async with found(monkeypatch, router) as it:
        assert it.external == IPv4Address(OUTSIDE)
        await soon(it.map(Transport.UDP, 40000, None))
    assert router.calls == ["GetExternalIPAddress"] * 3 + ["AddPortMapping"]


@pytest.mark.parametrize("external", ["", "0.0.0.0", "router", "::1", "1.2.3.4.5"])
async def test_no_way_to_the_outside(monkeypatch: pytest.MonkeyPatch, external: str) -> None:
    router = Router(IP1)
    router.external = {IP1: external}
    with pytest.raises(MappingFailed, match="no address on the outside"):
        async with found(monkeypatch, router):
            pass


Answer = Callable[[str, bytes], bytes | None]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda *_: http_answer(b"", "404 Not Found"), "HTTP status 404"),
        (lambda *_: http_answer(b"", "302 Found", ["Location: http://127.0.0.1:1/"]), "HTTP status 302"),
        (lambda *_: b"garbage\r\n", "not HTTP"),
        (lambda *_: http_answer(b"<a/>" * 2), "not XML"),
        (lambda *_: http_answer(b"<!DOCTYPE a><a/>"), "DOCTYPE"),
        (lambda *_: http_answer(b"<root/>"), "no address on the outside"),
        (lambda *_: http_answer(b"x" * 10**6), "too long"),
        (lambda *_: None, "no answer within 0.05 s"),
    ],
)
async def test_a_description_that_is_none(monkeypatch: pytest.MonkeyPatch, answer: Answer, why: str) -> None:
    monkeypatch.setattr(http, "ANSWER_TIME", 0.05 if "0.05" in why else 5.0)
    router = Router()
    monkeypatch.setattr(router, "answer", answer)
    with pytest.raises(MappingFailed, match=why):
        async with found(monkeypatch, router):
            pass


@pytest.mark.parametrize(
    "answer",
    [
        lambda *_: http_answer(b"", "500 Internal Server Error"),
        lambda *_: http_answer(envelope("<u:OtherResponse xmlns:u='x'/>")),
        lambda *_: http_answer(b"<!DOCTYPE a><a/>"),
        lambda *_: b"",
    ],
)
async def test_a_call_that_is_not_answered_as_it_should(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> None:
    async with serving(monkeypatch, Router()) as server:
        it = await soon(Upnp.find(GATEWAY))
        server.answer = answer
        with pytest.raises(MappingFailed, match="AddPortMapping: "):
            await soon(it.map(Transport.UDP, 40000, None))


async def test_cancelled_while_it_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch, Router()) as server:
        server.answer = lambda *_: None
        finding = asyncio.create_task(Upnp.find(GATEWAY))
        await until(lambda: len(server.requests) == 1)
        finding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await finding


def test_ports_below_1024_are_not_asked_for() -> None:
    assert upnp._FIRST_PORT + upnp._PORTS == 65536
