"""`p2p-server`: flags and environment variables in, one line when it is ready, an exit code out.

0: stopped by SIGTERM or SIGINT. 1: a fault of this program. 2: what was asked for cannot be done; one sentence on
standard error says why.
"""

import argparse
import asyncio
import itertools
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from p2p_core.errors import UsageError
from p2p_core.private_memory import keep_memory_private
from p2p_core.wire.candidate import Transport

from p2p_server import flag_values, logs
from p2p_server.config import Config, StunServer, default_authorized, default_state_dir
from p2p_server.flags import LIMITS, SHARE, SHARES, from_environment, make_parser, unknown_variables, variable
from p2p_server.limits import Limits
from p2p_server.logs import fields

if TYPE_CHECKING:
    from p2p_server.app import Listening

__all__ = ["main", "run_program"]

_Said = Callable[[str], str]

_READY = ("host", "port", "stun_port", "mediator_id")  # what programs are told
_BY_ADDRESS = ("max_unauthenticated_per_address", "handshakes_per_second")
_WITHOUT = {
    "no_stun": ("stun_port", "stun_host", "stun_connections_per_address"),
    "no_relay": (*(name for name in LIMITS if "relay" in name), "advertise"),
    "behind_proxy": _BY_ADDRESS,
    "insecure": _BY_ADDRESS,
}
_PARTS = {"max_unauthenticated_per_address": "max_unauthenticated", "max_relays_per_key": "max_relays"}

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        parser = make_parser()
        options = _parse(parser, sys.argv[1:] if arguments is None else arguments)
        if options.command == "authorize":
            return _authorize(options)
        return _serve(_config(parser, options), options, unknown_variables(parser))
    except UsageError as error:
        print(f"p2p-server: {error}\n            {error.advice}", file=sys.stderr)
        return 2


def run_program() -> None:
    """Be the process: `main`, with a memory that nothing else looks into."""
    keep_memory_private()
    sys.exit(main())


def _parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """Parse. Of a flag that does not exist argparse says nothing: it takes the word behind it for a wrong command."""
    for word in itertools.takewhile(lambda word: word not in ("--", "authorize"), arguments):
        if word.startswith("--") and word.partition("=")[0] not in parser._option_string_actions:
            parser.error(f"unrecognized arguments: {word}")
    return parser.parse_args(arguments)


def _serve(config: Config, options: argparse.Namespace, unknown: Sequence[str]) -> int:
    # gRPC's own lines about failed handshakes name addresses.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    logs.set_up(options.log_format, options.log_level, options.log_peers)
    from p2p_server.serving import serve

    for name in unknown:
        _log.warning("a variable looks like a flag's and is none", extra=fields("unknown-variable", variable=name))
    if flag_values.has_password(config.store) and from_environment("store") != config.store:
        _log.warning(
            "the password of --store is seen by other users of this machine, among its processes",
            extra=fields("password-in-arguments", variable=variable("store")),
        )
    asyncio.run(serve(config, lambda listening: _announce(listening, config, options.log_format)))
    return 0


