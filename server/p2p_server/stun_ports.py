"""Where STUN is answered, and what peers are told of it."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace

from p2p_core.wire.candidate import Transport

from p2p_server.config import Config, StunServer
from p2p_server.logs import fields
from p2p_server.sockets import listen

__all__ = ["StunPorts", "warn_of_unknown"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StunPorts:
    """What the STUN responder answers on, and what peers are told of it."""

    sockets: tuple[socket.socket, ...]
    own: tuple[StunServer, ...]  # an empty host is the one that peers dialled
    others: tuple[StunServer, ...]
    port: int | None  # the first port of STUN over TCP, by which people know it
    host: str = ""  # where peers reach this instance, unless that is what they dialled

    @classmethod
    async def bind(cls, config: Config) -> "StunPorts":
        """Bind UDP `port` and `stun_port`, and TCP `stun_port` and the next, on each address.

        Two ports show a peer whether its NAT maps by the remote port; a second address, `stun_host`, whether by that.
        Raises `UsageError`.
        """
        if not config.stun:
            return cls((), (), config.stun_server, None)
        next_port = config.stun_port and config.stun_port + 1
        wanted = [
            (Transport.UDP, config.port),
            (Transport.UDP, config.stun_port),
            (Transport.TCP, config.stun_port),
            (Transport.TCP, next_port),
        ]
        # All addresses are all: the second one is among them.
        hosts = [config.host, config.stun_host] if config.host and config.stun_host else [config.host]
        if config.stun_host and not config.host:
            for probe in await listen(config.stun_host, 0):  # which must be one of this machine all the same
                probe.close()
        servers: list[StunServer] = []
        with contextlib.ExitStack() as stack:
            sockets: list[socket.socket] = []
            for transport, number in wanted:
                port = number
                for host in hosts:
                    bound = await listen(host, port, transport)
                    sockets.extend(stack.enter_context(one) for one in bound)
                    port = bound[0].getsockname()[1]  # the second address has the number that the first one got
                servers.append(StunServer("", port, transport))
            stack.pop_all()
        if config.stun_host:
            # A third question of each kind, so one of the two ports will do.
            servers.extend(StunServer(config.stun_host, one.port, one.transport) for one in servers[::2])
        port = next(server.port for server in servers if server.transport is Transport.TCP)
        host = config.advertise.host if config.advertise else ""
        return cls(tuple(sockets), tuple(servers), config.stun_server, port, host)

    @property
    def servers(self) -> tuple[StunServer, ...]:
        """What peers are told of."""
        return self.others + tuple(replace(one, host=one.host or self.host) for one in self.own)

    def close(self) -> None:
        """Close all sockets."""
        for one in self.sockets:
            one.close()


async def warn_of_unknown(servers: Iterable[StunServer]) -> None:
    """Log the names among `servers` that this machine does not know: peers would ask them in vain."""
    for server in servers:
        try:
            await asyncio.get_running_loop().getaddrinfo(server.host, server.port)
        except (OSError, UnicodeError):
            _log.warning(
                "a STUN server has a name that nobody knows; peers are told of it all the same",
                extra=fields(event="stun-server-unknown", server=server),
            )
