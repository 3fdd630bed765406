from hypothesis import given
from hypothesis import strategies as st
from p2p_core.targets import MAX_TARGETS, dialable
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport

from tests.core.wire_strategies import ADDRESSES, CANDIDATES


def tcp(host: str, port: int = 5000) -> Candidate:
    return Candidate(CandidateKind.HOST, Transport.TCP, Address.of(host, port))


OWN = [tcp("192.0.2.1")]
OWN_LOOPBACK = [tcp("127.0.0.1", 4000)]


def hosts(*offered: str, own: list[Candidate] = OWN) -> list[str]:
    return [address.host for address in dialable(map(tcp, offered), Transport.TCP, own=own)]


def test_ordinary_addresses_are_dialled_in_their_order() -> None:
    offered = ("203.0.113.9", "10.0.0.7", "2001:db8::7", "192.168.1.7", "fd00::7", "100.64.0.7")
    assert hosts(*offered) == list(offered)


def test_nobodys_group_broadcast_or_link_is_dialled() -> None:
    assert hosts("0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "169.254.1.1", "fe80::1") == []


def test_nothing_reserved_is_dialled_nor_anything_of_that_inside_ipv6() -> None:
    assert hosts("0.0.0.1", "240.0.0.1", "255.0.0.1", "64:ff9b::7f00:1", "64:ff9b::e000:1", "2002:7f00:1::1") == []
    assert hosts("2001:db8::5efe:7f00:1", "2001:db8::200:5efe:7f00:1", "2001:0:1:1:8000:1:80ff:fffe") == []
    within = (  # 203.0.113.9, by NAT64, 6to4, ISATAP and Teredo
        "64:ff9b::cb00:7109",
        "2002:cb00:7109::1",
        "2001:db8::5efe:cb00:7109",
        "2001:0:1:1:8000:1:34ff:8ef6",
    )
    assert hosts(*within) == list(within)


def test_no_way_of_old_to_write_ipv4_in_ipv6_is_dialled_nor_what_leads_nowhere() -> None:
    assert hosts("::7f00:1", "::cb00:7109", "::ffff:0:7f00:1", "::ffff:0:cb00:7109", "64:ff9b:1::7f00:1") == []
    assert hosts("100::1", "fec0::1", "feff:ffff::1") == []
    assert hosts("100:0:0:1::1", "64:ff9b:2::1", "fc00::1") == ["100:0:0:1::1", "64:ff9b:2::1", "fc00::1"]


def test_relay_candidates_are_reserved() -> None:
    address = {kind: Address.of("203.0.113.9", 5000 + n) for n, kind in enumerate(CandidateKind)}
    offered = [Candidate(kind, Transport.TCP, each) for kind, each in address.items()]
    del address[CandidateKind.RELAY]
    assert dialable(offered, Transport.TCP, own=OWN) == list(address.values())


def test_loopback_is_dialled_only_between_peers_on_one_machine() -> None:
    loopback = ("127.0.0.1", "127.8.9.10", "::1")
    assert hosts(*loopback) == []
    assert hosts(*loopback, own=OWN_LOOPBACK) == list(loopback)


def test_a_stun_server_that_shows_us_at_loopback_does_not_open_it() -> None:
    shown = [*OWN, Candidate(CandidateKind.SERVER_REFLEXIVE, Transport.TCP, Address.of("127.0.0.1", 4000))]
    assert hosts("127.0.0.1", "::1", own=shown) == []


def test_loopback_in_another_spelling_is_loopback() -> None:
    mapped = Address.from_packed(bytes(10) + b"\xff\xff\x7f\0\0\1", 22)  # ::ffff:127.0.0.1
    offered = [Candidate(CandidateKind.HOST, Transport.TCP, mapped)]
    assert dialable(offered, Transport.TCP, own=OWN) == []


def test_our_own_address_is_not_dialled_but_its_other_ports_are() -> None:
    offered = [tcp("192.0.2.1"), tcp("192.0.2.1", 5001)]
    assert dialable(offered, Transport.TCP, own=OWN) == [Address.of("192.0.2.1", 5001)]


def test_only_the_transport_asked_for() -> None:
    udp = Candidate(CandidateKind.HOST, Transport.UDP, Address.of("203.0.113.9", 5000))
    assert dialable([udp, tcp("203.0.113.8")], Transport.TCP, own=OWN) == [Address.of("203.0.113.8", 5000)]
    assert dialable([udp, tcp("203.0.113.8")], Transport.UDP, own=OWN) == [udp.address]


def test_however_many_are_offered_few_are_dialled() -> None:
    offered = [f"203.0.113.{n}" for n in range(1, 33)]
    assert hosts(*offered) == offered[:16]
    assert MAX_TARGETS == 16


def observed_at(host: str, *offered: Candidate, transport: Transport = Transport.TCP) -> list[str]:
    return [str(address) for address in dialable(offered, transport, own=OWN, observed=Address.of(host, 40_000))]


def test_without_stun_the_observed_address_is_tried_last_with_the_ports_offered() -> None:
    offered = [tcp("10.0.0.7", 5002), tcp("10.0.0.8", 5001), tcp("203.0.113.9", 5001)]
    guessed = ["10.0.0.7:5002", "10.0.0.8:5001", "203.0.113.9:5001", "203.0.113.9:5002"]
    assert observed_at("203.0.113.9", *offered) == guessed


def test_with_stun_it_is_not() -> None:
    reflexive = Candidate(CandidateKind.SERVER_REFLEXIVE, Transport.TCP, Address.of("203.0.113.5", 6000))
    assert observed_at("203.0.113.9", reflexive, tcp("10.0.0.7")) == ["203.0.113.5:6000", "10.0.0.7:5000"]
    udp = Candidate(CandidateKind.HOST, Transport.UDP, Address.of("10.0.0.7", 5000))
    udp_too = ["10.0.0.7:5000", "203.0.113.9:5000"]
    assert observed_at("203.0.113.9", reflexive, udp, transport=Transport.UDP) == udp_too, "STUN over TCP says nothing"


def test_an_observed_address_is_dialled_as_little_as_an_offered_one() -> None:
    assert observed_at("127.0.0.1", tcp("10.0.0.7")) == ["10.0.0.7:5000"]
    assert observed_at("203.0.113.9") == []


@given(st.lists(CANDIDATES, max_size=40), st.lists(CANDIDATES, max_size=4), st.none() | ADDRESSES)
def test_whatever_is_offered(offered: list[Candidate], own: list[Candidate], observed: Address | None) -> None:
    found = dialable(offered, Transport.TCP, own=own, observed=observed)
    assert len(found) == len(set(found)) <= MAX_TARGETS
    ips = {candidate.address.ip for candidate in offered} | ({observed.ip} if observed is not None else set())
    assert {address.ip for address in found} <= ips
    assert {address.port for address in found} <= {candidate.address.port for candidate in offered}
    assert not set(found) & {candidate.address for candidate in own}
    assert not any(address.ip.is_multicast or address.ip.is_link_local for address in found)
    if not any(candidate.address.ip.is_loopback for candidate in own):
        assert not any(address.ip.is_loopback for address in found)
