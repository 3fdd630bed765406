"""The command line. Nothing is imported here that is not needed to print the help."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from p2p_core import __version__, limits

from p2p_peer.cli.exit_codes import EXIT_CODES

__all__ = ["PASSPHRASE_VARIABLE", "parse"]

PASSPHRASE_VARIABLE = "P2P_PEER_PASSPHRASE"  # noqa: S105 - a variable's name
_POSITIONALS = 4  # HOST PORT KEYPAIR PEERKEY

_EPILOG = f"""\
in the chat: a line is a message; /send PATH offers a file; /quit leaves.
With no terminal, every line of standard input is a message; at its end the peer waits for the acknowledgements and
then for the other side to be done as well.

commands:
  p2p-peer keygen DIR        make a key pair: DIR/key.pem and DIR/public.pem
  p2p-peer fingerprint KEY   print a key's peer id, and words to read to each other
  (each has its own --help)

events of --json, one object a line:
  mediator_pinned waiting matched connected message file_offered file_progress file_sent file_received file_failed
  closed error

exit codes:
{chr(10).join(f"  {code:<4} {meaning}" for code, meaning in EXIT_CODES.items())}

environment:
  {PASSPHRASE_VARIABLE}   the passphrase of a locked key pair, where no terminal can be asked
"""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; `command` in the result is "chat", "keygen" or "fingerprint". Exits on its own."""
    if arguments and arguments[0] in _COMMANDS and not _looks_like_chat(arguments):
        parser = _COMMANDS[arguments[0]]()
        parser.set_defaults(command=arguments[0])
        return parser.parse_args(arguments[1:])
    parser = _chat()
    parser.set_defaults(command="chat")
    return parser.parse_args(arguments)


def _looks_like_chat(arguments: Sequence[str]) -> bool:
    """A host may be named as a command is: four positionals with an integer second are the chat."""
    first = arguments[:_POSITIONALS]
    return len(first) == _POSITIONALS and first[1].isdecimal() and not any(word.startswith("-") for word in first)


def _chat() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="p2p-peer",
        description="Meet another peer through the mediator at HOST:PORT, connect to it directly, and chat.",
        epilog=_EPILOG,
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
        prog="p2p-peer keygen", description="Make a key pair: DIR/key.pem (0600) and DIR/public.pem."
    )
    parser.add_argument("dir", metavar="DIR", type=Path)
    parser.add_argument(
        "--bits", type=int, default=limits.DEFAULT_KEY_BITS, help=f"size of the key ({limits.DEFAULT_KEY_BITS})"
    )
    parser.add_argument(
        "--passphrase", action="store_true", help=f"lock the key pair: asks, or takes {PASSPHRASE_VARIABLE}"
    )
    return parser


def _fingerprint() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="p2p-peer fingerprint", description="Print the peer id of a key, and words to read to each other."
    )
    parser.add_argument("key", metavar="KEY", type=Path, help="a public key, certificate or key pair, PEM")
    return parser


_COMMANDS = {"keygen": _keygen, "fingerprint": _fingerprint}


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
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds
