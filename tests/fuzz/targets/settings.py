"""What people write: the configuration, values of flags, hosts and ports; and text that is shown to them."""

from argparse import ArgumentTypeError
from collections.abc import Callable

from p2p_core.errors import UsageError
from p2p_core.printable import is_control, printable
from p2p_peer import host_port
from p2p_peer.cli import flags
from p2p_peer.config import Config, read_config, stun_server
from p2p_peer.mediator import StunServer
from p2p_peer.mediator_endings import MAX_RETRY_AFTER, _seconds
from p2p_peer.remembered import name_fault
from p2p_server import flag_values, observed
from p2p_server.config import HostPort

from tests.fuzz.shapes import chosen, file_of, shown, text_of
from tests.fuzz.target import Target

_VALUES: tuple[tuple[Callable[[str], object], str], ...] = (
    (flag_values.port, "54700"),
    (flag_values.size, "4MiB"),
    (flag_values.relay_bytes, "2G"),
    (flag_values.relay_rate, "64K"),
    (flag_values.stun_server, "[2001:db8::1]:3478/tcp"),
    (flag_values.host_port, "meet.example.net:54700"),
    (flag_values.metrics, "127.0.0.1:9090"),
    (flag_values.store, "rediss://user:p%20w@redis.example:6379/0?ssl_cert_reqs=none"),
    (flag_values.count, "12"),
    (flag_values.positive, "2.5"),
    (flag_values.seconds(1.0), "10"),
    (flag_values.message_size, "64K"),
    (flag_values.one_of(("text", "json")), "JSON"),
    (flags.port, "54700"),
    (flags.listening_port, "0"),
    (flags.life, "600"),
)
_CONFIG = b'stun = ["stun.example.org:3478", "[2001:db8::1]/tcp"]\naddress_service = "https://address.example.org"\n'


def _config(data: bytes) -> Config:
    return read_config(file_of(data, "config.toml"))


def _config_holds(read: Config) -> None:
    for server in read.stun:
        _server_holds(server)


def _server_holds(server: StunServer) -> None:
    host = f"[{server.host}]" if ":" in server.host else server.host
    assert stun_server(f"{host}:{server.port}/{server.transport.value}") == server
    assert 0 < server.port < 65536


def _value(data: bytes) -> object:
    which, data = chosen(data, len(_VALUES))
    return _VALUES[which][0](text_of(data))


def _value_holds(value: object) -> None:
    if isinstance(value, HostPort):
        assert 0 <= value.port < 65536
    if isinstance(value, str) and "://" in value:
        assert "p%20w" not in flag_values.store_text(value)


def _both(data: bytes) -> tuple[str, int] | None:
    """Read a host and a port, and write them the one way that is remembered."""
    text = text_of(data)
    once = host_port.canonical(text)
    assert host_port.canonical(once) == once, f"{text!r} becomes {once!r}, and that another"
    return host_port.split(text)


def _both_hold(read: tuple[str, int] | None) -> None:
    assert read is None or read[1] >= 0


def _printed(data: bytes) -> str:
    text = data.decode("utf-8", "surrogatepass" if data[:1] == b"\1" else "replace")
    made = printable(text)
    assert printable(made) == made
    assert len(made) <= 10 * len(text)
    return made


def _printed_holds(made: str) -> None:
    assert not any(map(is_control, made))


def _retry(data: bytes) -> None:
    seconds = _seconds(text_of(data))
    assert seconds is None or 1 <= seconds <= MAX_RETRY_AFTER


def _seen(data: bytes) -> None:
    address = observed.from_grpc(text_of(data))
    if address is not None:
        shown(str(address))
        assert 0 < address.port < 65536


def _name(data: bytes) -> str:
    name = text_of(data)
    if (fault := name_fault(name)) is not None:
        raise UsageError(fault)
    return name


def _name_holds(name: str) -> None:
    """A name that may be given is one line that shows itself as it is, and stands for nothing else."""
    assert printable(name) == name == name.strip()
    assert 0 < len(name) <= 64
    assert host_port.split(name) is None


TARGETS = (
    Target(
        name="config",
        of=("p2p_peer.config.read_config",),
        parse=_config,
        raises=(UsageError,),
        seeds=lambda: [_CONFIG, b"stun = []\n", b"\xff", b"stun = [[[[1]]]]", b"x = 1979-05-27T07:32:00Z\n"],
        holds=_config_holds,
    ),
    Target(
        name="stun-server",
        of=("p2p_peer.config.stun_server",),
        parse=lambda data: stun_server(text_of(data)),
        raises=(UsageError,),
        seeds=lambda: [b"stun.example.org", b"192.0.2.1:3478/udp", b"[2001:db8::1]:1/tcp", b"[::ffff:1.2.3.4]"],
        holds=_server_holds,
    ),
    Target(
        name="flag",
        of=tuple(f"p2p_server.flag_values.{name}" for name in ("port", "size", "stun_server", "host_port", "store")),
        parse=_value,
        raises=(ArgumentTypeError, ValueError),  # argparse takes both for the same
        seeds=lambda: [bytes([number]) + text.encode() for number, (_, text) in enumerate(_VALUES)],
        holds=_value_holds,
    ),
    Target(
        name="host-port",
        of=("p2p_peer.host_port.split", "p2p_peer.host_port.canonical"),
        parse=_both,
        seeds=lambda: [b"Meet.Example.NET.:54700", b"127.1:1", b"[2001:DB8::1]:2", b"[::ffff:1.2.3.4]:3", b"0x7f.1:4"],
        holds=_both_hold,
    ),
    Target(
        name="printable",
        of=("p2p_core.printable.printable",),
        parse=_printed,
        raises=(UnicodeDecodeError,),
        seeds=lambda: ["a\u202eb\x1b[31m\u200c\ufeff\U000e0001".encode(), b"\1\xed\xa0\x80"],
        holds=_printed_holds,
    ),
    Target(
        name="retry-after",
        of=("p2p_peer.mediator_endings._seconds",),
        parse=_retry,
        seeds=lambda: [b"3", b"0", b"00000300", b"9" * 5000, "٣".encode()],
    ),
    Target(
        name="observed",
        of=("p2p_server.observed.from_grpc", "p2p_server.observed.from_socket"),
        parse=_seen,
        seeds=lambda: [b"ipv4:192.0.2.1:5000", b"ipv6:%5Bfe80::1%25eth0%5D:5000", b"ipv6:[::ffff:1.2.3.4]:1", b"unix:"],
    ),
    Target(
        name="peer-name",
        of=("p2p_peer.remembered.name_fault",),
        parse=_name,
        raises=(UsageError,),
        seeds=lambda: [b"Bob", b"-b", b" b", "B\u00f6b \u200d".encode(), b"a:b", b"a" * 52],
        holds=_name_holds,
    ),
)
