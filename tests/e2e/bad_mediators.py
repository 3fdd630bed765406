"""What may answer where a mediator is expected: threads on loopback, each gone when its `with` is left."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.peer.tls_server import shown

__all__ = [
    "GARBAGE",
    "Ended",
    "Talk",
    "closes",
    "door",
    "echo",
    "grpc_service",
    "own_credentials",
    "says",
    "scripted",
    "tls_context",
    "web_server",
]

Talk = Callable[[socket.socket], None]
GARBAGE = bytes(range(256)) * 16
PATIENCE = 30.0  # s for a connection to end


def says(greeting: bytes) -> Talk:
    """Greet whoever comes, and listen until they leave."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(greeting)
        while connection.recv(65536):
            pass

    return talk


def echo(connection: socket.socket) -> None:
    """Say what is said."""
    while data := connection.recv(65536):
        connection.sendall(data)


def closes(connection: socket.socket) -> None:
    """Close at once."""


def web_server(connection: socket.socket) -> None:
    """Answer one line of HTTP/1.1 with another."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")


@contextmanager
def door(talk: Talk, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Let `talk` answer each connection, one after the other, inside TLS if that is given; yield the port."""
    over = False
    current: socket.socket | None = None

    def serve() -> None:
        nonlocal current
        while True:
            current, _ = server.accept()
            with current as connection, contextlib.suppress(OSError):
                if over:
                    return
                connection.settimeout(PATIENCE)
                if tls is None:
                    talk(connection)
                else:
                    with tls.wrap_socket(connection, server_side=True) as inside:
                        talk(inside)

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield port
        finally:
            over = True
            if current is not None:
                with contextlib.suppress(OSError):  # it is over
                    current.shutdown(socket.SHUT_RDWR)
            socket.create_connection(("127.0.0.1", port)).close()
            thread.join()


def tls_context(folder: Path, *protocols: str) -> ssl.SSLContext:
    """Return a server's context, with a certificate of its own; `protocols` are for ALPN."""
    shows, path = shown(), folder / "tls.pem"
    path.write_bytes(shows.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + shows.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


class Ended(tuple[grpc.StatusCode, str, str]):
    """How a scripted mediator ends a stream: gRPC's code, the mediator's reason, and a sentence."""


@contextmanager
def scripted(*answers: bytes | Ended) -> Iterator[int]:
    """Be a mediator without TLS that gives these answers, each to the next message of the peer; yield the port."""

    def meet(messages: Iterator[bytes], context: Any) -> Iterator[bytes]:
        for answer in answers:
            next(messages)
            if isinstance(answer, Ended):
                code, reason, details = answer
                context.set_trailing_metadata((("punchwire-reason", reason),))
                context.abort(code, details)
            else:
                yield answer
        for _ in messages:
            pass

    with grpc_service("punchwire.v1.Mediator", "Meet", meet) as port:
        yield port


@contextmanager
def grpc_service(name: str, method: str, behaviour: Any, credentials: Any = None) -> Iterator[int]:
    """Serve one method of streams over gRPC, with TLS if there are `credentials`; yield the port."""
    server = grpc.server(ThreadPoolExecutor(4))
    handler = grpc.stream_stream_rpc_method_handler(behaviour)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, {method: handler})])
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


def own_credentials() -> Any:
    """Return a fresh certificate and its key, for a gRPC server."""
    shows = shown()
    pair = shows.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), shows.pem
    return grpc.ssl_server_credentials([pair])
