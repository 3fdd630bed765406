import asyncio
import errno
import ipaddress
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from p2p_core.errors import NoPath, UsageError
from p2p_core.wire.candidate import Address
from p2p_peer.serverless import tcp_port
from p2p_peer.serverless.tcp_port import Place, addresses_of, dial, listen, look_up, why_not

from tests.peer.pair import soon

HERE = "127.0.0.1"


@pytest.fixture
def listeners() -> Iterator[list[socket.socket]]:
    made: list[socket.socket] = []
    yield made
    for listener in made:
        listener.close()


async def test_one_port_in_both_families(listeners: list[socket.socket]) -> None:
    listeners += await listen(None, 0, None)
    assert {listener.family for listener in listeners} == {socket.AF_INET, socket.AF_INET6}
    [port] = {listener.getsockname()[1] for listener in listeners}
    for place in (Place(socket.AF_INET, (HERE, port)), Place(socket.AF_INET6, ("::1", port, 0, 0))):
        (await soon(dial(place))).close()
    assert {address.port for address in addresses_of(listeners)} == {port}
    assert not any(address.ip.is_unspecified for address in addresses_of(listeners))


@pytest.mark.parametrize(("version", "family"), [(4, socket.AF_INET), (6, socket.AF_INET6)])
async def test_one_family(listeners: list[socket.socket], version: int, family: int) -> None:
    listeners += await listen(None, 0, version)
    assert [listener.family for listener in listeners] == [family]


async def test_a_computer_without_ipv6(listeners: list[socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    real = tcp_port._listening

    def listening(place: Place, port: int) -> socket.socket:
        if place.family == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        return real(place, port)

    monkeypatch.setattr(tcp_port, "_listening", listening)
    listeners += await listen(None, 0, None)
    assert [listener.family for listener in listeners] == [socket.AF_INET]
    with pytest.raises(UsageError, match=r"^this computer has no IPv6$") as caught:
        await listen(None, 0, 6)
    assert caught.value.advice == "Leave out --ipv6."
    with pytest.raises(UsageError, match=r"^::1 is no address of this computer$"):
        await listen("::1", 0, 6)


@pytest.mark.parametrize(
    ("version", "why", "advice"),
    [
        (4, "this computer has no IPv4", "Leave out --ipv4."),
        (6, "this computer has no IPv6", "Leave out --ipv6."),
        (None, "this computer has neither IPv4 nor IPv6", "Connect it to a network."),
    ],
)
async def test_a_computer_that_has_no_address_to_listen_at(
    monkeypatch: pytest.MonkeyPatch, version: int | None, why: str, advice: str
) -> None:
    async def getaddrinfo(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(UsageError) as caught:
        await listen(None, 0, version)
    assert (str(caught.value), caught.value.advice) == (why, advice)


async def test_a_port_that_is_taken_in_one_family_only() -> None:
    """The other side may come over either: half a port would be a riddle."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"^port {port} is taken: another program listens at \[::\]:{port}$"):
            await listen(None, port, None)


async def test_a_port_for_the_administrator(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(place: Place, port: int) -> socket.socket:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tcp_port, "_listening", refused)
    with pytest.raises(UsageError, match=r"^this user may not listen at port 443$"):
        await listen(HERE, 443, None)


async def test_a_host_that_is_none() -> None:
    with pytest.raises(UsageError, match=r"^cannot listen at a\.\.b: that is no name of a computer$"):
        await listen("a..b", 0, None)


async def test_addresses_that_cannot_be_listed(listeners: list[socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Any:
        raise NoPath("no")

    monkeypatch.setattr(tcp_port, "local_addresses", fail)
    listeners += await listen(None, 0, 4)
    assert [address.host for address in addresses_of(listeners)] == [HERE]


async def test_loopback_is_no_place_for_others_to_dial(
    listeners: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a computer without IPv6 but for that; unless one listens there alone."""
    monkeypatch.setattr(tcp_port, "local_addresses", lambda: [ipaddress.ip_address("192.0.2.1")])
    listeners += await listen(None, 0, None)
    assert [address.host for address in addresses_of(listeners)] == ["192.0.2.1"]
    listeners += await listen("::1", 0, None)
    assert [address.host for address in addresses_of(listeners[-1:])] == ["::1"]


async def test_an_address_is_looked_up_as_it_is() -> None:
    [place] = await look_up(HERE, 80, None)
    assert place.address == Address.of(HERE, 80)
    with pytest.raises(socket.gaierror):
        await look_up(HERE, 80, 6)


async def test_an_address_of_one_link_keeps_its_interface() -> None:
    [(index, name), *_] = socket.if_nameindex()
    [place] = await look_up(f"fe80::1%{name}", 80, None)
    assert place.name[1:] == (80, 0, index)


async def test_a_name_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(tcp_port, "LOOK_UP_TIME", 0.01)
    with pytest.raises(OSError, match=r"no name server has answered within 0\.01 s"):
        await look_up("bob.example", 80, None)


@pytest.mark.parametrize(
    ("error", "clause"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('192.0.2.1', 80)"), "nobody listens there"),
        (TimeoutError(), "no answer"),
        (TimeoutError(errno.ETIMEDOUT, "Connect call failed ('192.0.2.1', 80)"), "no answer"),
        (OSError(errno.ENETUNREACH, "Connect call failed ('192.0.2.1', 80)"), "Network is unreachable"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
    ],
)
def test_why_no_connection_came_up(error: OSError, clause: str) -> None:
    assert why_not(error) == clause
