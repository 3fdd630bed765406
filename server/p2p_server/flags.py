"""The flags of `p2p-server`, and the environment variable that stands for each."""

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from p2p_core import __version__
from p2p_core.errors import UsageError

from p2p_server import flag_values, logs
from p2p_server.config import DEFAULT_DRAIN_SECONDS, DEFAULT_PORT, DEFAULT_STUN_PORT, MEMORY
from p2p_server.limits import Limits
from p2p_server.manual import BYTES, ENVIRONMENT

__all__ = ["LIMITS", "SHARE", "SHARES", "from_environment", "make_parser", "unknown_variables", "variable"]

_PREFIX = "P2P_SERVER_"
_PEM = {"type": Path, "metavar": "PEM"}
# What Kubernetes tells each container of each Service ("Discovering services" in its documentation): p2p-server gives
# P2P_SERVER_SERVICE_HOST, P2P_SERVER_PORT and P2P_SERVER_PORT_54700_TCP_ADDR, p2p-server-stun P2P_SERVER_STUN_PORT.
_SERVICE_LINK = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_OF_KUBERNETES = re.compile(r"(tcp|udp|sctp)://.*")
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")

_Limit = tuple[str, str, Callable[[str], float], str]  # name, metavar, what reads it, help
_RELAY_LIMITS: tuple[_Limit, ...] = (
    ("relay-rate", "BYTES", flag_values.relay_rate, "bytes/s each way of one relay, 0 for no limit"),
    ("relay-bytes", "BYTES", flag_values.relay_bytes, "bytes relayed between two peers in a day, 0 for no limit"),
    ("relay-key-rate", "BYTES", flag_values.relay_rate, "bytes/s that a peer sends in all its relays, 0 for no limit"),
    (
        "relay-key-bytes",
        "BYTES",
        flag_values.relay_bytes,
        "bytes that a peer sends in a day, 0 for no limit",
    ),
    ("relay-total-rate", "BYTES", flag_values.relay_rate, "bytes/s of all relays together, 0 for no limit"),
    ("relay-total-bytes", "BYTES", flag_values.relay_bytes, "bytes of all relays together in a day, 0 for no limit"),
    ("max-relays", "COUNT", flag_values.count, "relays at once"),
    ("max-relays-per-key", "COUNT", flag_values.count, "relays of one peer at once"),
    ("relay-idle", "SECONDS", flag_values.seconds(15), "a relay that is silent for this long is ended"),
)
_STUN_LIMITS: tuple[_Limit, ...] = (
    (
        "stun-connections-per-address",
        "COUNT",
        flag_values.count,
        "connections for STUN over TCP at once from one IPv4 address or IPv6 /64",
    ),
)
_PEER_LIMITS: tuple[_Limit, ...] = (
    ("max-connections", "COUNT", flag_values.count, "connections at once; further ones are closed unread"),
    ("connection-idle", "SECONDS", flag_values.seconds(1), "a connection without a stream is closed after this long"),
    (
        "max-unauthenticated",
        "COUNT",
        flag_values.count,
        "streams at once on which no key was proved",
    ),
    ("max-unauthenticated-per-address", "COUNT", flag_values.count, "of them, from one IPv4 address or IPv6 /64"),
    (
        "handshakes-per-second",
        "NUMBER",
        flag_values.positive,
        "streams from one address in a second; four times that at once after a rest",
    ),
    ("handshake-timeout", "SECONDS", flag_values.seconds(1), "for each step of a peer's proof"),
    ("streams-per-minute", "NUMBER", flag_values.positive, "streams that one key opens in a minute"),
    ("max-advertisements", "COUNT", flag_values.count, "peers that one peer waits for or is matched with"),
    ("max-message", "BYTES", flag_values.message_size, "bytes of one message of a peer"),
    (
        "steps-per-second",
        "NUMBER",
        flag_values.positive,
        "times that one peer asks for another, or takes it back; four times that at once after a rest",
    ),
    (
        "signals-per-second",
        "NUMBER",
        flag_values.positive,
        "signals of one peer to those it is matched with; four times that at once after a rest",
    ),
)
LIMITS = tuple(name.replace("-", "_") for name, *_ in (*_STUN_LIMITS, *_RELAY_LIMITS, *_PEER_LIMITS))
"""Those of `Limits` that are flags of the same name, with the same default."""
SHARES = {"relay_key_rate": "relay_rate", "relay_key_bytes": "relay_bytes"}
"""What one peer has for all its relays is `SHARE` times what one relay has, unless told otherwise."""
SHARE = 4


