"""The flags that several commands share, one function for each group of them."""

import argparse
import re
from pathlib import Path

from p2p_core import limits

__all__ = [
    "OVERWRITE",
    "STANDARD_OUTPUT",
    "VERBOSE",
    "add_how",
    "add_ip_version",
    "add_network",
    "add_state_dir",
    "add_what_to_do",
    "life",
    "listening_port",
    "port",
    "seconds",
]

OVERWRITE = ("ask", "never", "always", "rename")
STANDARD_OUTPUT = "-"  # the value of --receive that stands for it; a folder of that name is ./-
VERBOSE = "tell each step of connecting on stderr, with times"
_SHORTEST_LIFE, _LONGEST_LIFE = 30, 3600  # s, of a token
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def add_what_to_do(parser: argparse.ArgumentParser) -> None:
    """Add what may be done with a session instead of a chat, and how files are sent and taken."""
    doing = parser.add_argument_group("do one thing and exit")
    doing.add_argument("--message", metavar="TEXT", action="append", default=[], help="send a message")
    doing.add_argument(
        "--send",
        metavar="PATH",
        nargs="+",
        action="extend",
        default=[],
        help="send files and folders, all of them as one transfer; - is standard input",
    )
    doing.add_argument(
        "--receive",
        metavar="DIR",
        type=_target,
        nargs="?",
        const=Path(),
        help="receive one transfer into DIR (this folder); - is standard output, for one file or stream",
    )

    files = parser.add_argument_group("files")
    files.add_argument(
        "--exclude", metavar="GLOB", action="append", default=[], help="leave out what has such a name in a folder"
    )
    files.add_argument("--include-hidden", action="store_true", help="send what has a dot before its name, too")
    files.add_argument(
        "--limit-rate", metavar="RATE", type=_amount, help="send at most so many bytes a second: 500k, 2M"
    )
    files.add_argument(
        "--overwrite",
        metavar="HOW",
        choices=OVERWRITE,
        default="rename",
        help="what to do with what is there already: ask, never, always, or rename what comes (rename)",
    )
    files.add_argument(
        "--in-place", action="store_true", help="overwrite the bytes of files that are there; with --overwrite always"
    )
    files.add_argument("--max-size", metavar="SIZE", type=_amount, help="with --yes, refuse what is larger: 500M, 20G")


def add_how(parser: argparse.ArgumentParser, *, wait: str = "") -> None:
    """Add how it is done; `wait`: what --wait means, where one may choose how long the other peer is waited for."""
    how = parser.add_argument_group("how")
    how.add_argument("--yes", action="store_true", help="accept files without asking; needed where nobody can be asked")
    if wait:
        how.add_argument("--wait", metavar="SECONDS", type=seconds, help=wait)
    how.add_argument("--timeout", metavar="SECONDS", type=seconds, help="be done within this time (no limit)")
    how.add_argument("-v", "--verbose", action="store_true", help=VERBOSE)
    how.add_argument("--json", action="store_true", help="print events as JSON, one a line, and nothing else on stdout")


def add_network(parser: argparse._ActionsContainer) -> None:
    """Add what says how this computer is to be reached from other networks."""
    add_ip_version(parser)
    parser.add_argument("--bind", metavar="ADDRESS", help="from this address of this computer only")
    parser.add_argument("--no-port-mapping", action="store_true", help="do not ask the router to open ports")
    parser.add_argument(
        "--stun",
        metavar="SERVER",
        action="append",
        default=[],
        help="ask this STUN server as well, HOST[:PORT][/udp|/tcp] (3478, UDP), and none of the configuration's",
    )


def add_ip_version(parser: argparse._ActionsContainer) -> None:
    """Add --ipv4 and --ipv6."""
    version = parser.add_mutually_exclusive_group()
    version.add_argument("--ipv4", action="store_true", help="over IPv4 only")
    version.add_argument("--ipv6", action="store_true", help="over IPv6 only")


def add_state_dir(parser: argparse._ActionsContainer, *more: str) -> None:
    """Add --state-dir, the folder that has receipts, journals, the history, and what is in `more`."""
    what = ", ".join((*more, "receipts", "journals"))
    where = f"where {what} and the history are (~/.local/state/punchwire)"
    parser.add_argument("--state-dir", metavar="DIR", type=Path, help=where)


def port(text: str) -> int:
    """Return a port."""
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port")
    return int(text)


def listening_port(text: str) -> int:
    """Return a port, or 0."""
    return 0 if text == "0" else port(text)


def life(text: str) -> int:
    """Return how long a token is good, in whole seconds."""
    if not _SHORTEST_LIFE <= (value := seconds(text)) <= _LONGEST_LIFE:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time from {_SHORTEST_LIFE} to {_LONGEST_LIFE} s")
    return int(value)


def seconds(text: str) -> float:
    """Return a time."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def _target(text: str) -> Path | str:
    return STANDARD_OUTPUT if text == STANDARD_OUTPUT else Path(text)


def _amount(text: str) -> int:
    """Return a number of bytes: digits, and k, M, G or T behind them, which are powers of 1000."""
    match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,9})?)([kmgt]?)b?", text.lower())
    amount = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if not 0 < amount <= limits.MAX_FILE_BYTES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes above 0, such as 500k, 20M or 1.5G")
    return amount
