"""The command line. Nothing is imported here that is not needed to print the help."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from p2p_core import __version__, limits

from p2p_peer.cli.manual import COMMANDS, EVENTS, HELP, PASSPHRASE_VARIABLE, Text

__all__ = ["PARSERS", "chat_parser", "parse"]

_POSITIONALS = 4  # HOST PORT KEYPAIR PEERKEY


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; `command` in the result is "chat", "keygen" or "fingerprint". Exits on its own."""
    if arguments and arguments[0] in PARSERS and not _looks_like_chat(arguments):
        parser = PARSERS[arguments[0]]()
        parser.set_defaults(command=arguments[0])
        return parser.parse_args(arguments[1:])
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
        description="Meet another peer through the mediator at HOST:PORT, connect to it directly, and chat.",
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
    doing.add_argument("--send", metavar="PATH", type=Path, action="append", default=[], help="send a file")
    doing.add_argument(
        "--receive", metavar="DIR", type=Path, nargs="?", const=Path(), help="receive a file into DIR (this folder)"
    )

    how = parser.add_argument_group("how")
    how.add_argument("--yes", action="store_true", help="accept files without asking; needed where nobody can be asked")
    how.add_argument("--wait", metavar="SECONDS", type=_seconds, help="wait this long for the other peer (for ever)")
    how.add_argument("--timeout", metavar="SECONDS", type=_seconds, help="be done within this time (no limit)")
    how.add_argument("-v", "--verbose", action="store_true", help="tell each step of connecting on stderr, with times")
    how.add_argument("--json", action="store_true", help="print events as JSON, one a line, and nothing else on stdout")

    mediator = parser.add_argument_group("the mediator")
    mediator.add_argument("--mediator-id", metavar="ID", help="the id its key must have, whatever is remembered")
    mediator.add_argument(
        "--insecure",
        action="store_true",
        help="no TLS to the mediator: it ends somewhere else, and nobody vouches for it",
    )
    mediator.add_argument(
        "--state-dir", metavar="DIR", type=Path, help="where known mediators are remembered (~/.local/state/punchwire)"
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


PARSERS = {"keygen": _keygen, "fingerprint": _fingerprint}
"""What makes the parser of each command."""


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
