import errno
import os
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import ifaddr
import pytest
from p2p_core.errors import NoPath
from p2p_peer.gather.interfaces import EVERYWHERE, Local, local_addresses


def test_only_addresses_that_other_machines_may_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    ips = [
        ifaddr.IP("127.0.0.1", 8, "lo"),
        ifaddr.IP(("::1", 0, 0), 128, "lo"),
        ifaddr.IP("192.0.2.7", 24, "eth0"),
        ifaddr.IP(("2001:db8::7", 0, 0), 64, "eth0"),
        ifaddr.IP(("fe80::7", 0, 2), 64, "eth0"),
        ifaddr.IP("169.254.3.4", 16, "eth0"),
        ifaddr.IP("0.0.0.0", 0, "eth1"),
        ifaddr.IP("192.0.2.7", 24, "eth0:1"),
    ]
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: [ifaddr.Adapter("eth0", "eth0", ips)])
    assert local_addresses() == [IPv4Address("192.0.2.7"), IPv6Address("2001:db8::7")]


def test_a_machine_without_a_network_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ifaddr, "get_adapters", list)
    assert local_addresses() == []


def test_a_machine_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_adapters() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(ifaddr, "get_adapters", get_adapters)
    with pytest.raises(NoPath, match=r"^this computer's addresses cannot be listed: Too many open files$") as caught:
        local_addresses()
    assert "ulimit -n" in caught.value.advice


def test_the_addresses_of_this_machine() -> None:
    for address in local_addresses():
        assert ip_address(str(address)) == address
        assert not address.is_loopback


def test_global_ipv6_addresses_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    ips = [
        ifaddr.IP("192.0.2.7", 24, "eth0"),
        ifaddr.IP(("fd00::7", 0, 0), 64, "eth0"),
        ifaddr.IP(("2600::7", 0, 0), 64, "eth0"),
        ifaddr.IP("10.0.0.7", 24, "eth1"),
    ]
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: [ifaddr.Adapter("eth0", "eth0", ips)])
    assert list(map(str, local_addresses())) == ["2600::7", "192.0.2.7", "fd00::7", "10.0.0.7"]


V4, V6 = IPv4Address("192.0.2.7"), IPv6Address("2001:db8::7")


@pytest.mark.parametrize(
    ("local", "allowed", "families"),
    [
        (EVERYWHERE, {V4, V6}, (socket.AF_INET, socket.AF_INET6)),
        (Local(4), {V4}, (socket.AF_INET,)),
        (Local(6), {V6}, (socket.AF_INET6,)),
        (Local(bind=V4), {V4}, (socket.AF_INET,)),
        (Local(bind=V6), {V6}, (socket.AF_INET6,)),
        (Local(6, V6), {V6}, (socket.AF_INET6,)),
    ],
)
def test_what_may_be_used(
    local: Local, allowed: set[IPv4Address | IPv6Address], families: tuple[socket.AddressFamily, ...]
) -> None:
    others = IPv4Address("192.0.2.8"), IPv6Address("2001:db8::8")
    assert {ip for ip in (V4, V6) if local.allows(ip)} == allowed
    assert local.families == families
    assert not any(local.allows(ip) for ip in others) or local.bind is None
    for family in families:
        assert local.host(family) == (
            str(local.bind) if local.bind else "0.0.0.0" if family == socket.AF_INET else "::"
        )


def test_an_address_of_the_other_version_is_refused() -> None:
    with pytest.raises(NoPath, match=r"192\.0\.2\.7 is not an IPv6 address"):
        _ = Local(6, V4).families
