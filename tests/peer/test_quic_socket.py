"""Datagrams in bulk, between real sockets; and what becomes of them where the system cannot do it."""

import errno
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from p2p_peer.channel.quic_socket import QuicSocket

from tests.peer.quic_pair import udp_socket

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes many datagrams in one call")


class Watched:
    """A socket that counts what it is asked for, and fails as it is told."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.calls: list[int] = []  # the number of datagrams of each
        self.errors: list[int | None] = []  # of the next calls that send

    def sendmsg(self, buffers: list[bytes], *rest: Any) -> int:
        self._count(len(buffers))
        return self._sock.sendmsg(buffers, *rest)

    def sendto(self, data: bytes, address: Any) -> int:
        self._count(1)
        return self._sock.sendto(data, address)

    def _count(self, datagrams: int) -> None:
        self.calls.append(datagrams)
        if self.errors and (number := self.errors.pop(0)) is not None:
            raise BlockingIOError if number == errno.EAGAIN else OSError(number, "as told")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


@pytest.fixture
def sender() -> Iterator[QuicSocket]:
    made = QuicSocket(Watched(udp_socket()))  # type: ignore[arg-type]
    yield made
    made.close()


@pytest.fixture
def receiver() -> Iterator[QuicSocket]:
    made = QuicSocket(udp_socket())
    yield made
    made.close()


def datagrams(*sizes: int) -> list[bytes]:
    return [bytes([number % 256]) * size for number, size in enumerate(sizes)]


def towards(receiver: QuicSocket, sent: list[bytes]) -> list[tuple[bytes, tuple[str, int]]]:
    return [(data, receiver.socket.getsockname()) for data in sent]


def all_of_it(receiver: QuicSocket) -> list[bytes]:
    came = []
    while (received := receiver.receive()) is not None:
        data, size, _ = received
        came += [data[at : at + size] for at in range(0, len(data), size)]
    return came


def calls(sender: QuicSocket) -> list[int]:
    watched: Any = sender.socket
    return watched.calls


def fail(sender: QuicSocket, *errors: int | None) -> None:
    watched: Any = sender.socket
    watched.errors = list(errors)


@linux
@pytest.mark.parametrize(
    ("sizes", "in_calls"),
    [
        ([1200], [1]),
        ([1200, 1200], [2]),
        ([1200] * 3 + [7], [4]),  # a shorter one may be the last
        ([1200, 7, 1200], [2, 1]),
        ([7, 1200, 1200], [1, 2]),
        ([1472] * 100, [44, 44, 12]),  # an IP packet's bytes
        ([100] * 100, [64, 36]),
        ([65000, 65000], [1, 1]),
    ],
)
def test_those_of_one_size_go_together(
    sender: QuicSocket, receiver: QuicSocket, sizes: list[int], in_calls: list[int]
) -> None:
    sent = datagrams(*sizes)
    sender.send(towards(receiver, sent))
    assert all_of_it(receiver) == sent
    assert calls(sender) == in_calls


@linux
def test_those_for_others_do_not(sender: QuicSocket, receiver: QuicSocket) -> None:
    other = QuicSocket(udp_socket())
    sent = datagrams(*[1200] * 4)
    first, second = towards(receiver, sent), towards(other, sent)
    sender.send([first[0], first[1], second[2], first[3]])
    assert all_of_it(receiver) == [sent[0], sent[1], sent[3]]
    assert all_of_it(other) == [sent[2]]
    assert calls(sender) == [2, 1, 1]
    other.close()


@pytest.mark.parametrize("number", [errno.EIO, errno.EINVAL])
def test_a_way_out_that_takes_them_one_by_one(sender: QuicSocket, receiver: QuicSocket, number: int) -> None:
    fail(sender, number)
    sent = datagrams(*[1200] * 10)
    sender.send(towards(receiver, sent))
    assert all_of_it(receiver) == sent
    assert not sender.has_gso
    sender.send(towards(receiver, sent))
    assert all_of_it(receiver) == sent
    assert set(calls(sender)[1:]) == {1}


@pytest.mark.parametrize("number", [errno.EMSGSIZE, errno.ENETUNREACH, errno.EPERM, errno.ECONNREFUSED])
def test_what_does_not_get_out_is_lost(sender: QuicSocket, receiver: QuicSocket, number: int) -> None:
    fail(sender, number)
    sent = datagrams(1200, 1300)
    sender.send(towards(receiver, sent))
    assert all_of_it(receiver) == sent[1:]
    assert not sender.is_full


def test_what_the_system_has_no_room_for_waits(sender: QuicSocket, receiver: QuicSocket) -> None:
    fail(sender, None, errno.EAGAIN)
    sent = datagrams(1200, 1300, 1400)
    sender.send(towards(receiver, sent))
    assert sender.is_full
    assert all_of_it(receiver) == sent[:1]
    sender.send()
    assert not sender.is_full
    assert all_of_it(receiver) == sent[1:]


def test_a_source(sender: QuicSocket, receiver: QuicSocket) -> None:
    sender.send(towards(receiver, datagrams(5)))
    assert receiver.receive() == (bytes(5), 5, sender.socket.getsockname())
    assert receiver.receive() is None


@linux
def test_no_packet_is_cut_up(sender: QuicSocket) -> None:
    assert sender.finds_mtu
    assert sender.socket.getsockopt(socket.IPPROTO_IP, 10) == 3  # IP_MTU_DISCOVER, IP_PMTUDISC_PROBE
    six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    assert QuicSocket(six).finds_mtu
    assert six.getsockopt(socket.IPPROTO_IPV6, 23) == 3
    six.close()
