"""`p2p-server`: flags and environment variables in, one line when it is ready, an exit code out.

0: stopped by SIGTERM or SIGINT. 2: what was asked for cannot be done; one sentence on standard error says why.
"""

import argparse
import asyncio
import itertools
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p_core import __version__
from p2p_core.errors import UsageError
from p2p_core.wire.candidate import Transport

from p2p_server import flag_values, logs
from p2p_server.config import (
    DEFAULT_PORT,
    DEFAULT_STUN_PORT,
    Config,
    StunServer,
    default_authorized,
    default_state_dir,
)
from p2p_server.limits import Limits
from p2p_server.manual import ENVIRONMENT

if TYPE_CHECKING:
    from p2p_server.app import Listening

__all__ = ["main", "make_parser"]

_READY = ("host", "port", "stun_port", "mediator_id")  # what programs are told
_PREFIX = "P2P_SERVER_"
_PEM = {"type": Path, "metavar": "PEM"}
_WITHOUT = {"no_stun": ("stun_port", "stun_host"), "no_relay": ("relay_rate", "relay_bytes")}
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        parser = make_parser()
        options = _parse(parser, sys.argv[1:] if arguments is None else arguments)
        if options.command == "authorize":
            return _authorize(options)
        return _serve(_config(parser, options), options)
    except UsageError as error:
        print(f"p2p-server: {error}\n            {error.advice}", file=sys.stderr)
        return 2


def _parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """Parse. Of a flag that does not exist argparse says nothing: it takes the word behind it for a wrong command."""
    for word in itertools.takewhile(lambda word: word not in ("--", "authorize"), arguments):
        if word.startswith("--") and word.partition("=")[0] not in parser._option_string_actions:
            parser.error(f"unrecognized arguments: {word}")
    return parser.parse_args(arguments)


def _serve(config: Config, options: argparse.Namespace) -> int:
    # gRPC's own lines about failed handshakes name addresses.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    logs.set_up(options.log_format, options.log_level)
    from p2p_server import app

    asyncio.run(app.run(config, lambda listening: _announce(listening, config, options.log_format)))
    return 0


def _announce(listening: "Listening", config: Config, form: str) -> None:
    if form == "json":
        line = json.dumps({"event": "listening"} | {name: getattr(listening, name) for name in _READY})
    else:
        host = f"[{listening.host}]" if ":" in listening.host else listening.host
        parts = [f"listening on {host}:{listening.port}", _own_stun(listening)]
        if config.stun_server:
            parts.append(f"STUN of others at {' '.join(map(str, config.stun_server))}")
        parts += [_relaying(config.limits), f"mediator id {listening.mediator_id or 'none'}"]
        line = ", ".join(parts)
    print(line, flush=True)


def _own_stun(listening: "Listening") -> str:
    if listening.stun_port is None:
        return "no STUN"
    ports = {
        transport: ", ".join(str(one.port) for one in listening.stun if one.transport is transport and not one.host)
        for transport in Transport
    }
    second = dict.fromkeys(one.host for one in listening.stun if one.host)
    at = "".join(f", also at {host}" for host in second)
    return f"STUN on TCP {ports[Transport.TCP]} and UDP {ports[Transport.UDP]}{at}"


def _relaying(limits: Limits) -> str:
    if not limits.relay:
        return "relaying nothing"
    rate = f"{flag_values.size_text(limits.relay_rate)}/s" if limits.relay_rate else "any rate"
    volume = f"{flag_values.size_text(limits.relay_bytes)} a day" if limits.relay_bytes else "any volume"
    return f"relaying at {rate} each way and {volume} between two peers"


def _authorize(options: argparse.Namespace) -> int:
    from p2p_server.authorized import authorize

    folder = options.authorized or default_authorized(options.state_dir or default_state_dir())
    for peer, path in authorize(folder, options.pem):
        print(f"{peer}  {path}")
    return 0


