import errno
import socket
from contextlib import closing
from ipaddress import IPv4Address
from typing import Any

import pytest
from p2p_core.errors import NoPath
from p2p_core.wire.candidate import Address
from p2p_peer.gather import punch_port
from p2p_peer.gather.interfaces import Local
from p2p_peer.gather.punch_port import PunchPort

from tests.peer.pair import Ports


def families(port: PunchPort) -> list[int]:
    return [listener.family for listener in port.listeners]


def test_one_number_in_both_families() -> None:
    with Ports() as (port, other):
        assert port.number != other.number
        assert {listener.getsockname()[1] for listener in port.listeners} == {port.number}
        assert families(port) in ([socket.AF_INET, socket.AF_INET6], [socket.AF_INET])


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_listens_and_dials_from_its_number(family: int, host: str) -> None:
    with Ports() as (port, other):
        if family not in families(port):
            pytest.skip("no IPv6 on this machine")
        target = Address.of(host, other.number)
        with port.socket_towards(target) as dialling:
            dialling.setblocking(True)
            dialling.connect((host, other.number))
            assert dialling.getsockname()[1] == port.number
            listener = next(listener for listener in other.listeners if listener.family == family)
            listener.setblocking(True)
            accepted, name = listener.accept()
            accepted.close()
            assert name[1] == port.number


def test_sockets_never_block() -> None:
    with Ports() as (port, _), port.socket_towards(Address.of("127.0.0.1", 9)) as dialling:
        assert [sock.gettimeout() for sock in (*port.listeners, dialling)] == [0.0] * (1 + len(port.listeners))


def test_closed_after_use() -> None:
    with Ports() as (port, _):
        pass
    assert all(listener.fileno() == -1 for listener in port.listeners)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port.number))


def test_without_ipv6_there_is_one_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, socket.AF_INET6, errno.EAFNOSUPPORT)
    port = PunchPort.open()
    assert families(port) == [socket.AF_INET]
    port.close()


def test_a_number_that_is_taken_in_ipv6_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = refuse(monkeypatch, socket.AF_INET6, errno.EADDRINUSE, times=3)
    port = PunchPort.open()
    assert len(numbers) == 3
    assert len(families(port)) == 2
    port.close()


def test_no_number_free_in_both_families(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, socket.AF_INET6, errno.EADDRINUSE)
    with pytest.raises(NoPath, match="no TCP port that is free"):
        PunchPort.open()


def test_no_socket_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, socket.AF_INET, errno.EMFILE)
    with pytest.raises(NoPath, match="Too many open files"):
        PunchPort.open()


@pytest.mark.parametrize(
    ("version", "family", "other"), [(4, socket.AF_INET, "::1"), (6, socket.AF_INET6, "127.0.0.1")]
)
def test_one_ip_version_alone(version: int, family: int, other: str) -> None:
    port = PunchPort.open(Local(version))
    with closing(port):
        assert families(port) == [family]
        with pytest.raises(OSError, match="not supported"):
            port.socket_towards(Address.of(other, 9))


def test_one_address_alone() -> None:
    with closing(PunchPort.open(Local(bind=IPv4Address("127.0.0.5")))) as port:
        assert [listener.getsockname() for listener in port.listeners] == [("127.0.0.5", port.number)]
        with port.socket_towards(Address.of("127.0.0.1", 9)) as dialling:
            assert dialling.getsockname() == ("127.0.0.5", port.number)


def test_an_address_this_machine_does_not_have() -> None:
    with pytest.raises(NoPath, match=r"cannot listen on a TCP port: .*assign"):
        PunchPort.open(Local(bind=IPv4Address("203.0.113.77")))


def refuse(monkeypatch: pytest.MonkeyPatch, family: int, number: int, times: int = 1000) -> list[int]:
    """Let binding in `family` fail with `number`, the first `times` times; return the ports it was tried for."""
    refused: list[int] = []
    real = punch_port._bound

    def bound(wanted: Any, port: int, local: Local) -> socket.socket:
        if wanted == family and len(refused) < times:
            refused.append(port)
            raise OSError(number, errno.errorcode[number] if number != errno.EMFILE else "Too many open files")
        return real(wanted, port, local)

    monkeypatch.setattr(punch_port, "_bound", bound)
    return refused