def make_parser() -> argparse.ArgumentParser:
    """Return the parser. Raises `UsageError` for an environment variable that is neither yes nor no."""
    parser = argparse.ArgumentParser(
        prog="p2p-server",
        usage="%(prog)s [options]\n       %(prog)s authorize [options] PEM ...",
        description="The mediator: it introduces peers that ask for each other.",
        epilog=ENVIRONMENT,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"punchwire {__version__}")
    _add_served(parser.add_argument_group("where to listen"))
    admitted = parser.add_argument_group("whom to admit")
    _add_folders(admitted)
    _add_switch(
        admitted,
        "open",
        "admit every key that proves itself; not together with --authorized, but a flag wins over the other's variable",
    )
    _add_stun(parser.add_argument_group("STUN"))
    _add_relay(parser.add_argument_group("the relay", BYTES))
    limits = parser.add_argument_group("limits", f"Who is over one is told so, and when to try again. {BYTES}")
    for limit in _PEER_LIMITS:
        _add_limit(limits, *limit)
    _add_instances(parser.add_argument_group("several instances"))
    _add_logs(parser.add_argument_group("logs and metrics"))
    _add_commands(parser)
    return parser


def _add_served(group: argparse._ArgumentGroup) -> None:
    _add(group, "host", "address or name to listen on (default: all, IPv4 and IPv6)", default="")
    _add(
        group,
        "port",
        f"TCP port for peers, 0 for any (default: {DEFAULT_PORT})",
        type=flag_values.port,
        metavar="PORT",
        default=DEFAULT_PORT,
    )
    _add(group, "tls-cert", "certificate chain to show (default: one made at the first start, and kept)", **_PEM)
    _add(group, "tls-key", "the key of --tls-cert", **_PEM)
    _add_switch(
        group,
        "insecure",
        "no TLS, for where it ends in front of the mediator: peers cannot authenticate it, and need --insecure too",
    )
    _add_switch(
        group,
        "behind-proxy",
        "peers come through a tunnel, proxy or balancer, from its address: nothing of theirs is counted by address, "
        "and none is told; --insecure implies it",
    )


def _add_stun(group: argparse._ArgumentGroup) -> None:
    stun_help = f"port for STUN, with the next one; 0 for any (default: {DEFAULT_STUN_PORT})"
    _add(group, "stun-port", stun_help, type=flag_values.port, metavar="PORT", default=DEFAULT_STUN_PORT)
    _add(
        group,
        "stun-host",
        "a second address of this machine, for STUN: from it peers learn whether their NAT gives them another port for "
        "each address (default: none)",
        metavar="HOST",
        default="",
    )
    group.add_argument(
        "--stun-server",
        help="another STUN server that peers are told of, for a mediator behind a TCP-only tunnel; "
        f"may be given several times [{variable('stun-server')}, with spaces between]",
        action="append",
        type=flag_values.stun_server,
        metavar="HOST:PORT[/udp|/tcp]",
    )
    _add_switch(group, "no-stun", "answer no STUN: peers are told of the servers of --stun-server only")
    for limit in _STUN_LIMITS:
        _add_limit(group, *limit)


def _add_relay(group: argparse._ArgumentGroup) -> None:
    _add_switch(group, "no-relay", "relay nothing: peers that find no direct way do not meet")
    for limit in _RELAY_LIMITS:
        _add_limit(group, *limit)


def _add_instances(group: argparse._ArgumentGroup) -> None:
    _add(
        group,
        "store",
        f"where peers that wait for each other are matched: {MEMORY}, for one instance alone, or redis://HOST:PORT/DB "
        f"or rediss://HOST:PORT/DB, for as many as share it (default: {MEMORY}). A password belongs into the variable, "
        "where other users of the machine do not see it:",
        type=flag_values.store,
        metavar="STORE",
        default=MEMORY,
    )
    _add(
        group,
        "advertise",
        "where peers reach this very instance, for its relays and STUN (default: the address that they dialled)",
        type=flag_values.host_port,
        metavar="HOST:PORT",
    )
    _add(
        group,
        "drain-seconds",
        "how long peers that are just meeting may go on when it is told to stop; all others are sent elsewhere at once "
        f"(default: {DEFAULT_DRAIN_SECONDS:g})",
        type=flag_values.seconds(0),
        metavar="SECONDS",
        default=DEFAULT_DRAIN_SECONDS,
    )


