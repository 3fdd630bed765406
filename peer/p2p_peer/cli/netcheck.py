"""`p2p-peer netcheck [HOST PORT]`: what this network is like, as lines or as one JSON object."""

import argparse
import asyncio
import json
from collections.abc import Iterator
from typing import Any

from p2p_core.errors import MediatorUnreachable, PunchwireError, UsageError
from p2p_core.printable import printable
from p2p_core.reach import Reach
from p2p_core.wire.offer import Mapping

from p2p_peer.cli.event_loop import ProgramLoop
from p2p_peer.cli.exit_codes import exit_code
from p2p_peer.cli.network_flags import bound_address, ip_version, stun_servers
from p2p_peer.cli.report_json import JsonReport
from p2p_peer.cli.sentences import print_error
from p2p_peer.cli.signals import until_signalled
from p2p_peer.mediator import StunServer
from p2p_peer.netcheck import MediatorSeen, NetworkSeen, Outside, look_around
from p2p_peer.options import ConnectOptions

__all__ = ["netcheck"]

_OTHERS = {
    "open": "has public addresses, or lets in whom it knows",
    "home": "is behind a home's router, as most are",
    "sequential": "has the next port for each destination",
    "random": "has a random port for each destination",
    "no_udp": "has no UDP",
    "web_only": "lets out nothing but the web",
}
"""Kinds of networks, as `p2p_core.reach.OTHERS` has them: "a peer whose network …"."""

_REACH = {
    Reach.TCP: "direct (TCP)",
    Reach.QUIC: "direct (QUIC)",
    Reach.LUCK: "direct by luck, within seconds (QUIC)",
    Reach.RELAY: "through the mediator's relay",
    Reach.UNKNOWN: "not known: one more STUN server would tell",
}

_NOTHING_KNOWN = "not known: no STUN server has told anything"

_MAPPING = {
    Mapping.INDEPENDENT: "a NAT that keeps one port for all destinations",
    Mapping.RANDOM: "a NAT that takes a random port for each destination",
    Mapping.UNKNOWN: "a NAT; a single STUN server cannot tell how it takes ports",
}

_HAIRPIN = {
    True: "yes: peers behind the same NAT reach each other by their public addresses",
    False: "no: the NAT does not lead to the public addresses of those behind it",
    None: "does not apply, or could not be tried",
}
_MARGIN = 14  # characters


def netcheck(options: argparse.Namespace) -> int:
    """Look, and print what was found; return the exit code."""
    try:
        chosen = _chosen(options)
        with asyncio.Runner(loop_factory=ProgramLoop) as runner:
            runner.run(until_signalled(_look(options, chosen)))
    except PunchwireError as error:
        if not options.json:
            print_error(error)
        elif not isinstance(error, MediatorUnreachable):  # which the object tells
            JsonReport().failed(error)
        return exit_code(error)
    return 0


def _chosen(options: argparse.Namespace) -> ConnectOptions:
    chosen = ConnectOptions(
        insecure=options.insecure,
        ip_version=ip_version(options),
        bind=bound_address(options),
        port_mapping=not options.no_port_mapping,
        stun=stun_servers(options),
    )
    if options.host is None and not chosen.stun:
        raise UsageError(
            "there is nobody to ask how this computer looks from outside",
            advice="Give HOST and PORT of a mediator, or a STUN server with --stun HOST:PORT or in the configuration.",
        )
    return chosen


async def _look(options: argparse.Namespace, chosen: ConnectOptions) -> None:
    mediator = None if options.host is None else (options.host, options.port)
    seen = await look_around(mediator, chosen)
    print(json.dumps(_object(seen)) if options.json else "\n".join(_lines(seen)))
    if isinstance(seen.mediator, MediatorUnreachable):
        raise seen.mediator


