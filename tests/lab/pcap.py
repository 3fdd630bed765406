"""Reads and writes capture files, and puts TCP streams together, so that tests can look at the bytes on the wire.

Understood are classic pcap files (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-06.html) of Ethernet frames
with IPv4, TCP and UDP; other frames are passed over, fragments of IP packets as well: nothing here sends any.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

GLOBAL_HEADER = 24  # bytes
MICROSECONDS = 0xA1B2C3D4  # the magic number of files with timestamps in microseconds
VERSION = 2, 4
SNAPLEN = 262144  # bytes, the longest frame that is written
LINKTYPE_ETHERNET = 1
ETHERTYPE_IPV4 = b"\x08\x00"
ETHERNET_HEADER = 14  # bytes
FIN, SYN, RST = 0x01, 0x02, 0x04  # flags of the TCP header (RFC 9293 section 3.1)

FORMATS = {  # magic number -> byte order, and ticks per second of the timestamps
    b"\xd4\xc3\xb2\xa1": ("<", 1_000_000),
    b"\xa1\xb2\xc3\xd4": (">", 1_000_000),
    b"\x4d\x3c\xb2\xa1": ("<", 1_000_000_000),
    b"\xa1\xb2\x3c\x4d": (">", 1_000_000_000),
}


class PcapError(ValueError):
    """The file is no capture of the kind this module reads, or a stream has holes in it."""


class Protocol(Enum):
    """The transports told apart, by their numbers in the IP header."""

    TCP = 6
    UDP = 17


Endpoint = tuple[str, int]
"""IPv4 address in dotted form, and port."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One Ethernet frame, without its checksum, and when it was seen (seconds since 1970)."""

    time: float
    content: bytes


@dataclass(frozen=True, slots=True)
class Packet:
    """One TCP segment or UDP datagram. `time` is in seconds since 1970; the fields behind the payload are TCP's."""

    time: float
    protocol: Protocol
    source: Endpoint
    destination: Endpoint
    payload: bytes
    sequence: int = 0
    flags: int = 0
    acknowledgement: int = 0


@dataclass(frozen=True, slots=True)
class Stream:
    """All bytes that one TCP connection carried in one direction, in order, each of them once."""

    source: Endpoint
    destination: Endpoint
    payload: bytes


def load(capture: bytes) -> list[Frame]:
    """The frames of a capture file, in order; a record cut off at the end is left out. Raises PcapError."""
    if len(capture) < GLOBAL_HEADER or capture[:4] not in FORMATS:
        raise PcapError("this is no pcap file")
    order, ticks = FORMATS[capture[:4]]
    (linktype,) = struct.unpack_from(f"{order}I", capture, 20)
    if linktype != LINKTYPE_ETHERNET:
        raise PcapError(f"frames of link type {linktype} are not understood, only Ethernet")
    record = struct.Struct(f"{order}IIII")
    frames = []
    position = GLOBAL_HEADER
    while position + record.size <= len(capture):
        seconds, fraction, captured, length = record.unpack_from(capture, position)
        position += record.size
        if captured < length:
            raise PcapError("frames were cut short when they were captured")
        if position + captured > len(capture):
            break
        frames.append(Frame(seconds + fraction / ticks, capture[position : position + captured]))
        position += captured
    return frames


def dump(frames: Iterable[Frame]) -> bytes:
    """A capture file of these frames, for `load` and for other programs."""
    parts = [struct.pack("<IHHiIII", MICROSECONDS, *VERSION, 0, 0, SNAPLEN, LINKTYPE_ETHERNET)]
    for frame in frames:
        microseconds = round(frame.time * 1_000_000)
        length = len(frame.content)
        parts.append(struct.pack("<IIII", *divmod(microseconds, 1_000_000), length, length))
        parts.append(frame.content)
    return b"".join(parts)


def packets(frames: Iterable[Frame]) -> list[Packet]:
    """The TCP segments and UDP datagrams in these frames, in order."""
    return [packet for frame in frames if (packet := _packet(frame)) is not None]


