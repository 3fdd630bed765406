"""Where STUN is answered, and what peers are told of it."""

import contextlib
import socket
from dataclasses import dataclass

from p2p_core.wire.candidate import Transport

from p2p_server.config import Config, StunServer
from p2p_server.sockets import listen

__all__ = ["StunPorts"]


@dataclass(frozen=True, slots=True)
class StunPorts:
    """What the STUN responder answers on, and what peers are told of it."""

    sockets: tuple[socket.socket, ...]
    servers: tuple[StunServer, ...]
    port: int | None  # the first port of STUN over TCP, by which people know it

    @classmethod
    async def bind(cls, config: Config) -> "StunPorts":
        """Bind UDP `port` and `stun_port`, and TCP `stun_port` and the next, on each address.

        Two ports show a peer whether its NAT maps by the remote port; a second address, `stun_host`, whether by that.
        Raises `UsageError`.
        """
        if not config.stun:
            return cls((), config.stun_server, None)
        next_port = config.stun_port and config.stun_port + 1
        wanted = [
            (Transport.UDP, config.port),
            (Transport.UDP, config.stun_port),
            (Transport.TCP, config.stun_port),
            (Transport.TCP, next_port),
        ]
        # All addresses are all: the second one is among them.
        hosts = [config.host, config.stun_host] if config.host and config.stun_host else [config.host]
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
        return cls(tuple(sockets), (*config.stun_server, *servers), port)

    def close(self) -> None:
        """Close all sockets."""
        for one in self.sockets:
            one.close()
