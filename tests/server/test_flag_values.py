from argparse import ArgumentTypeError
from collections.abc import Callable

import pytest
from p2p_core.wire.candidate import Transport
from p2p_server import flag_values
from p2p_server.config import StunServer


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (flag_values.port, "0", 0),
        (flag_values.port, "65535", 65535),
        (flag_values.size, "0", 0),
        (flag_values.size, "1000", 1000),
        (flag_values.size, "500K", 500 * 1024),
        (flag_values.size, "4m", 4 * 1024**2),
        (flag_values.size, "2G", 2 * 1024**3),
        (flag_values.size, "4MiB", 4 * 1024**2),
        (flag_values.size, "64kib", 64 * 1024),
        (flag_values.relay_bytes, "0", 0),
        (flag_values.relay_bytes, "1M", 1024**2),
        (flag_values.relay_rate, "0", 0),
        (flag_values.relay_rate, "64K", 64 * 1024),
        (flag_values.stun_server, "stun.example.net:3478", StunServer("stun.example.net", 3478, Transport.UDP)),
        (flag_values.stun_server, "192.0.2.1:3478/tcp", StunServer("192.0.2.1", 3478, Transport.TCP)),
        (flag_values.stun_server, "[2001:db8::1]:3478/udp", StunServer("2001:db8::1", 3478, Transport.UDP)),
    ],
)
def test_what_they_mean(read: Callable[[str], object], text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "texts"),
    [
        (flag_values.port, ["", "-1", "65536", "http", "٣"]),
        (flag_values.size, ["", "-1", "4T", "M", "1.5M", "4 M", "4MB", "4Mi", "٣"]),
        (flag_values.relay_bytes, ["1", "1023K", "x"]),
        (flag_values.relay_rate, ["1", "63K", "x"]),
        (flag_values.stun_server, ["", "host", "host:", ":3478", "host:0", "host:65536", "host:1/sctp"]),
    ],
)
def test_what_means_nothing_is_said(read: Callable[[str], object], texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(ArgumentTypeError):
            read(text)


@pytest.mark.parametrize(
    ("count", "text"), [(4 * 1024**3, "4 GiB"), (1536 * 1024, "1536 KiB"), (1024**2, "1 MiB"), (100, "100 bytes")]
)
def test_a_size_for_people(count: int, text: str) -> None:
    assert flag_values.size_text(count) == text
