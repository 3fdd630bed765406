import errno
import os
from ipaddress import IPv4Address, IPv6Address, ip_address

import ifaddr
import pytest
from p2p_core.errors import NoPath
from p2p_peer.gather.interfaces import local_addresses


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