def _announce(listening: "Listening", config: Config, form: str) -> None:
    store = flag_values.store_text(config.store)
    if form == "json":
        metrics = None if listening.metrics is None else str(listening.metrics)
        told: dict[str, object] = {"time": logs.stamp(time.time()), "level": "info", "event": "listening"}
        told |= {name: getattr(listening, name) for name in _READY}
        told |= {"store": store, "behind_proxy": not config.by_address, "metrics": metrics}
        line = json.dumps(told)
    else:
        host = f"[{listening.host}]" if ":" in listening.host else listening.host
        parts = [f"listening on {host}:{listening.port}", _own_stun(listening)]
        if config.stun_server:
            parts.append(f"STUN of others at {' '.join(map(str, config.stun_server))}")
        parts += [_relaying(config.limits), f"store {store}"]
        if not config.by_address:
            parts.append("behind a proxy")
        parts.append(f"mediator id {listening.mediator_id}" if listening.mediator_id else "no TLS, so no mediator id")
        if listening.metrics is not None:
            parts.append(f"metrics at {listening.metrics}")
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
    unsaid = parser.parse_args([])

    def said(name: str) -> str:
        """Return what the value of a flag was said by, as far as that can be told: the flag, or its variable."""
        by_variable = from_environment(name) and getattr(options, name) == getattr(unsaid, name)
        return variable(name) if by_variable else _flag(name)

    if options.open and options.authorized is not None:
        opens, names = (said(name) == _flag(name) for name in ("open", "authorized"))
        if opens is names:
            both = f"{said('open')} admits every key and {said('authorized')} only some"
            parser.error(f"{both}: leave one of them out")
        options.open = opens
    _check_switches(parser, options, unsaid, said)
    if options.host and options.host == options.stun_host:
        both = f"{said('host')} and {said('stun_host')} are the same, {options.host}"
        parser.error(f"{both}: STUN is for a second address")
    _check_ports(parser, options, said)
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
        behind_proxy=options.behind_proxy,
        store=options.store,
        advertise=options.advertise,
        drain_seconds=options.drain_seconds,
        metrics=options.metrics,
        log_peers=options.log_peers,
        limits=_limits(parser, options, unsaid, said),
    )


def _check_ports(parser: argparse.ArgumentParser, options: argparse.Namespace, said: _Said) -> None:
    if options.stun_port == 65535:
        parser.error(f"{said('stun_port')} cannot be 65535: STUN takes the next port as well")
    if options.stun_port and options.port == options.stun_port:
        parser.error(f"{said('port')} and {said('stun_port')} are both {options.port}: they must differ")
    if options.stun_port and options.port == options.stun_port + 1:
        parser.error(f"{said('port')} {options.port} is the port after {said('stun_port')}, which STUN takes as well")
    if options.metrics is not None and options.host in (
        "",
        options.metrics.host,
    ):  # another address has ports of its own
        taken = {options.port: "port"}
        if options.stun_port and not options.no_stun:
            taken |= {options.stun_port: "stun_port", options.stun_port + 1: "stun_port"}
        if options.metrics.port and options.metrics.port in taken:
            takes = said(taken[options.metrics.port])
            parser.error(f"{said('metrics')} {options.metrics} has a port that {takes} takes: give it another")


def _limits(
    parser: argparse.ArgumentParser, options: argparse.Namespace, unsaid: argparse.Namespace, said: _Said
) -> Limits:
    limits = {name: getattr(options, name) for name in LIMITS}
    for part, whole in _PARTS.items():
        if limits[part] > limits[whole]:
            if limits[part] != getattr(unsaid, part):
                parser.error(f"{said(part)} {limits[part]} is more than {said(whole)}, which is {limits[whole]}")
            limits[part] = limits[whole]
    for key, one in SHARES.items():
        if limits[key] is None:
            limits[key] = SHARE * limits[one]
    return Limits(relay=not options.no_relay, **limits)


def _check_switches(
    parser: argparse.ArgumentParser, options: argparse.Namespace, unsaid: argparse.Namespace, said: _Said
) -> None:
    """Refuse a flag that a switch leaves without use; its environment variable may be there for other starts."""
    for switch, flags in _WITHOUT.items():
        for flag in flags:
            if getattr(options, switch) and getattr(options, flag) != getattr(unsaid, flag):
                parser.error(f"{said(switch)} leaves {_flag(flag)} without use: leave one of them out")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _stun_servers(parser: argparse.ArgumentParser, options: argparse.Namespace) -> tuple[StunServer, ...]:
    if options.stun_server is not None:
        return tuple(options.stun_server)
    try:
        return tuple(map(flag_values.stun_server, (from_environment("stun-server") or "").split()))
    except argparse.ArgumentTypeError as error:
        parser.error(f"{variable('stun-server')}: {error}")
