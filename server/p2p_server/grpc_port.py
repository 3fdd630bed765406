"""The port for peers: gRPC on it, with a certificate that may be exchanged while streams go on.

gRPC asks for a server's certificate once. Its way to a newer one, `grpc.dynamic_ssl_server_credentials`, calls Python
for every connection, from a thread that holds a lock of gRPC's while it waits for the interpreter: beside a busy event
loop that left 400 handshakes a second of 1 750 (docs/decisions/certificate-reload.md). So another certificate gets
another server, on the same port, and the one before takes no more connections. What it has goes on.
"""

import asyncio
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address

import grpc
from p2p_core.errors import UsageError

from p2p_server.grpc_server import Service, new_server
from p2p_server.sockets import listen
from p2p_server.tls import Certificate

__all__ = ["GrpcPort"]

_FOR_EVER = 1e9  # s


class GrpcPort:
    """A gRPC server, and those before it that still have streams."""

    def __init__(self, host: str, port: int, options: Sequence[tuple[str, int]], services: Sequence[Service]) -> None:
        """Serve `services` on `host`, which is empty for all addresses; port 0 lets the system choose."""
        self._host = host
        self._options = options
        self._services = services
        self._server: grpc.aio.Server | None = None
        self._fading: dict[grpc.aio.Server, asyncio.Task[None]] = {}
        self.port = port

    async def show(self, certificate: Certificate | None) -> None:
        """Take connections with this certificate from now on; None is without TLS.

        Raises `UsageError`, and goes on as before. Connections that are just being made may be cut.
        """
        if self._server is None:
            for probe in await listen(self._host, self.port):  # gRPC does not say why it cannot listen
                probe.close()
        server = new_server(self._options, self._services)
        address = f"{_for_grpc(self._host)}:{self.port}"
        try:
            if certificate is None:
                port = server.add_insecure_port(address)
            else:
                pair = (certificate.key_pem, certificate.chain_pem)
                port = server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
        except RuntimeError:
            what = f"{self._host or 'any address'}, port {self.port}, with this certificate"
            advice = "Give another certificate with --tls-cert and --tls-key, or another --host and --port."
            raise UsageError(f"cannot listen on {what}", advice=advice) from None
        await server.start()
        before, self._server, self.port = self._server, server, port
        if before is not None:
            fading = self._fading[before] = asyncio.create_task(before.stop(_FOR_EVER))
            fading.add_done_callback(lambda _: self._fading.pop(before))
            await asyncio.sleep(0)  # so that it has stopped listening

    async def stop(self, grace: float) -> None:
        """Take no connections any more; cut, after `grace` seconds, the streams that have not ended by then."""
        servers = [self._server, *self._fading]
        fading = list(self._fading.values())
        await asyncio.gather(*(server.stop(grace) for server in servers if server is not None), *fading)


def _for_grpc(host: str) -> str:
    if not host:
        return "[::]"  # gRPC takes IPv4 as well, and alone where there is no IPv6
    try:
        return f"[{host}]" if isinstance(ip_address(host), IPv6Address) else host
    except ValueError:
        return host