def tcp_streams(segments: Iterable[Packet]) -> list[Stream]:
    """The streams of all TCP connections, one for each direction that carried anything, in order of their first packet.

    A port may be used again: a SYN with another initial sequence number begins a new connection, as repeated attempts
    at a simultaneous open do. Raises PcapError for a stream with bytes missing in its middle: a test that looks for
    what must not be there would pass for the wrong reason.
    """
    open_now: dict[tuple[Endpoint, Endpoint], _Connection] = {}
    seen: list[_Connection] = []
    for packet in segments:
        if packet.protocol is not Protocol.TCP:
            continue
        ends = packet.source, packet.destination
        first_byte = (packet.sequence + bool(packet.flags & SYN)) % 2**32  # a SYN takes one number itself
        connection = open_now.get(ends)
        if connection is None or (packet.flags & SYN and first_byte != connection.start):
            connection = open_now[ends] = _Connection(*ends, first_byte)
            seen.append(connection)
        connection.add(first_byte, packet.payload)
    return [connection.stream() for connection in seen if connection.segments]


@dataclass(slots=True)
class _Connection:
    """One direction of one connection while its segments are collected."""

    source: Endpoint
    destination: Endpoint
    start: int  # sequence number of the first byte, 0 to 2**32 - 1
    segments: dict[int, bytes] = field(default_factory=dict)  # by offset from `start`; below 0 without a SYN
    latest: int = 0  # offset of the latest segment, from which the 32-bit numbers are unwound

    def add(self, sequence: int, payload: bytes) -> None:
        if not payload:
            return
        distance = (sequence - self.start - self.latest + 2**31) % 2**32 - 2**31
        self.latest += distance
        if len(payload) > len(self.segments.get(self.latest, b"")):
            self.segments[self.latest] = payload

    def stream(self) -> Stream:
        offsets = sorted(self.segments)
        joined = bytearray()
        # Without a SYN the capture began in the middle, and the first segment seen may have been a late one.
        origin = min(offsets[0], 0)
        for offset in offsets:
            position = offset - origin
            if position > len(joined):
                missing = position - len(joined)
                raise PcapError(
                    f"{missing} bytes are missing from {self.source} to {self.destination} at {len(joined)}"
                )
            joined += self.segments[offset][len(joined) - position :]
        return Stream(self.source, self.destination, bytes(joined))


def _packet(frame: Frame) -> Packet | None:
    """The TCP segment or UDP datagram inside an Ethernet frame; None for anything else."""
    datagram = frame.content[ETHERNET_HEADER:]
    if frame.content[12:14] != ETHERTYPE_IPV4 or len(datagram) < 20:
        return None
    total_length, _, fragment = struct.unpack_from("!HHH", datagram, 2)
    if fragment & 0x3FFF:  # more to come, or not the first
        return None
    # A segment still to be cut up by the network card's offload (TSO) may carry a length of 0 (RFC 791 section 3.1).
    segment = datagram[(datagram[0] & 0x0F) * 4 : total_length or None]
    source, destination = _dotted(datagram[12:16]), _dotted(datagram[16:20])
    if datagram[9] == Protocol.UDP.value and len(segment) >= 8:
        ports = struct.unpack_from("!HH", segment)
        return Packet(frame.time, Protocol.UDP, (source, ports[0]), (destination, ports[1]), segment[8:])
    if datagram[9] == Protocol.TCP.value and len(segment) >= 20:
        from_port, to_port, sequence, acknowledgement = struct.unpack_from("!HHII", segment)
        payload = segment[(segment[12] >> 4) * 4 :]
        ends = (source, from_port), (destination, to_port)
        return Packet(frame.time, Protocol.TCP, *ends, payload, sequence, segment[13], acknowledgement)
    return None


def _dotted(address: bytes) -> str:
    return ".".join(str(byte) for byte in address)
