from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import UsageError
from p2p_core.wire.candidate import Transport
from p2p_peer.cli.network_flags import address_service, bound_address, chosen_paths, ip_version, stun_servers
from p2p_peer.cli.parser import parse
from p2p_peer.mediator import StunServer
from p2p_peer.options import Paths


def given(*flags: str) -> Any:
    return parse(["example.org", "54700", "key.pem", "peer.pem", *flags])


@pytest.mark.parametrize(
    ("flags", "paths", "version"),
    [
        ([], Paths.ANY, None),
        (["--direct-only", "--ipv4"], Paths.DIRECT_ONLY, 4),
        (["--relay-only", "--no-port-mapping"], Paths.RELAY_ONLY, None),
        (["--ipv6"], Paths.ANY, 6),
    ],
)
def test_what_is_chosen(flags: list[str], paths: Paths, version: int | None) -> None:
    options = given(*flags)
    assert (chosen_paths(options), ip_version(options)) == (paths, version)


@pytest.mark.parametrize(
    ("flags", "named"), [(["--bind", "::1"], "--bind"), (["--ipv4"], "--ipv4"), (["--ipv6"], "--ipv6")]
)
def test_what_the_relay_cannot_keep(flags: list[str], named: str) -> None:
    with pytest.raises(UsageError, match=f"{named} is about direct connections") as caught:
        chosen_paths(given("--relay-only", *flags))
    assert caught.value.advice == f"Leave out {named} or --relay-only."


def test_an_address_of_this_computer() -> None:
    assert bound_address(given()) is None
    assert bound_address(given("--bind", "127.0.0.1")) == ip_address("127.0.0.1")
    assert bound_address(given("--bind", "127.0.0.1", "--ipv4")) == ip_address("127.0.0.1")


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["eth0"], "takes an IP address of this computer, and 'eth0' is none"),
        (["127.0.0.1", "--ipv6"], "127.0.0.1 is not an IPv6 address"),
        (["::1", "--ipv4"], "::1 is not an IPv4 address"),
        (["0.0.0.0"], "0.0.0.0 is not an address that one computer has"),
        (["ff02::1"], "ff02::1 is not an address that one computer has"),
        (["192.0.2.99"], "192.0.2.99 cannot be done: this computer does not have it"),
        (["2001:db8::99"], "2001:db8::99 cannot be done: this computer does not have it"),
    ],
)
def test_no_address_of_this_computer(flags: list[str], why: str) -> None:
    with pytest.raises(UsageError, match=f"--bind {why}") as caught:
        bound_address(given("--bind", *flags))
    assert caught.value.advice


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "punchwire").mkdir()
    return lambda text: (tmp_path / "punchwire" / "config.toml").write_text(text) and None


def test_stun_servers_are_those_of_the_flags_or_of_the_configuration(configured: Callable[[str], None]) -> None:
    assert stun_servers(given()) == ()
    configured('stun = ["a"]\n')
    assert stun_servers(given()) == (StunServer("a", 3478, Transport.UDP),)
    assert stun_servers(given("--stun", "b/tcp", "--stun", "c:1")) == (
        StunServer("b", 3478, Transport.TCP),
        StunServer("c", 1, Transport.UDP),
    )


def by_token(*flags: str) -> Any:
    return parse(["token", *flags])


def test_the_address_service_is_that_of_the_flag_or_of_the_configuration(configured: Callable[[str], None]) -> None:
    assert address_service(by_token()) is None
    configured('address_service = "https://a.example/"\n')
    assert address_service(by_token()) == "https://a.example/"
    assert address_service(by_token("--address-service", "http://b.example/")) == "http://b.example/"
    with pytest.raises(UsageError, match="the address service cannot be asked: it begins neither"):
        address_service(by_token("--address-service", "b.example"))


def test_a_broken_configuration_is_told(configured: Callable[[str], None]) -> None:
    configured("stun = 1\n")
    with pytest.raises(UsageError, match="line 1"):
        stun_servers(given())
