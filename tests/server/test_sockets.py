"""Sockets to serve on, TCP and UDP alike."""

import asyncio
import socket

import pytest
from p2p_core.errors import UsageError
from p2p_core.wire.candidate import Transport
from p2p_server.sockets import listen

from tests.server.conftest import ipv6

KINDS = {Transport.TCP: socket.SOCK_STREAM, Transport.UDP: socket.SOCK_DGRAM}


@ipv6
@pytest.mark.parametrize("transport", Transport)
async def test_a_name_with_two_addresses_is_one_port(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    async def both(*_: object, **__: object) -> list[object]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
    sockets = await listen("a.name", 0, transport)
    monkeypatch.undo()
    assert [one.type for one in sockets] == [KINDS[transport]] * 2
    assert len({one.getsockname()[1] for one in sockets}) == 1
    for one in sockets:
        one.close()


@ipv6
@pytest.mark.parametrize("transport", Transport)
async def test_all_addresses_are_one_socket_for_both_families(transport: Transport) -> None:
    (sock,) = await listen("", 0, transport)
    with sock:
        assert not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


@pytest.mark.parametrize(("transport", "name"), [(Transport.TCP, "port"), (Transport.UDP, "UDP port")])
async def test_a_port_that_is_taken_is_named(transport: Transport, name: str) -> None:
    (taken,) = await listen("127.0.0.1", 0, transport)
    with taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"127.0.0.1, {name} {port}: it is in use") as error:
            await listen("127.0.0.1", port, transport)
        assert f"'sport = :{port}' shows who has it" in error.value.advice
        with pytest.raises(UsageError, match=r"it is in use") as error:
            await listen("127.0.0.1", port, transport, advice="Choose another.")
        assert error.value.advice.endswith(" Choose another.")


async def test_a_name_that_does_not_exist_is_named() -> None:
    with pytest.raises(UsageError, match=r"no-such-host\.invalid"):
        await listen("no-such-host.invalid", 0)
