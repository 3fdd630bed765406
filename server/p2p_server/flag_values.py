"""What the values of flags mean. Each function raises `argparse.ArgumentTypeError`, which says what is wrong."""

import re
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from urllib.parse import parse_qs, urlsplit

from p2p_core.wire.candidate import Transport

from p2p_server.config import MEMORY, HostPort, StunServer
from p2p_server.limits import MAX_RELAY_MESSAGE_BYTES, MIN_MESSAGE_BYTES

__all__ = [
    "count",
    "has_password",
    "host_port",
    "message_size",
    "metrics",
    "one_of",
    "port",
    "positive",
    "relay_bytes",
    "relay_rate",
    "seconds",
    "size",
    "size_flag",
    "size_text",
    "store",
    "store_text",
    "stun_server",
]

_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}
_SIZE = re.compile(r"([0-9]+)(?:([KMG])(?:iB)?)?", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", re.ASCII)
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")  # that is none
_DATABASE = re.compile(r"/?|/[0-9]{1,9}", re.ASCII)
_LEAST_BYTES = 1024**2  # a handshake and a chat; less would end every relay as soon as it is there
_LEAST_RATE = 64 * 1024  # bytes/s; a message of 256 KiB must not hold a relay up for as long as makes it seem dead


def port(text: str) -> int:
    """Read a port, 0 for any."""
    if not (text.isascii() and text.isdecimal()) or int(text) > 65535:
        raise ArgumentTypeError(f"there is no port {text!r}: it is a number from 0 to 65535")
    return int(text)


def one_of(words: Sequence[str]) -> Callable[[str], str]:
    """Return what reads one of `words`, in upper or lower case."""

    def check(text: str) -> str:
        if text.lower() not in words:
            raise ArgumentTypeError(f"{text!r} is none of {', '.join(words)}")
        return text.lower()

    return check


def size(text: str) -> int:
    """Read a number of bytes: 1000, 500K, 4M, 4MiB or 2G, in powers of 1024."""
    if (match := _SIZE.fullmatch(text)) is None:
        raise ArgumentTypeError(
            f"{text!r} is no number of bytes, such as 4M or 2G: whole numbers with K, M or G (2^10, 2^20, 2^30)"
        )
    return int(match[1]) * _UNITS[(match[2] or "").upper()]


def size_text(count: int) -> str:
    """Return a number of bytes for people, in the largest unit that leaves it whole."""
    unit = next((unit for unit in "GMK" if count % _UNITS[unit] == 0), "")
    return f"{count // _UNITS[unit]} {unit}iB" if unit else f"{count} bytes"


def size_flag(count: int) -> str:
    """Return a number of bytes as `size` reads it."""
    return size_text(count).removesuffix("iB").removesuffix(" bytes").replace(" ", "")


def relay_bytes(text: str) -> int:
    """Read the bytes of a day, 0 for no limit."""
    volume = size(text)
    if 0 < volume < _LEAST_BYTES:
        raise ArgumentTypeError(f"{text!r} is too little: at least 1M, or 0 for no limit")
    return volume


def relay_rate(text: str) -> int:
    """Read bytes a second, 0 for no limit."""
    rate = size(text)
    if 0 < rate < _LEAST_RATE:
        raise ArgumentTypeError(f"{text!r} is too slow: at least 64K, or 0 for no limit")
    return rate


def stun_server(text: str) -> StunServer:
    """Read HOST:PORT, HOST:PORT/udp or HOST:PORT/tcp."""
    where, _, transport = text.partition("/")
    host, _, number = where.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or transport not in ("", "udp", "tcp") or not (number.isascii() and number.isdecimal()):
        raise ArgumentTypeError(f"{text!r} is no STUN server: it is HOST:PORT, with /udp or /tcp behind it")
    if not 0 < int(number) < 65536:
        raise ArgumentTypeError(f"there is no port {number!r}: it is a number from 1 to 65535")
    return StunServer(host, int(number), Transport.TCP if transport == "tcp" else Transport.UDP)


def host_port(text: str) -> HostPort:
    """Read HOST:PORT, where others are to dial."""
    found = _host_port(text) if ":" in text else None
    if not found or not found.host or not found.port:
        raise ArgumentTypeError(f"{text!r} is not HOST:PORT, such as meet.example.net:54700 or [2001:db8::1]:54700")
    return found


def metrics(text: str) -> HostPort:
    """Read HOST:PORT or PORT, 0 for any; without a host, this machine's own."""
    found = _host_port(text if ":" in text else f"127.0.0.1:{text}")
    if not found.host:
        raise ArgumentTypeError(f"{text!r} is neither PORT nor HOST:PORT")
    return found


def _host_port(text: str) -> HostPort:
    host, _, number = text.rpartition(":")
    if any(character in host for character in "/@"):  # a URL, of which no part is meant to be left out
        raise ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return HostPort(host.removeprefix("[").removesuffix("]"), port(number))


def store_text(text: str) -> str:
    """Return a store for people, without user, password and options."""
    if text == MEMORY:
        return text
    url = urlsplit(text)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"


def has_password(store: str) -> bool:
    """Whether a password stands in the URL of a store, or may: options can have one, too."""
    url = urlsplit(store)
    return url.password is not None or "password" in parse_qs(url.query)


def store(text: str) -> str:
    """Read `memory`, or the URL of a Redis. What is wrong with it is said without it: a password may stand in it."""
    if text == MEMORY:
        return text
    try:
        url = urlsplit(text)
        good = url.scheme in ("redis", "rediss") and url.hostname and url.port != 0
    except ValueError:  # of the port, or of an IPv6 address
        good = False
    if not good or url.fragment or _ESCAPE.search(url.netloc):
        escaped = "; in a password / is written %2F, ? %3F, # %23, @ %40, % %25" if "@" in text else ""
        raise ArgumentTypeError(
            f"a store is {MEMORY}, redis://HOST:PORT/DB, or with TLS rediss://HOST:PORT/DB{escaped}"
        )
    if _DATABASE.fullmatch(url.path) is None or "db" in parse_qs(url.query, keep_blank_values=True):
        raise ArgumentTypeError("the database of a Redis is a number at the end: redis://HOST:PORT/0")
    return text


def count(text: str) -> int:
    """Read how many, at least one."""
    if not (text.isascii() and text.isdecimal()) or not int(text):
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def positive(text: str) -> float:
    """Read a number above zero."""
    value = _number(text)
    if not value:
        raise ArgumentTypeError("0 would let nobody through: it is a number above 0")
    return value


def seconds(least: float) -> Callable[[str], float]:
    """Return what reads seconds, no fewer than `least`."""

    def check(text: str) -> float:
        value = _number(text)
        if value < least:
            raise ArgumentTypeError(f"{text} s is too short: at least {least:g} s")
        return value

    return check


def _number(text: str) -> float:
    if _NUMBER.fullmatch(text) is None:
        raise ArgumentTypeError(f"{text!r} is not a number such as 10 or 2.5")
    return float(text)


def message_size(text: str) -> int:
    """Read the size of a message: one has to hold an offer, and gRPC takes no larger one than of a relay."""
    value = size(text)
    if not MIN_MESSAGE_BYTES <= value <= MAX_RELAY_MESSAGE_BYTES:
        least, most = size_flag(MIN_MESSAGE_BYTES), size_flag(MAX_RELAY_MESSAGE_BYTES // 1024 * 1024)
        raise ArgumentTypeError(f"{text!r} is not from {least} to {most}")
    return value
