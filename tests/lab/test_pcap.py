"""The capture reader, on captures made here byte by byte; test_nat reads real ones."""

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lab import pcap
from tests.lab.pcap import FIN, SYN, PcapError, Protocol

A, B = ("10.1.0.10", 40000), ("203.0.113.10", 54700)
ETHERNET = b"\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02"


def packed(address: str) -> bytes:
    return bytes(int(part) for part in address.split("."))


def ipv4(protocol: int, source: str, destination: str, segment: bytes, fragment: int = 0) -> bytes:
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, fragment, 64, protocol, 0)
    return ETHERNET + b"\x08\x00" + header + packed(source) + packed(destination) + segment


def udp(source: pcap.Endpoint, destination: pcap.Endpoint, payload: bytes) -> bytes:
    header = struct.pack("!HHHH", source[1], destination[1], 8 + len(payload), 0)
    return ipv4(17, source[0], destination[0], header + payload)


def tcp(
    source: pcap.Endpoint, destination: pcap.Endpoint, sequence: int, payload: bytes = b"", flags: int = 0
) -> bytes:
    options = bytes(12)
    offset = (20 + len(options)) // 4 << 4
    numbers = struct.pack("!HHIIBBHHH", source[1], destination[1], sequence % 2**32, 0, offset, flags, 0, 0, 0)
    return ipv4(6, source[0], destination[0], numbers + options + payload)


def capture(*frames: bytes, order: str = "<", magic: int = 0xA1B2C3D4, linktype: int = 1) -> bytes:
    header = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 262144, linktype)
    records = [struct.pack(f"{order}IIII", 7, 5, len(frame), len(frame)) + frame for frame in frames]
    return header + b"".join(records)


def streams(*frames: bytes) -> list[bytes]:
    found = pcap.tcp_streams(pcap.packets(pcap.Frame(0, frame) for frame in frames))
    return [stream.payload for stream in found]


@pytest.mark.parametrize(
    ("order", "magic", "time"),
    [
        ("<", 0xA1B2C3D4, 7.000005),
        (">", 0xA1B2C3D4, 7.000005),
        ("<", 0xA1B23C4D, 7.000000005),
    ],
)
def test_packets(order: str, magic: int, time: float) -> None:
    arp = ETHERNET + b"\x08\x06" + bytes(28)
    padded = udp(A, B, b"hi") + bytes(16)  # Ethernet fills short frames up
    fragment = ipv4(17, A[0], B[0], bytes(64), fragment=0x2000)
    content = capture(arp, padded, fragment, tcp(B, A, 9, b"x", FIN), order=order, magic=magic)
    assert pcap.packets(pcap.load(content)) == [
        pcap.Packet(time, Protocol.UDP, A, B, b"hi"),
        pcap.Packet(time, Protocol.TCP, B, A, b"x", 9, FIN),
    ]


def test_a_record_cut_off_at_the_end_is_left_out() -> None:
    whole = capture(udp(A, B, b"one"), udp(A, B, b"two"))
    for cut in range(1, 40):
        assert len(pcap.load(whole[:-cut])) == 1


def test_what_is_written_can_be_read() -> None:
    frames = [pcap.Frame(1700000000.000001, b"one"), pcap.Frame(1700000001.999999, b"")]
    assert pcap.load(pcap.dump(frames)) == frames


def test_what_is_no_capture_of_whole_ethernet_frames() -> None:
    with pytest.raises(PcapError, match="no pcap file"):
        pcap.load(b"\x0a\x0d\x0d\x0a" + bytes(30))
    with pytest.raises(PcapError, match="link type 113"):
        pcap.load(capture(linktype=113))
    with pytest.raises(PcapError, match="cut short"):
        pcap.load(capture() + struct.pack("<IIII", 0, 0, 4, 99) + bytes(4))


@given(
    content=st.binary(min_size=1, max_size=200),
    start=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(1, 50), min_size=1),
    seed=st.integers(),
)
def test_streams_survive_disorder_repetition_and_overlap(
    content: bytes, start: int, sizes: list[int], seed: int
) -> None:
    chance = random.Random(seed)
    frames = []
    position = 0
    while position < len(content):
        size = chance.choice(sizes)
        longer = size + chance.choice([0, 0, 3])
        frames += [tcp(A, B, start + 1 + position, content[position : position + longer])] * chance.choice([1, 1, 2])
        position += size
    chance.shuffle(frames)
    assert streams(tcp(A, B, start, flags=SYN), *frames) == [content]


def test_a_capture_may_begin_in_the_middle() -> None:
    assert streams(tcp(A, B, 105, b"world"), tcp(A, B, 100, b"hello")) == [b"helloworld"]


def test_a_port_used_again_is_another_stream() -> None:
    attempts = [tcp(A, B, 1000, flags=SYN), tcp(A, B, 5000, flags=SYN), tcp(A, B, 5001, b"first")]
    later = [tcp(A, B, 90, flags=SYN), tcp(A, B, 91, b"second"), tcp(B, A, 7, b"answer")]
    assert streams(*attempts, *later) == [b"first", b"second", b"answer"]


def test_missing_bytes_are_an_error() -> None:
    with pytest.raises(PcapError, match="3 bytes are missing"):
        streams(tcp(A, B, 0, flags=SYN), tcp(A, B, 1, b"he"), tcp(A, B, 6, b"world"))