def _object(seen: NetworkSeen) -> dict[str, Any]:
    return {
        "addresses": [str(ip) for ip in seen.addresses],
        "udp": _outside_object(seen.udp),
        "tcp": _outside_object(seen.tcp),
        "ipv6": {
            "address": None if seen.ipv6_address is None else str(seen.ipv6_address),
            "seen": None if seen.ipv6_seen is None else str(seen.ipv6_seen),
        },
        "hairpin": seen.hairpin,
        "port_mapping": None
        if seen.port_mapping is None
        else [
            {
                "protocol": found.protocol,
                "gateway": str(found.gateway),
                "external": None if found.external is None else str(found.external),
            }
            for found in seen.port_mapping
        ],
        "mediator": _mediator_object(seen.mediator),
        "reach": {name: reach.value for name, reach in seen.reach.items()},
    }


def _outside_object(outside: Outside) -> dict[str, Any]:
    return {
        "works": outside.answered,
        "seen": [str(address) for address in outside.seen],
        "nat": outside.is_translated if outside.answered else None,
        "mapping": outside.mapping.name.lower(),
        "step": outside.step,
        "silent": [{"server": _name(one.server), "why": one.why} for one in outside.unheard],
    }


def _mediator_object(mediator: MediatorSeen | MediatorUnreachable | None) -> dict[str, Any] | None:
    match mediator:
        case None:
            return None
        case MediatorUnreachable():
            return {"code": mediator.code, "message": str(mediator), "advice": mediator.advice}
        case MediatorSeen(address, identity, round_trip):
            shown = None if identity is None else str(identity)
            return {"address": str(address), "id": shown, "round_trip": round(round_trip, 4)}


def _lines(seen: NetworkSeen) -> Iterator[str]:
    rows = [
        ("addresses", [", ".join(map(str, seen.addresses)) or "none that others may reach"]),
        ("UDP", _outside_texts(seen.udp)),
        ("TCP", _outside_texts(seen.tcp)),
        ("IPv6", [_ipv6_text(seen)]),
        ("hairpin", [_HAIRPIN[seen.hairpin]]),
        ("port mapping", [_port_mapping_text(seen)]),
        ("mediator", _mediator_texts(seen.mediator)),
    ]
    for name, texts in rows:
        for number, text in enumerate(texts):
            yield f"{'' if number else name:<{_MARGIN}}{printable(text)}"
    yield ""
    yield "How a peer would be reached whose network"
    width = max(map(len, _OTHERS.values()))
    is_anything_known = seen.udp.answered or seen.tcp.answered
    for name, reach in seen.reach.items():
        yield f"  {_OTHERS[name]:<{width}}  {_REACH[reach] if is_anything_known else _NOTHING_KNOWN}"


def _outside_texts(outside: Outside) -> list[str]:
    if not outside.answered:
        if not outside.unheard:
            return ["not known: no STUN server was asked (--stun names some)"]
        return ["no STUN server answers", *(f"{_name(one.server)}: {one.why}" for one in outside.unheard)]
    seen = f"seen at {' and '.join(map(str, outside.seen))}"
    if not outside.is_translated:
        return [f"{seen}, which is an address of this computer: no NAT"]
    if outside.mapping is Mapping.SEQUENTIAL:
        return [seen, f"behind a NAT that takes the next port for each destination (step {outside.step})"]
    return [seen, f"behind {_MAPPING[outside.mapping]}"]


def _name(server: StunServer) -> str:
    host = f"[{server.host}]" if ":" in server.host else server.host
    return f"{host}:{server.port}"


def _ipv6_text(seen: NetworkSeen) -> str:
    if seen.ipv6_seen is not None:
        return f"works; seen at {seen.ipv6_seen}"
    if seen.ipv6_address is not None:
        return f"{seen.ipv6_address}, but no STUN server was reached over IPv6"
    return "no address that is valid everywhere"


def _port_mapping_text(seen: NetworkSeen) -> str:
    if seen.port_mapping is None:
        return "not asked for (--no-port-mapping)"
    found = (f"{one.protocol} at {one.gateway}" for one in seen.port_mapping)
    return ", ".join(found) or "no router offers it"


def _mediator_texts(mediator: MediatorSeen | MediatorUnreachable | None) -> list[str]:
    match mediator:
        case None:
            return ["none was given"]
        case MediatorUnreachable():
            return ["not reached"]
        case MediatorSeen(address, identity, round_trip):
            texts = [f"{address}, {1000 * round_trip:.1f} ms there and back"]
            return texts if identity is None else [*texts, f"its id is {identity}"]
