"""What the values of flags mean. Each function raises `argparse.ArgumentTypeError`, which says what is wrong."""

import re
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence

from p2p_core.wire.candidate import Transport

from p2p_server.config import StunServer

__all__ = ["one_of", "port", "relay_bytes", "relay_rate", "size", "size_text", "stun_server"]

_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}
_SIZE = re.compile(r"([0-9]+)(?:([KMG])(?:iB)?)?", re.IGNORECASE)
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
