"""What comes to a port that punches: probes, preambles, STUN, and signals that ask for another channel."""

import hmac
import socket
from collections.abc import Callable
from typing import Any

from p2p_core.errors import Malformed
from p2p_core.wire import rejoin, stun
from p2p_core.wire.candidate import Address
from p2p_core.wire.preamble import Preamble
from p2p_core.wire.probe import Probe
from p2p_core.wire.stun import BindingRequest, BindingResponse
from p2p_peer.gather.stun import StunFailed
from p2p_peer.gather.udp_socket import UdpSocket

from tests.fuzz.shapes import chosen, framed, in_loop, shown, text_of, unframed
from tests.fuzz.target import Target
from tests.vectors import pages

_KEY, _OTHER = bytes(32), bytes([1]) * 32
_SERVER = Address.of("127.0.0.1", 3478)
_STUN = ("stun-request", "stun-response-ipv4", "stun-response-ipv6")


def _authentic(data: bytes, size: int) -> bytes:
    """Return what came, or the first `size` bytes of it with the code that makes them believed."""
    way, data = chosen(data, 2)
    if not way:
        return data
    content = data[:size]
    return content + hmac.digest(_OTHER, content, "sha256")[:16]


def _record(decode: Callable[..., Any]) -> Callable[[bytes], Any]:
    return lambda data: decode(_authentic(data, 24), _KEY, _OTHER)


def _record_holds(read: Probe | Preamble) -> None:
    assert type(read).decode(read.encode(_KEY), _KEY) == read


def _rejoin(data: bytes) -> int:
    return rejoin.decode(_authentic(data, 8), _OTHER)


def _rejoin_holds(channel: int) -> None:
    assert rejoin.decode(rejoin.encode(channel, _KEY), _KEY) == channel


def _stun_holds(read: BindingRequest | BindingResponse) -> None:
    assert stun.decode(read.encode()) == read
    if isinstance(read, BindingResponse):
        shown(str(read.mapped))
    assert len(read.encode()) <= 44


def _stun_stream(data: bytes) -> BindingRequest | BindingResponse:
    """Read as it is read over TCP: the length out of the header, then what it says."""
    header = data[: stun.HEADER_BYTES].ljust(stun.HEADER_BYTES, b"\0")
    length = stun.body_length(header)
    assert length <= stun.MAX_MESSAGE_BYTES - stun.HEADER_BYTES
    return stun.decode(header + data[stun.HEADER_BYTES :][:length].ljust(length, b"\0"))


def _datagrams(data: bytes) -> list[tuple[str, bytes]]:
    """Return who got which datagram of one UDP socket, while it has asked a server."""
    taken: list[tuple[str, bytes]] = []

    async def run() -> None:
        sock = UdpSocket.open(socket.AF_INET, 0, "127.0.0.1")
        try:
            answer = sock._loop.create_future()
            sock._asked[bytes(12)] = _SERVER, answer
            sock.on_probe(lambda one, _: taken.append(("probe", one)))
            sock.on_quic(lambda one, _: taken.append(("quic", one)))
            for one in unframed(data):
                sock._sort(one, _SERVER)
            if answer.done() and not isinstance(answer.result(), StunFailed):
                assert isinstance(answer.result(), Address)
        finally:
            sock.close()

    in_loop(run)
    return taken


def _datagrams_hold(taken: list[tuple[str, bytes]]) -> None:
    """No datagram is taken for what it is not (RFC 9443 §3)."""
    for what, data in taken:
        assert (128 <= data[0] <= 191) if what == "probe" else (64 <= data[0] <= 127 or data[0] >= 192)


def _address(data: bytes) -> Address:
    return Address.of(text_of(data[2:]), int.from_bytes(data[:2]))


def _address_holds(read: Address) -> None:
    """An address has one spelling, which nobody can hide anything in."""
    assert Address.of(read.host, read.port) == read
    if not read.ip.is_link_local:
        assert Address.from_packed(read.ip.packed, read.port) == read
    assert len(str(read)) <= 64
    shown(str(read))


def _records(*names: str) -> Callable[[], list[bytes]]:
    return lambda: [bytes([way]) + pages.read(name) for way in (0, 1) for name in names]


TARGETS = (
    Target(
        name="probe",
        of=("p2p_core.wire.probe.Probe.decode", "p2p_core.wire.punch_record.unpack"),
        parse=_record(Probe.decode),
        raises=(Malformed,),
        seeds=_records("probe-initiator", "probe-answer-responder", "probe-nominate"),
        holds=_record_holds,
    ),
    Target(
        name="preamble",
        of=("p2p_core.wire.preamble.Preamble.decode",),
        parse=_record(Preamble.decode),
        raises=(Malformed,),
        seeds=_records("preamble-hello-initiator", "preamble-hello-responder", "preamble-nominate"),
        holds=_record_holds,
    ),
    Target(
        name="rejoin",
        of=("p2p_core.wire.rejoin.decode",),
        parse=_rejoin,
        raises=(Malformed,),
        seeds=_records("rejoin-initiator"),
        holds=_rejoin_holds,
    ),
    Target(
        name="stun",
        of=("p2p_core.wire.stun.decode",),
        parse=stun.decode,
        raises=(Malformed,),
        seeds=lambda: map(pages.read, _STUN),
        holds=_stun_holds,
    ),
    Target(
        name="stun-stream",
        of=("p2p_core.wire.stun.body_length",),
        parse=_stun_stream,
        raises=(Malformed,),
        seeds=lambda: map(pages.read, _STUN),
        holds=_stun_holds,
    ),
    Target(
        name="udp-socket",
        of=("p2p_peer.gather.udp_socket.UdpSocket",),
        parse=_datagrams,
        seeds=lambda: [
            framed(pages.read(name) for name in (*_STUN, "probe-initiator")),
            framed([BindingResponse(bytes(12), Address.of("127.0.0.1", 9)).encode(), b"\xc0\0\0\0\1", b"", b"\x40"]),
        ],
        holds=_datagrams_hold,
    ),
    Target(
        name="address",
        of=("p2p_core.wire.candidate.Address.of",),
        parse=_address,
        raises=(Malformed,),
        seeds=lambda: [b"\0\x50192.0.2.1", b"\0\x502001:db8::1", b"\0\x50::ffff:192.0.2.1", b"\0\x50fe80::1%eth0"],
        holds=_address_holds,
    ),
)
