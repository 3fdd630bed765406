"""What STUN is answered on, and what peers are told of it."""

import socket
from collections import Counter
from contextlib import closing, suppress
from dataclasses import replace

import pytest
from p2p_core.errors import UsageError
from p2p_core.wire.candidate import Transport
from p2p_server.config import Config, HostPort, StunServer
from p2p_server.sockets import listen
from p2p_server.stun_ports import StunPorts, warn_of_unknown

from tests.server.logged import events


def bound(ports: StunPorts) -> set[tuple[str, int, int]]:
    """Which addresses and ports, by kind of socket."""
    return {(*sock.getsockname()[:2], sock.type) for sock in ports.sockets}


async def two_free_ports() -> int:
    """The first of two TCP ports in a row that nobody has."""
    while True:
        (first,) = await listen("127.0.0.1", 0)
        port: int = first.getsockname()[1]
        with first, suppress(UsageError, OverflowError):
            (second,) = await listen("127.0.0.1", port + 1)
            second.close()
            return port


async def test_two_ports_over_each_transport(config: Config) -> None:
    with closing(await StunPorts.bind(config)) as ports:
        assert Counter((server.host, server.transport) for server in ports.servers) == {
            ("", Transport.UDP): 2,
            ("", Transport.TCP): 2,
        }
        assert len(bound(ports)) == 4
        kinds = {Transport.UDP: socket.SOCK_DGRAM, Transport.TCP: socket.SOCK_STREAM}
        assert bound(ports) == {("127.0.0.1", server.port, kinds[server.transport]) for server in ports.servers}
        assert ports.port == ports.servers[2].port


async def test_a_second_address_has_the_same_ports_and_is_named(config: Config) -> None:
    with closing(await StunPorts.bind(replace(config, stun_host="127.0.0.2"))) as ports:
        numbers = {server.port for server in ports.servers if not server.host}
        for host in ("127.0.0.1", "127.0.0.2"):
            assert {port for at, port, _ in bound(ports) if at == host} == numbers
        udp, _, tcp, _, *second = ports.servers
        assert second == [replace(udp, host="127.0.0.2"), replace(tcp, host="127.0.0.2")]


async def test_all_addresses_have_the_second_among_them(config: Config) -> None:
    with closing(await StunPorts.bind(replace(config, host="", stun_host="127.0.0.2"))) as ports:
        assert len(ports.sockets) <= 8
        assert [server.host for server in ports.servers] == ["", "", "", "", "127.0.0.2", "127.0.0.2"]


async def test_an_instance_among_several_is_named(config: Config) -> None:
    advertised = replace(config, advertise=HostPort("a.mediator.example", 54700), stun_host="127.0.0.2")
    with closing(await StunPorts.bind(advertised)) as ports:
        assert [server.host for server in ports.servers] == ["a.mediator.example"] * 4 + ["127.0.0.2"] * 2


async def test_numbers_that_were_asked_for(config: Config) -> None:
    (peers,) = await listen("127.0.0.1", 0, Transport.UDP)
    port = peers.getsockname()[1]
    peers.close()
    stun_port = await two_free_ports()
    with closing(await StunPorts.bind(replace(config, port=port, stun_port=stun_port))) as ports:
        assert [(server.transport, server.port) for server in ports.servers] == [
            (Transport.UDP, port),
            (Transport.UDP, stun_port),
            (Transport.TCP, stun_port),
            (Transport.TCP, stun_port + 1),
        ]


async def test_a_udp_port_that_is_taken_is_named_and_nothing_stays_bound(config: Config) -> None:
    (taken,) = await listen("127.0.0.1", 0, Transport.UDP)
    with taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"127.0.0.1, UDP port {port}: it is in use"):
            await StunPorts.bind(replace(config, stun_port=port))


@pytest.mark.parametrize("host", ["", "127.0.0.1"])
async def test_a_second_address_is_one_of_this_machine(config: Config, host: str) -> None:
    with pytest.raises(UsageError, match=r"192\.0\.2\.1: that is not an address of this computer"):
        await StunPorts.bind(replace(config, host=host, stun_host="192.0.2.1"))


async def test_a_server_of_others_that_nobody_knows_is_told(caplog: pytest.LogCaptureFixture) -> None:
    await warn_of_unknown(
        [StunServer("127.0.0.1", 1, Transport.UDP), StunServer("no-such-host.invalid", 2, Transport.TCP)]
    )
    (event,) = events(caplog)
    assert (event["event"], event["server"]) == ("stun-server-unknown", "no-such-host.invalid:2/tcp")
    assert event["level"] == "warning"
