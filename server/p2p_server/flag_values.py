"""What the values of flags mean. Each function raises `argparse.ArgumentTypeError`, which says what is wrong."""

from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence

from p2p_core.wire.candidate import Transport

from p2p_server.config import StunServer

__all__ = ["one_of", "port", "relay_rate", "size", "stun_server"]

_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}
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
    """Read a number of bytes: 1000, 500K, 4M or 2G, in powers of 1024."""
    number, unit = (text[:-1], text[-1:].upper()) if text[-1:].isalpha() else (text, "")
    if not (number.isascii() and number.isdecimal()) or unit not in _UNITS:
        raise ArgumentTypeError(f"{text!r} is no number of bytes, such as 4M or 2G")
    return int(number) * _UNITS[unit]


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
