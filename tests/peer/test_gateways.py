import errno
import os
import sys
from ipaddress import IPv4Address
from pathlib import Path

import ifaddr
import pytest
from p2p_peer.gather.port_mapping import gateways
from p2p_peer.gather.port_mapping.gateways import Gateway, find_gateways

HEADER = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
HOME, OFFICE, PUBLIC = IPv4Address("192.168.1.7"), IPv4Address("10.1.0.10"), IPv4Address("203.0.113.9")


def hexadecimal(address: str) -> str:
    return int.from_bytes(IPv4Address(address).packed, sys.byteorder).to_bytes(4, "big").hex().upper()


def route(
    router: str, *, interface: str = "eth0", to: str = "0.0.0.0", mask: str = "0.0.0.0", flags: int = 3, metric: int = 0
) -> str:
    columns = [interface, hexadecimal(to), hexadecimal(router), f"{flags:04X}", "0", "0", str(metric)]
    return "\t".join([*columns, hexadecimal(mask), "0", "0", "0"]) + "   \n"


def give(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, routes: str, *addresses: tuple[IPv4Address, int]) -> None:
    (tmp_path / "route").write_text(HEADER + routes)
    monkeypatch.setattr(gateways, "ROUTES", tmp_path / "route")
    monkeypatch.setattr(sys, "platform", "linux")
    ips = [ifaddr.IP(str(ip), prefix, "eth0") for ip, prefix in addresses]
    ips += [ifaddr.IP("127.0.0.1", 8, "lo"), ifaddr.IP(("fd00::7", 0, 0), 64, "eth0")]
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: [ifaddr.Adapter("eth0", "eth0", ips)])


def test_the_routers_of_the_default_routes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    routes = [
        route("10.1.0.1", metric=600),
        route("0.0.0.0", to="192.168.1.0", mask="255.255.255.0", flags=1),
        route("192.168.1.1", metric=100),
        route("192.168.1.2", to="172.16.0.0", mask="255.240.0.0"),
        route("192.168.1.3", flags=2),
    ]
    give(monkeypatch, tmp_path, "".join(routes), (HOME, 24), (OFFICE, 16))
    assert find_gateways([OFFICE, HOME]) == [
        Gateway(IPv4Address("192.168.1.1"), HOME),
        Gateway(IPv4Address("10.1.0.1"), OFFICE),
    ]
    assert find_gateways([OFFICE]) == [Gateway(IPv4Address("10.1.0.1"), OFFICE)]


def test_who_is_not_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A public address needs no mapping; a router outside of our networks, or a public one, is no home's."""
    routes = [route("203.0.113.1"), route("192.168.2.1"), route("10.1.0.10"), route("8.8.8.8")]
    give(monkeypatch, tmp_path, "".join(routes), (HOME, 24), (OFFICE, 32), (PUBLIC, 24))
    assert find_gateways([HOME, OFFICE, PUBLIC]) == []


def test_not_too_many_are_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    routes = "".join(route(f"10.1.0.{number}") for number in range(1, 9))
    give(monkeypatch, tmp_path, routes, (OFFICE, 24))
    assert len(find_gateways([OFFICE])) == gateways.MAX_GATEWAYS


@pytest.mark.parametrize(
    "routes", ["", "eth0\n", "eth0\tx\ty\tz\t0\t0\t0\t0\n", route("10.1.0.1").replace("0000", "é")]
)
def test_routes_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, routes: str) -> None:
    give(monkeypatch, tmp_path, routes, (OFFICE, 24))
    assert find_gateways([OFFICE]) == []
    (tmp_path / "route").unlink()
    assert find_gateways([OFFICE]) == []


def test_where_no_file_tells_the_first_address_is_a_guess(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    give(monkeypatch, tmp_path, "", (HOME, 24), (OFFICE, 16), (PUBLIC, 24), (IPv4Address("172.16.0.1"), 24))
    monkeypatch.setattr(sys, "platform", "darwin")
    assert find_gateways([HOME, OFFICE, PUBLIC, IPv4Address("172.16.0.1")]) == [
        Gateway(IPv4Address("192.168.1.1"), HOME),
        Gateway(IPv4Address("10.1.0.1"), OFFICE),
    ]


def test_a_machine_that_does_not_tell_its_addresses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def get_adapters() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    give(monkeypatch, tmp_path, route("192.168.1.1"))
    monkeypatch.setattr(ifaddr, "get_adapters", get_adapters)
    assert find_gateways([HOME]) == []
