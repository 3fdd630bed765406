import asyncio
import logging

import pytest
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_peer.gather import address_service
from p2p_peer.gather.address_service import AddressService
from p2p_peer.gather.http_get import Url
from p2p_peer.gather.interfaces import EVERYWHERE, Local

from tests.peer.fake_gateway import http_answer, web_server
from tests.peer.pair import soon
from tests.peer.tls_server import server_context, shown

TOLD, TOLD6 = "8.8.4.4", "2620:fe::9"  # global ones: those for documentation are not
PRIVATE, PUBLIC, PRIVATE6, PUBLIC6 = "192.168.1.5", "9.9.9.9", "fd00::5", "2620:fe::fe"
PORTS = ((Transport.TCP, 4001), (Transport.UDP, 4002))


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def at(kind: CandidateKind, *addresses: str) -> list[Candidate]:
    """Our ports at these addresses."""
    return [Candidate(kind, way, Address.of(address, port)) for address in addresses for way, port in PORTS]


def hosts(*addresses: str) -> list[Candidate]:
    return at(CandidateKind.HOST, *addresses)


def guesses(*addresses: str) -> list[Candidate]:
    return at(CandidateKind.SERVER_REFLEXIVE, *addresses)


async def asked(body: bytes | None, status: str = "200 OK") -> tuple[list[Candidate], list[str]]:
    """What comes of a service with this answer, for a private IPv4 address; and why nothing."""
    why: list[str] = []
    async with web_server(lambda *_: None if body is None else http_answer(body, status)) as server:
        service = AddressService(f"http://127.0.0.1:{server.port}/ip", EVERYWHERE, hosts(PRIVATE), why.append)
        assert await soon(service.ask(())) is not bool(why)
    return service.candidates(()), why


@pytest.mark.parametrize(
    "body",
    [TOLD, f" {TOLD}\r\n", f'{{"ip": "{TOLD}"}}', f'\n{{"country": "x", "ip":"{TOLD}"}}\n', f"::ffff:{TOLD}"],
)
async def test_an_address_is_taken_for_that_of_our_ports(body: str) -> None:
    assert await asked(body.encode()) == (guesses(TOLD), [])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>8.8.4.4</html>",
        b"8.8.4.4:1234",
        b"8.8.4.4 9.9.9.9",
        b"134744072",
        b'{"ip": 134744072}',
        b'{"ip": null}',
        b'{"ip": "8.8.4.4"',
        b'{"address": "8.8.4.4"}',
        b'["8.8.4.4"]',
        b"{" * 256,
        b"\xff\xfe8",
        "\u0668.8.4.4".encode(),  # digits, elsewhere
    ],
)
async def test_what_is_no_address(body: bytes) -> None:
    assert await asked(body) == ([], ["what it tells is no address"])


@pytest.mark.parametrize(
    ("body", "ip"),
    [
        ("192.168.1.5", "192.168.1.5"),
        ("100.64.0.1", "100.64.0.1"),
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("224.0.0.251", "224.0.0.251"),
        ("255.255.255.255", "255.255.255.255"),
        ("203.0.113.1", "203.0.113.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::1", "::1"),
    ],
)
async def test_an_address_that_is_not_public(body: str, ip: str) -> None:
    assert await asked(body.encode()) == ([], [f"the address {ip}, which it tells, is not a public one"])


async def test_an_address_of_another_version_than_that_it_was_asked_over() -> None:
    assert await asked(TOLD6.encode()) == ([], [f"it tells the address {TOLD6}, which is not IPv4"])


async def test_a_body_that_is_too_long() -> None:
    assert await asked(TOLD.encode() + b" " * 250) == ([], ["the answer is too long"])


async def test_a_status_that_is_no_success() -> None:
    assert await asked(TOLD.encode(), "404 Not Found") == ([], ["it answers with status 404"])


async def test_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address_service, "ANSWER_TIME", 0.05)
    assert await asked(None) == ([], ["no answer within 0.05 s"])