def _add_logs(group: argparse._ArgumentGroup) -> None:
    _add(
        group,
        "metrics",
        "where to answer GET /metrics, for Prometheus, and GET /health, for a balancer; 0 for any port "
        "(default: none; HOST without one: 127.0.0.1)",
        type=flag_values.metrics,
        metavar="[HOST:]PORT",
    )
    _add(
        group,
        "log-format",
        "text or json, on standard error (default: text)",
        metavar="FORMAT",
        type=flag_values.one_of(logs.FORMATS),
        default="text",
    )
    _add(
        group,
        "log-level",
        ", ".join(logs.LEVELS) + " (default: info)",
        metavar="LEVEL",
        type=flag_values.one_of(logs.LEVELS),
        default="info",
    )
    _add_switch(group, "log-peers", "log who comes, meets and goes, with peer ids and addresses")


def _add_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(
        title="commands",
        description="without one: introduce peers",
        prog=parser.prog,
        dest="command",
        metavar="COMMAND",
    )
    command = commands.add_parser(
        "authorize",
        help="admit keys: file each under its peer id",
        description="File each public key under its peer id in the folder of authorized keys. "
        "A certificate or a key pair is read for its public key. Prints each peer id and its file.",
        allow_abbrev=False,
    )
    _add_folders(command, inherit=True)
    command.add_argument("pem", nargs="+", type=Path, metavar="PEM", help="a public key, a certificate or a key pair")


def _add_folders(group: argparse._ActionsContainer, *, inherit: bool = False) -> None:
    """Add the flags that the command shares; there they keep what was said before the command."""
    default = {"default": argparse.SUPPRESS} if inherit else {}
    folder = "folder of the keys that are admitted (default: authorized in the state folder)"
    _add(group, "authorized", folder, type=Path, metavar="DIR", **default)
    state = "folder of what is kept between starts (default: ~/.local/state/punchwire-mediator)"
    _add(group, "state-dir", state, type=Path, metavar="DIR", **default)


def _add_limit(
    group: argparse._ActionsContainer, name: str, metavar: str, read: Callable[[str], float], text: str
) -> None:
    default = None
    if (of := SHARES.get(name.replace("-", "_"))) is not None:
        shown = f"{SHARE} times --{of.replace('_', '-')}"
    else:
        default = getattr(Limits(), name.replace("-", "_"))
        shown = flag_values.size_flag(default) if metavar == "BYTES" else f"{default:g}"
    _add(group, name, f"{text} (default: {shown})", type=read, metavar=metavar, default=default)


def _add(group: argparse._ActionsContainer, name: str, text: str, **options: Any) -> None:
    """Add a flag whose default is its environment variable, if that is there and not empty."""
    if options.get("default") is not argparse.SUPPRESS:
        if value := from_environment(name):
            options["default"] = _Variable(value)
        options["type"] = _naming(name, options.get("type", str))
    group.add_argument(f"--{name}", help=f"{text} [{variable(name)}]", **options)


class _Variable(str):
    """What an environment variable has; argparse reads a default that is a string as it reads a flag's value."""

    __slots__ = ()


def _naming(name: str, read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return what reads as `read` does, and says of a value that makes no sense if it is the variable's."""

    def check(text: str) -> Any:
        try:
            return read(text)
        except argparse.ArgumentTypeError as error:
            if not isinstance(text, _Variable):
                raise
            where = f"the environment variable {variable(name)}"
            if _OF_KUBERNETES.fullmatch(text):
                where += ", which Kubernetes sets for a Service of that name: see enableServiceLinks"
            raise argparse.ArgumentTypeError(f"{error} ({where})") from None

    return check


def unknown_variables(parser: argparse.ArgumentParser) -> list[str]:
    """Return the names in the environment that look like a flag's variable, and are none."""
    known = {variable(flag.removeprefix("--")) for flag in parser._option_string_actions}
    return sorted(
        name
        for name, value in os.environ.items()
        if name.startswith(_PREFIX)
        and name not in known
        and not _SERVICE_LINK.fullmatch(name)
        and not _OF_KUBERNETES.fullmatch(value)
    )


def _add_switch(group: argparse._ActionsContainer, name: str, text: str) -> None:
    """Add a flag without a value; its environment variable says yes or no."""
    value = (from_environment(name) or "").lower()
    if value not in _TRUE + _FALSE:
        raise UsageError(
            f"the environment variable {variable(name)} is yes or no, not {value!r}",
            advice="Change it, or unset it.",
        )
    group.add_argument(f"--{name}", action="store_true", default=value in _TRUE, help=f"{text} [{variable(name)}]")


def variable(name: str) -> str:
    """Return the environment variable that stands for a flag."""
    return _PREFIX + name.upper().replace("-", "_")


def from_environment(name: str) -> str | None:
    """Return what the environment says of a flag."""
    return os.environ.get(variable(name))
