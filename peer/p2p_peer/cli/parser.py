"""The command line. Nothing is imported here that is not needed to print the help."""

import argparse
import difflib
from collections.abc import Sequence
from pathlib import Path

from p2p_core import __version__, limits

from p2p_peer.cli.flags import (
    VERBOSE,
    add_how,
    add_ip_version,
    add_network,
    add_state_dir,
    add_what_to_do,
    life,
    listening_port,
    port,
)
from p2p_peer.cli.manual import COMMANDS, EVENTS, HELP, PASSPHRASE_VARIABLE, PHRASE_VARIABLE, Text
from p2p_peer.cli.trust_flags import trust_fault, trust_parser

__all__ = ["PARSERS", "chat_parser", "parse"]

_POSITIONALS = 4  # HOST PORT KEYPAIR PEERKEY
_INSECURE = "no TLS to the mediator: it ends somewhere else, and nobody vouches for it"
_KEYPAIR = "your RSA key pair, PEM"
_PEERKEY = "the other peer's public key, PEM"
_WAIT = "wait this long for the other peer (for ever)"
_DIRECT_PORT = 8000  # what small TLS chats listen at


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; `command` in the result is "chat", or a key of `PARSERS`. Exits on its own."""
    if arguments and arguments[0] in PARSERS and not _looks_like_chat(arguments):
        parser = PARSERS[arguments[0]]()
        parser.set_defaults(command=arguments[0])
        options = parser.parse_intermixed_args(arguments[1:])  # flags may stand before and between what is optional
        if options.command == "netcheck" and options.host is not None and options.port is None:
            parser.error("a HOST has a PORT behind it")
        if options.command == "trust" and (fault := trust_fault(options)) is not None:
            parser.error(fault)
        return options
    parser = chat_parser()
    parser.set_defaults(command="chat")
    if (command := _meant(arguments)) is not None:
        parser.error(f"there is no command {arguments[0]}; did you mean {command}?")
    return parser.parse_args(arguments)


def _looks_like_chat(arguments: Sequence[str]) -> bool:
    """A host may be named as a command is: four positionals with an integer second are the chat."""
    first = arguments[:_POSITIONALS]
    return len(first) == _POSITIONALS and first[1].isdecimal() and not any(word.startswith("-") for word in first)


def _meant(arguments: Sequence[str]) -> str | None:
    """Return the command that the first argument is nearly, where there are too few for the chat."""
    if not arguments or sum(not word.startswith("-") for word in arguments) >= _POSITIONALS:
        return None
    return next(iter(difflib.get_close_matches(arguments[0], PARSERS, 1)), None)


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
    parser.add_argument("port", metavar="PORT", type=port, help="its TCP port, usually 54700")
    parser.add_argument("keypair", metavar="KEYPAIR", type=Path, help=_KEYPAIR)
    parser.add_argument("peerkey", metavar="PEERKEY", type=Path, help=_PEERKEY)
    parser.add_argument("--version", action="version", version=f"punchwire {__version__}")

    add_what_to_do(parser)
    add_how(parser, wait=_WAIT)
    way = parser.add_argument_group("the way to the other peer")
    only = way.add_mutually_exclusive_group()
    only.add_argument("--direct-only", action="store_true", help="never through the mediator's relay")
    only.add_argument(
        "--relay-only", action="store_true", help="through the relay alone: the other side learns no address of yours"
    )
    add_network(way)

    mediator = parser.add_argument_group("the mediator")
    mediator.add_argument("--mediator-id", metavar="ID", help="the id its key must have, whatever is remembered")
    mediator.add_argument("--insecure", action="store_true", help=_INSECURE)
    add_state_dir(mediator, "known mediators")
    return parser


def _token() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="p2p-peer token", allow_abbrev=False, description=_sentence(COMMANDS["token"][1])
    )
    parser.add_argument(
        "keypair", metavar="KEYPAIR", nargs="?", type=Path, help=f"{_KEYPAIR}; without it one is made for this session"
    )
    parser.add_argument(
        "peerkey",
        metavar="PEERKEY",
        nargs="?",
        type=Path,
        help=f"{_PEERKEY}; without it the key must be the one that the other side's token names",
    )
    tokens = parser.add_argument_group("tokens")
    tokens.add_argument(
        "--phrase",
        metavar="TEXT",
        help=f"what both sides have agreed on, to lock the tokens with; or {PHRASE_VARIABLE}",
    )
    tokens.add_argument(
        "--ttl", metavar="SECONDS", type=life, default=600, help="how long your token is good: 30 to 3600 (600)"
    )
    given = tokens.add_mutually_exclusive_group()
    given.add_argument("--token", metavar="TOKEN", help="the other side's token; without it you are asked for it")
    given.add_argument(
        "--token-file", metavar="FILE", type=Path, help="a file that has the other side's token; - is standard input"
    )
    tokens.add_argument("--no-qr", action="store_true", help="do not show your token as a QR code, too")
    add_what_to_do(parser)
    add_how(parser)
    way = parser.add_argument_group("the way to the other peer")
    add_network(way)
    way.add_argument(
        "--address-service",
        metavar="URL",
        help="ask there what this computer's public address is, where no STUN server answers (nobody is asked)",
    )
    add_state_dir(parser.add_argument_group("files of this program"))
    return parser


def _direct() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="p2p-peer direct", allow_abbrev=False, description=_sentence(COMMANDS["direct"][1])
    )
    way = parser.add_argument_group("the way to the other peer")
    way.add_argument("-i", dest="host", metavar="IP", help="listen at this address of this computer only (all)")
    way.add_argument(
        "-p",
        dest="port",
        metavar="PORT",
        type=listening_port,
        default=_DIRECT_PORT,
        help=f"listen at this port ({_DIRECT_PORT}); 0 is any that is free",
    )
    way.add_argument(
        "-t",
        dest="target",
        metavar="TARGET",
        help="the other peer's host name or IP address, and its port if you like: HOST:PORT or [IPv6]:PORT",
    )
    way.add_argument(
        "-r",
        dest="remote_port",
        metavar="PORT",
        type=port,
        help=f"the port that the other peer listens at ({_DIRECT_PORT})",
    )
    way.add_argument(
        "-m",
        dest="mode",
        metavar="MODE",
        type=int,
        choices=(0, 1, 2),
        default=0,
        help="0 connects to TARGET and, failing that, waits for it, listening all the while; 1 only connects; "
        "2 only listens (0)",
    )
    add_ip_version(way)
    keys = parser.add_argument_group("keys")
    keys.add_argument(
        "-k", dest="keypair", metavar="KEYPAIR", type=Path, help=f"{_KEYPAIR}; without it one is made and kept"
    )
    keys.add_argument(
        "-c",
        dest="certificate",
        metavar="CERT",
        type=Path,
        help="your own certificate, PEM: it must belong to the key pair of -k, and is not needed otherwise, as the "
        "certificate of the connection is always a throwaway one",
    )
    keys.add_argument(
        "--peer-key",
        dest="peerkey",
        metavar="PEERKEY",
        type=Path,
        help=f"{_PEERKEY}; without it the key is remembered at the first connection, and must be the same from then on",
    )
    keys.add_argument("--require-known", action="store_true", help="connect to no peer that is not remembered already")
    add_what_to_do(parser)
    add_how(parser, wait=f"{_WAIT}; with -m 1, dial again for so long (once)")
    add_state_dir(parser.add_argument_group("files of this program"), "known peers", "your own key pair")
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
    parser.add_argument("port", metavar="PORT", nargs="?", type=port, help="its TCP port, usually 54700")
    parser.add_argument("--json", action="store_true", help="print what was found as one JSON object")
    parser.add_argument("-v", "--verbose", action="store_true", help=VERBOSE)
    parser.add_argument("--insecure", action="store_true", help=_INSECURE)
    add_network(parser)
    return parser


def _verify() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="p2p-peer verify", allow_abbrev=False, description=_sentence(COMMANDS["verify"][1])
    )
    parser.add_argument("receipt", metavar="RECEIPT", type=Path, help="a receipt, from receipts in --state-dir")
    parser.add_argument("file", metavar="FILE", type=Path, help="a file, by whatever name it has now")
    parser.add_argument("--json", action="store_true", help="print what was found as one JSON object")
    return parser


PARSERS = {
    "token": _token,
    "direct": _direct,
    "keygen": _keygen,
    "fingerprint": _fingerprint,
    "netcheck": _netcheck,
    "trust": trust_parser,
    "verify": _verify,
}
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
