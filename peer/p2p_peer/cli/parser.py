"""The command line. Nothing is imported here that is not needed to print the help."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from p2p_core import __version__, limits

from p2p_peer.cli.manual import COMMANDS, EVENTS, HELP, PASSPHRASE_VARIABLE, Text

__all__ = ["OVERWRITE", "PARSERS", "STANDARD_OUTPUT", "chat_parser", "parse"]

OVERWRITE = ("ask", "never", "always", "rename")
STANDARD_OUTPUT = "-"  # the value of --receive that stands for it; a folder of that name is ./-
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_POSITIONALS = 4  # HOST PORT KEYPAIR PEERKEY
_VERBOSE = "tell each step of connecting on stderr, with times"
_INSECURE = "no TLS to the mediator: it ends somewhere else, and nobody vouches for it"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; `command` in the result is "chat", or a key of `PARSERS`. Exits on its own."""
    if arguments and arguments[0] in PARSERS and not _looks_like_chat(arguments):
        parser = PARSERS[arguments[0]]()
        parser.set_defaults(command=arguments[0])
        options = parser.parse_args(arguments[1:])
        if options.command == "netcheck" and options.host is not None and options.port is None:
            parser.error("a HOST has a PORT behind it")
        return options
    parser = chat_parser()
    parser.set_defaults(command="chat")
    return parser.parse_args(arguments)


def _looks_like_chat(arguments: Sequence[str]) -> bool:
    """A host may be named as a command is: four positionals with an integer second are the chat."""
    first = arguments[:_POSITIONALS]
    return len(first) == _POSITIONALS and first[1].isdecimal() and not any(word.startswith("-") for word in first)


def chat_parser() -> argparse.ArgumentParser:
    """Return the parser of `p2p-peer HOST PORT KEYPAIR PEERKEY`."""
    parser = argparse.ArgumentParser(
        prog="p2p-peer",
        allow_abbrev=False,  # with it, a new flag could break a script
        description="Meet another peer through the mediator at HOST:PORT, connect to it, directly where the two "
        "networks allow it, and chat.",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("host", metavar="HOST", help="where the mediator is")
    parser.add_argument("port", metavar="PORT", type=_port, help="its TCP port, usually 54700")
    parser.add_argument("keypair", metavar="KEYPAIR", type=Path, help="your RSA key pair, PEM")
    parser.add_argument("peerkey", metavar="PEERKEY", type=Path, help="the other peer's public key, PEM")
    parser.add_argument("--version", action="version", version=f"punchwire {__version__}")

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

    how = parser.add_argument_group("how")
    how.add_argument("--yes", action="store_true", help="accept files without asking; needed where nobody can be asked")
    how.add_argument("--wait", metavar="SECONDS", type=_seconds, help="wait this long for the other peer (for ever)")
    how.add_argument("--timeout", metavar="SECONDS", type=_seconds, help="be done within this time (no limit)")
    how.add_argument("-v", "--verbose", action="store_true", help=_VERBOSE)
    how.add_argument("--json", action="store_true", help="print events as JSON, one a line, and nothing else on stdout")

    way = parser.add_argument_group("the way to the other peer")
    only = way.add_mutually_exclusive_group()
    only.add_argument("--direct-only", action="store_true", help="never through the mediator's relay")
    only.add_argument(
        "--relay-only", action="store_true", help="through the relay alone: the other side learns no address of yours"
    )
    _add_network_flags(way)

    mediator = parser.add_argument_group("the mediator")
    mediator.add_argument("--mediator-id", metavar="ID", help="the id its key must have, whatever is remembered")
    mediator.add_argument("--insecure", action="store_true", help=_INSECURE)
    mediator.add_argument(
        "--state-dir",
        metavar="DIR",
        type=Path,
        help="where known mediators, receipts, journals and the history are (~/.local/state/punchwire)",
    )
    return parser


def _keygen() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="p2p-peer keygen", allow_abbrev=False, description=_sentence(COMMANDS["keygen"][1])
    )
    parser.add_argument("dir", metavar="DIR", type=Path, help="where to put it")
    parser.add_argument(
        "--bits", type=int, default=limits.DEFAULT_KEY_BITS, help=f"size of the key ({limits.DEFAULT_KEY_BITS})"
    )
    parser.add_argument(
        "--passphrase", action="store_true", help=f"lock the key pair: asks, or takes {PASSPHRASE_VARIABLE}"
    )
    return parser


