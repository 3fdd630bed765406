"""A small TLS server that shows a certificate, as a mediator does."""

import asyncio
import datetime
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from p2p_core.identity import spki_hash
from p2p_peer.trust import MediatorId

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Authority:
    """A private certificate authority."""

    key: Key
    certificate: x509.Certificate

    @classmethod
    def make(cls) -> "Authority":
        key = new_key()
        name = _name("a test's authority")
        builder = _builder(key, name).issuer_name(name)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return cls(key, builder.sign(key, hashes.SHA256()))

    def trusting_context(self) -> ssl.SSLContext:
        """What `ssl.create_default_context` gives where this is one of the roots."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.certificate.public_bytes(Encoding.PEM).decode())
        return context


@dataclass(frozen=True)
class Shown:
    """A key and the certificate for it that a server shows."""

    key: Key
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def id(self) -> MediatorId:
        return MediatorId(spki_hash(self.der))


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def shown(
    key: Key | None = None,
    *,
    names: Iterable[str] = ("punchwire.invalid",),
    authority: Authority | None = None,
    common_name: str = "punchwire",
) -> Shown:
    """A certificate for `names` (host names and addresses; none: only a common name), self-signed or by `authority`."""
    key = key or new_key()
    builder = _builder(key, _name(common_name)).issuer_name(
        authority.certificate.subject if authority else _name(common_name)
    )
    names = list(names)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
    return Shown(key, builder.sign(authority.key if authority else key, hashes.SHA256()))


def _builder(key: Key, name: x509.Name) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def server_context(shows: Shown) -> ssl.SSLContext:
    """What a server shows it with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:  # the ssl module takes keys only from files
        path = Path(file.name)
        path.write_bytes(shows.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + shows.pem)
        context.load_cert_chain(path)
    return context


@asynccontextmanager
async def tls_server(shows: Shown, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Serve on `host`; yield the port."""
    context = server_context(shows)
    context.set_alpn_protocols(["h2"])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(OSError):
            await reader.read()

    server = await asyncio.start_server(serve, host, 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