async def test_a_certificate_that_nobody_vouches_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "p2p_peer.gather")
    why: list[str] = []
    async with web_server(lambda *_: http_answer(TOLD.encode()), server_context(shown(names=["127.0.0.1"]))) as server:
        service = AddressService(f"https://127.0.0.1:{server.port}/", EVERYWHERE, hosts(PRIVATE), why.append)
        assert not await soon(service.ask(()))
    assert service.candidates(()) == server.requests == []
    [reason] = why
    assert reason.startswith("nobody vouches for its certificate (")
    assert caplog.messages == [f"the address service, over IPv4: {reason}"]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://address.example", "it begins neither with https:// nor with http://"),
        ("https://a..b/", "that is no name of a computer"),
        ("http://127.0.0.1:1/", "it is not reached"),
    ],
)
async def test_who_is_not_asked_at_all(url: str, why: str) -> None:
    told: list[str] = []
    assert not await soon(AddressService(url, EVERYWHERE, hosts(PRIVATE), told.append).ask(()))
    assert [reason.partition(" (")[0] for reason in told] == [why]


@pytest.fixture
def by_version(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, object]]:
    """Answer over each IP version; note over which, and from where."""
    over: list[tuple[int, object]] = []

    async def get(url: Url, family: int, source: object) -> bytes:
        version = {2: 4}.get(family, 6)
        over.append((version, source))
        await asyncio.sleep(0)
        return (TOLD if version == 4 else TOLD6).encode()

    monkeypatch.setattr(address_service, "get", get)
    return over


@pytest.mark.parametrize(
    ("addresses", "seen", "versions"),
    [
        ([PRIVATE], [], [4]),
        ([PRIVATE, PRIVATE6], [], [4, 6]),
        ([PRIVATE, PUBLIC6], [], [4]),  # no NAT stands before a public one
        ([PUBLIC, PRIVATE, PRIVATE6], [], [6]),
        ([PRIVATE, PRIVATE6], [4], [6]),
        ([PRIVATE, PRIVATE6], [4, 6], []),
        ([], [], []),
    ],
)
async def test_it_is_asked_over_what_nothing_is_known_of(
    by_version: list[tuple[int, object]], addresses: list[str], seen: list[int], versions: list[int]
) -> None:
    why: list[str] = []
    service = AddressService("https://address.example/", EVERYWHERE, hosts(*addresses), why.append)
    assert await soon(service.ask(seen)) is bool(versions)
    assert by_version == [(version, None) for version in versions]
    assert service.candidates(()) == guesses(*({4: TOLD, 6: TOLD6}[version] for version in versions))
    assert why == []


async def test_what_stun_sees_after_all_takes_its_place(by_version: list[tuple[int, object]]) -> None:
    service = AddressService("https://address.example/", EVERYWHERE, hosts(PRIVATE, PRIVATE6))
    await soon(service.ask(()))
    assert service.candidates([4]) == guesses(TOLD6)
    assert service.candidates([4, 6]) == []


async def test_one_version_that_fails_is_not_told_if_the_other_one_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def get(url: Url, family: int, source: object) -> bytes:
        if family != 2:
            raise OSError(101, "Network is unreachable")
        return TOLD.encode()

    monkeypatch.setattr(address_service, "get", get)
    why: list[str] = []
    service = AddressService("https://address.example/", EVERYWHERE, hosts(PRIVATE, PRIVATE6), why.append)
    assert await soon(service.ask(()))
    assert (service.candidates(()), why) == (guesses(TOLD), [])
    assert not await soon(AddressService("https://b.example/", EVERYWHERE, hosts(PRIVATE6), why.append).ask(()))
    assert why == ["it is not reached (Network is unreachable)"]


async def test_it_is_asked_from_the_address_that_is_bound(by_version: list[tuple[int, object]]) -> None:
    [host, _] = hosts(PRIVATE)
    local = Local(bind=host.address.ip)
    await soon(AddressService("https://address.example/", local, hosts(PRIVATE)).ask(()))
    assert by_version == [(4, host.address.ip)]
