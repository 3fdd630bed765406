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
    assert dialable([], Transport.TCP, own=OWN, extra=[mapped]) == []


def test_our_own_address_is_not_dialled_but_its_other_ports_are() -> None:
    offered = [tcp("192.0.2.1"), tcp("192.0.2.1", 5001)]
    assert dialable(offered, Transport.TCP, own=OWN) == [Address.of("192.0.2.1", 5001)]


def test_only_the_transport_asked_for() -> None:
    udp = Candidate(CandidateKind.HOST, Transport.UDP, Address.of("203.0.113.9", 5000))
    assert dialable([udp, tcp("203.0.113.8")], Transport.TCP, own=OWN) == [Address.of("203.0.113.8", 5000)]
    assert dialable([udp, tcp("203.0.113.8")], Transport.UDP, own=OWN) == [udp.address]


def test_however_many_are_offered_few_are_dialled() -> None:
    offered = [f"203.0.113.{n}" for n in range(1, 33)]
    assert hosts(*offered) == offered[:MAX_TARGETS]


def test_observed_addresses_come_last_and_once() -> None:
    extra = [Address.of("203.0.113.9", 5000), Address.of("203.0.113.10", 1), Address.of("127.0.0.1", 1)]
    found = dialable([tcp("203.0.113.9")], Transport.TCP, own=OWN, extra=extra)
    assert found == extra[:2]


@given(st.lists(CANDIDATES, max_size=40), st.lists(CANDIDATES, max_size=4), st.lists(ADDRESSES, max_size=4))
def test_whatever_is_offered(offered: list[Candidate], own: list[Candidate], extra: list[Address]) -> None:
    found = dialable(offered, Transport.TCP, own=own, extra=extra)
    assert len(found) == len(set(found)) <= MAX_TARGETS
    assert set(found) <= {candidate.address for candidate in offered} | set(extra)
    assert not set(found) & {candidate.address for candidate in own}
    assert not any(address.ip.is_multicast or address.ip.is_link_local for address in found)
    if not any(candidate.address.ip.is_loopback for candidate in own):
        assert not any(address.ip.is_loopback for address in found)