def _fingerprint() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="p2p-peer fingerprint", allow_abbrev=False, description=_sentence(COMMANDS["fingerprint"][1])
    )
    parser.add_argument("key", metavar="KEY", type=Path, help="a public key, certificate or key pair, PEM")
    return parser


def _netcheck() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="p2p-peer netcheck", allow_abbrev=False, description=_sentence(COMMANDS["netcheck"][1])
    )
    parser.add_argument(
        "host", metavar="HOST", nargs="?", help="a mediator, whose STUN ports are asked; without one, only --stun is"
    )
    parser.add_argument("port", metavar="PORT", nargs="?", type=_port, help="its TCP port, usually 54700")
    parser.add_argument("--json", action="store_true", help="print what was found as one JSON object")
    parser.add_argument("-v", "--verbose", action="store_true", help=_VERBOSE)
    parser.add_argument("--insecure", action="store_true", help=_INSECURE)
    _add_network_flags(parser)
    return parser


def _verify() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="p2p-peer verify", allow_abbrev=False, description=_sentence(COMMANDS["verify"][1])
    )
    parser.add_argument("receipt", metavar="RECEIPT", type=Path, help="a receipt, from receipts in --state-dir")
    parser.add_argument("file", metavar="FILE", type=Path, help="a file, by whatever name it has now")
    parser.add_argument("--json", action="store_true", help="print what was found as one JSON object")
    return parser


PARSERS = {"keygen": _keygen, "fingerprint": _fingerprint, "netcheck": _netcheck, "verify": _verify}
"""What makes the parser of each command."""


def _add_network_flags(parser: argparse._ActionsContainer) -> None:
    """Add what says how this computer is to be reached."""
    version = parser.add_mutually_exclusive_group()
    version.add_argument("--ipv4", action="store_true", help="over IPv4 only")
    version.add_argument("--ipv6", action="store_true", help="over IPv6 only")
    parser.add_argument("--bind", metavar="ADDRESS", help="from this address of this computer only")
    parser.add_argument("--no-port-mapping", action="store_true", help="do not ask the router to open ports")
    parser.add_argument(
        "--stun",
        metavar="SERVER",
        action="append",
        default=[],
        help="ask this STUN server as well, HOST[:PORT][/udp|/tcp] (3478, UDP), and none of the configuration's",
    )


def _epilog() -> str:
    names = [name for name, _, _ in EVENTS]
    texts: dict[str, Text] = HELP | {"EVENTS OF --json": (" ".join(names[:8]), " ".join(names[8:]))}
    return "\n\n".join(f"{title.lower()}:\n{_plain(text)}" for title, text in texts.items())


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _plain(text: Text) -> str:
    """Return a text as the help shows it."""
    width = max((len(item[0]) for item in text if isinstance(item, tuple)), default=0)
    lines = (
        f"{item[0]:<{width}}  {item[1]}" if isinstance(item, tuple) else item.replace("\n", "\n  ") for item in text
    )
    return "\n".join(f"  {line}" for line in lines)


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


def _target(text: str) -> Path | str:
    return STANDARD_OUTPUT if text == STANDARD_OUTPUT else Path(text)


def _amount(text: str) -> int:
    """Return a number of bytes: digits, and k, M, G or T behind them, which are powers of 1000."""
    match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,9})?)([kmgt]?)b?", text.lower())
    amount = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if not 0 < amount <= limits.MAX_FILE_BYTES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes above 0, such as 500k, 20M or 1.5G")
    return amount