def _config(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Config:
    if (options.tls_cert is None) is not (options.tls_key is None):
        parser.error("--tls-cert and --tls-key go together: give both")
    if options.insecure and options.tls_cert is not None:
        parser.error("--insecure is without TLS, so --tls-cert and --tls-key have no use: leave it or them out")
    if options.open and options.authorized is not None and str(options.authorized) != _from_environment("authorized"):
        parser.error("--open admits every key and --authorized only some: leave one of them out")
    _check_switches(parser, options)
    if options.host and options.host == options.stun_host:
        parser.error(f"--host and --stun-host are the same, {options.host}: STUN is for a second address")
    if options.stun_port == 65535:
        parser.error("--stun-port cannot be 65535: STUN takes the next port as well")
    if options.stun_port and options.port == options.stun_port:
        parser.error(f"--port and --stun-port are both {options.port}: they must differ")
    if options.stun_port and options.port == options.stun_port + 1:
        parser.error(f"--port {options.port} is the port after --stun-port, which STUN takes as well")
    state_dir = options.state_dir or default_state_dir()
    return Config(
        state_dir=state_dir,
        authorized=None if options.open else options.authorized or default_authorized(state_dir),
        host=options.host,
        port=options.port,
        stun_port=options.stun_port,
        stun_host=options.stun_host,
        stun=not options.no_stun,
        stun_server=_stun_servers(parser, options),
        tls_cert=options.tls_cert,
        tls_key=options.tls_key,
        insecure=options.insecure,
        limits=Limits(relay=not options.no_relay, relay_rate=options.relay_rate, relay_bytes=options.relay_bytes),
    )


def _check_switches(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuse a flag that a switch leaves without use; its environment variable may be there for other starts."""
    unsaid = parser.parse_args([])
    for switch, flags in _WITHOUT.items():
        for flag in flags:
            if getattr(options, switch) and getattr(options, flag) != getattr(unsaid, flag):
                parser.error(f"{_flag(switch)} leaves {_flag(flag)} without use: leave one of them out")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _stun_servers(parser: argparse.ArgumentParser, options: argparse.Namespace) -> tuple[StunServer, ...]:
    if options.stun_server is not None:
        return tuple(options.stun_server)
    try:
        return tuple(map(flag_values.stun_server, (_from_environment("stun-server") or "").split()))
    except argparse.ArgumentTypeError as error:
        parser.error(f"{_variable('stun-server')}: {error}")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser. Raises `UsageError` for an environment variable that is neither yes nor no."""
    parser = argparse.ArgumentParser(
        prog="p2p-server",
        description="The mediator: it introduces peers that ask for each other.",
        epilog=ENVIRONMENT,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"punchwire {__version__}")
    _add(parser, "host", "address or name to listen on (default: all, IPv4 and IPv6)", default="")
    _add(
        parser,
        "port",
        f"TCP port for peers, 0 for any (default: {DEFAULT_PORT})",
        type=flag_values.port,
        metavar="PORT",
        default=DEFAULT_PORT,
    )
    stun_help = f"port for STUN, with the next one; 0 for any (default: {DEFAULT_STUN_PORT})"
    _add(parser, "stun-port", stun_help, type=flag_values.port, metavar="PORT", default=DEFAULT_STUN_PORT)
    _add(parser, "stun-host", "a second address of this machine, for STUN (default: none)", metavar="HOST", default="")
    parser.add_argument(
        "--stun-server",
        help="another STUN server that peers are told of, for a mediator behind a TCP-only tunnel; "
        f"may be given several times [{_variable('stun-server')}, with spaces between]",
        action="append",
        type=flag_values.stun_server,
        metavar="HOST:PORT[/udp|/tcp]",
    )
    _add_switch(parser, "no-stun", "answer no STUN: peers are told of the servers of --stun-server only")
    _add_relay(parser)
    _add_folders(parser)
    _add_switch(parser, "open", "admit every key that proves itself")
    _add(parser, "tls-cert", "certificate chain to show (default: one made at the first start, and kept)", **_PEM)
    _add(parser, "tls-key", "the key of --tls-cert", **_PEM)
    _add_switch(parser, "insecure", "no TLS, for where it ends in front of the mediator: peers cannot authenticate it")
    _add(
        parser,
        "log-format",
        "text or json, on standard error (default: text)",
        metavar="FORMAT",
        type=flag_values.one_of(logs.FORMATS),
        default="text",
    )
    _add(
        parser,
        "log-level",
        ", ".join(logs.LEVELS) + " (default: info)",
        metavar="LEVEL",
        type=flag_values.one_of(logs.LEVELS),
        default="info",
    )
    commands = parser.add_subparsers(
        title="commands", description="without one: introduce peers", dest="command", metavar="COMMAND"
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
    return parser


def _add_relay(parser: argparse.ArgumentParser) -> None:
    _add_switch(parser, "no-relay", "relay nothing: peers that find no direct way do not meet")
    limits = Limits()
    _add(
        parser,
        "relay-rate",
        f"bytes/s each way of one relay, 0 for no limit (default: {limits.relay_rate // 1024**2}M); "
        f"a peer has {limits.relay_peer_share} times that for all its relays",
        type=flag_values.relay_rate,
        metavar="BYTES",
        default=limits.relay_rate,
    )
    _add(
        parser,
        "relay-bytes",
        f"bytes relayed between two peers in a day, 0 for no limit (default: {limits.relay_bytes // 1024**3}G); "
        f"a peer sends at most {limits.relay_peer_share} times that to all others",
        type=flag_values.relay_bytes,
        metavar="BYTES",
        default=limits.relay_bytes,
    )


def _add_folders(parser: argparse.ArgumentParser, *, inherit: bool = False) -> None:
    """Add the flags that the command shares; there they keep what was said before the command."""
    default = {"default": argparse.SUPPRESS} if inherit else {}
    folder = "folder of the keys that are admitted (default: authorized in the state folder)"
    _add(parser, "authorized", folder, type=Path, metavar="DIR", **default)
    state = "folder of what is kept between starts (default: ~/.local/state/punchwire-mediator)"
    _add(parser, "state-dir", state, type=Path, metavar="DIR", **default)


def _add(parser: argparse.ArgumentParser, name: str, text: str, **options: Any) -> None:
    """Add a flag whose default is its environment variable, if that is there and not empty."""
    if options.get("default") is not argparse.SUPPRESS:
        options["default"] = _from_environment(name) or options.get("default")
    parser.add_argument(f"--{name}", help=f"{text} [{_variable(name)}]", **options)


def _add_switch(parser: argparse.ArgumentParser, name: str, text: str) -> None:
    """Add a flag without a value; its environment variable says yes or no."""
    variable = _variable(name)
    value = os.environ.get(variable, "").lower()
    if value not in _TRUE + _FALSE:
        raise UsageError(
            f"the environment variable {variable} is yes or no, not {value!r}",
            advice="Change it, or unset it.",
        )
    parser.add_argument(f"--{name}", action="store_true", default=value in _TRUE, help=f"{text} [{variable}]")


def _variable(name: str) -> str:
    return _PREFIX + name.upper().replace("-", "_")


def _from_environment(name: str) -> str | None:
    return os.environ.get(_variable(name))
