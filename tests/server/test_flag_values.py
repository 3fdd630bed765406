from argparse import ArgumentTypeError
from collections.abc import Callable

import pytest
from p2p_core.wire.candidate import Transport
from p2p_server import flag_values
from p2p_server.config import HostPort, StunServer


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
        (flag_values.host_port, "meet.example.net:54700", HostPort("meet.example.net", 54700)),
        (flag_values.host_port, "[2001:db8::1]:1", HostPort("2001:db8::1", 1)),
        (flag_values.metrics, "9100", HostPort("127.0.0.1", 9100)),
        (flag_values.metrics, "[::]:0", HostPort("::", 0)),
        (flag_values.store, "memory", "memory"),
        (flag_values.store, "redis://:secret@redis.example.net:6380/2", "redis://:secret@redis.example.net:6380/2"),
        (flag_values.store, "rediss://[2001:db8::1]", "rediss://[2001:db8::1]"),
        (flag_values.store, "redis://:%2F%40%23%25@h/", "redis://:%2F%40%23%25@h/"),
        (flag_values.store_text, "memory", "memory"),
        (flag_values.store_text, "redis://me:secret@h:6380/2?ssl_ca_certs=x", "redis://h:6380/2"),
        (flag_values.count, "1", 1),
        (flag_values.positive, "0.5", 0.5),
        (flag_values.seconds(0), "0", 0.0),
        (flag_values.seconds(15), "15", 15.0),
        (flag_values.message_size, "32K", 32 * 1024),
        (flag_values.message_size, "256K", 256 * 1024),
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
        (flag_values.host_port, ["", "host", "host:", ":54700", "host:0", "host:65536", "http://host:1", "a@b:1"]),
        (flag_values.metrics, ["", "host", ":9100", "65536", "http://host:1"]),
        (
            flag_values.store,
            [
                *("", "Memory", "redis:", "redis://", "redis://:0", "redis://h:0", "redis://h:x", "http://h"),
                *("redis://h/x", "redis://h/1/2", "redis://h/-1", "redis://h/0?db=1", "redis://h?db="),
                *("redis://:a/b@h/0", "redis://:a#b@h/0", "redis://:a?b@h/0", "redis://:a%b@h/0", "redis://h/0#x"),
            ],
        ),
        (flag_values.count, ["", "0", "-1", "1.5", "1e3", "٣"]),
        (flag_values.positive, ["", "0", "0.0", "-1", "nan", "inf", "1e3", ".5", "٣"]),
        (flag_values.seconds(15), ["", "14.9", "-20", "x"]),
        (flag_values.message_size, ["31K", "257K", "x"]),
        (flag_values.stun_server, ["", "host", "host:", ":3478", "host:0", "host:65536", "host:1/sctp"]),
    ],
)
def test_what_means_nothing_is_said(read: Callable[[str], object], texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(ArgumentTypeError):
            read(text)


@pytest.mark.parametrize(
    ("store", "has_one"),
    [
        ("memory", False),
        ("redis://localhost/0", False),
        ("redis://user@localhost/0", False),
        ("redis://:secret@localhost/0", True),
        ("rediss://user:secret@localhost", True),
        ("redis://localhost/0?password=secret", True),
    ],
)
def test_whether_a_store_has_a_password(store: str, has_one: bool) -> None:
    assert flag_values.has_password(store) is has_one


def test_a_password_is_not_said() -> None:
    for text in ("rediz://:secret@host", "redis://:secret@host:x", "redis://:secret@", "redis://:secret@h/x"):
        with pytest.raises(ArgumentTypeError) as error:
            flag_values.store(text)
        assert "secret" not in str(error.value)


@pytest.mark.parametrize("text", ["1000", "64K", "100M", "512G"])
def test_a_size_as_a_flag_has_it(text: str) -> None:
    assert flag_values.size_flag(flag_values.size(text)) == text


@pytest.mark.parametrize(
    ("count", "text"), [(4 * 1024**3, "4 GiB"), (1536 * 1024, "1536 KiB"), (1024**2, "1 MiB"), (100, "100 bytes")]
)
def test_a_size_for_people(count: int, text: str) -> None:
    assert flag_values.size_text(count) == text
