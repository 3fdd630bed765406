"""Who is the mediator? Its TLS certificate, fetched first, judged, and pinned for the gRPC connection that follows.

gRPC for Python shows no peer certificate. So the peer fetches the leaf with a plain TLS connection, judges it, gives
it to gRPC as the only root, and binds its key proof to the leaf's hash: docs/protocol/mediator.md.
"""

import asyncio
import errno
import ipaddress
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import Enum

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from p2p_core.errors import Malformed, MediatorKeyChanged, MediatorUnreachable, NotAuthenticated
from p2p_core.identity import spki_hash
from p2p_core.proof import ChannelBinding
from p2p_core.wire.candidate import Address

from p2p_peer.trust import MediatorId, TrustStore
from p2p_peer.what_answers import speaks_http2

__all__ = [
    "MediatorIdentity",
    "Vouched",
    "look_at",
    "reach_unauthenticated",
    "recognise",
    "with_new_certificate",
]

CONNECT_TIME = 10.0  # s for connecting and TLS
_NO_WAY = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETUNREACH})
_HAPPY_EYEBALLS = 0.25  # s before the next address of a name is tried as well (RFC 8305 §8)

_NOT_PARSED = (  # by cryptography
    ValueError,
    TypeError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

_log = logging.getLogger(__name__)


class Vouched(Enum):
    """Why a mediator's key is believed."""

    BY_OPTION = "given on the command line"
    BY_MEMORY = "remembered from an earlier connection"
    BY_ROOTS = "vouched for by this computer's certificate roots"
    BY_USER = "confirmed by the user at the first connection"
    ON_FIRST_USE = "first connection to this name"


@dataclass(frozen=True, slots=True)
class MediatorIdentity:
    """A mediator that was reached, and what is known of it. Without TLS there is no id and nothing to pin."""

    address: Address  # the one that answered, of those the name resolves to
    id: MediatorId | None
    vouched: Vouched | None
    leaf_pem: bytes
    leaf_name: str  # a name the certificate is valid for
    binding: ChannelBinding
    replaced: MediatorId | None = None  # remembered for the name until now; the roots vouch for the new one


async def recognise(
    host: str,
    port: int,
    *,
    store: TrustStore,
    expected: MediatorId | None = None,
    met: MediatorId | None = None,
    confirm: Callable[[MediatorId], Awaitable[bool]] | None = None,
) -> MediatorIdentity:
    """Reach the mediator and decide whether its key is to be believed; remember it if so.

    `expected` holds whatever is remembered, which is not even read then, and so does `met`, the id it had when this
    process believed it before; `confirm` is asked on first use (None: accept). Raises `MediatorUnreachable`,
    `MediatorKeyChanged`, `NotAuthenticated` when `confirm` says no, or `UsageError` when what is remembered cannot be
    read or written.
    """
    leaf, address = await _fetch_leaf(host, port, _blind_context())
    certificate, mediator = _readable(leaf, host, port)
    _log.info("the mediator at %s answered; its id is %s", address, mediator)
    name = f"{host}:{port}"
    if expected is None and met is not None and met != mediator:
        raise _changed(name, met, mediator, store)
    vouched = await _judge(name, mediator, expected or met, store, lambda: _roots_vouch(host, port, leaf))
    _log.info("its key: %s", vouched.value)
    if vouched is Vouched.ON_FIRST_USE and confirm is not None:
        if not await confirm(mediator):
            raise NotAuthenticated("the mediator was not accepted: its id was not confirmed")
        vouched = Vouched.BY_USER
    replaced = None if vouched is Vouched.BY_OPTION else store.remember(name, mediator)
    if replaced is not None:
        _log.info("another id was remembered for it until now: %s", replaced)
    return MediatorIdentity(
        address=address,
        id=mediator,
        vouched=vouched,
        leaf_pem=certificate.public_bytes(Encoding.PEM),
        leaf_name=_valid_name(certificate),
        binding=ChannelBinding.of_certificate(leaf),
        replaced=replaced,
    )


async def look_at(host: str, port: int) -> tuple[Address, MediatorId]:
    """Return where a mediator answers, and its id, which nobody has vouched for. Raises `MediatorUnreachable`."""
    leaf, address = await _fetch_leaf(host, port, _blind_context())
    _, mediator = _readable(leaf, host, port)
    return address, mediator


async def with_new_certificate(mediator: MediatorIdentity) -> MediatorIdentity | None:
    """Return a mediator as it shows itself now: it renews its certificate, and another instance may have its own.

    None if that is no other than the one that is known, or is of another key. Raises `MediatorUnreachable`.
    """
    if mediator.id is None:
        return None
    host, port = mediator.address.host, mediator.address.port
    leaf, _ = await _fetch_leaf(host, port, _blind_context())
    certificate, shown = _readable(leaf, host, port)
    pem = certificate.public_bytes(Encoding.PEM)
    if shown != mediator.id or pem == mediator.leaf_pem:
        return None
    _log.info("the mediator at %s has a new certificate of the same key", mediator.address)
    return replace(
        mediator, leaf_pem=pem, leaf_name=_valid_name(certificate), binding=ChannelBinding.of_certificate(leaf)
    )


async def reach_unauthenticated(host: str, port: int) -> MediatorIdentity:
    """Reach a mediator whose TLS ends somewhere else: nothing is known of it. Raises `MediatorUnreachable`."""
    transport = await _connect(host, port, None)
    try:
        address = _peer_address(transport)
    finally:
        transport.abort()
    _log.info("the mediator at %s answered; without TLS nobody vouches for it", address)
    return MediatorIdentity(address, None, None, b"", "", ChannelBinding.none())


async def _judge(
    name: str,
    mediator: MediatorId,
    expected: MediatorId | None,
    store: TrustStore,
    roots_vouch: Callable[[], Awaitable[bool]],
) -> Vouched:
    if expected is not None:
        if expected != mediator:
            raise MediatorKeyChanged(
                f"the mediator at {name} has the id {mediator}, not the one that was asked for: {expected}",
                advice="Ask its owner, by another way than this one, which id is right, and give that one.",
            )
        return Vouched.BY_OPTION
    known = store.known(name)
    if known == mediator:
        return Vouched.BY_MEMORY
    if await roots_vouch():
        return Vouched.BY_ROOTS
    if known is not None:
        raise _changed(name, known, mediator, store)
    return Vouched.ON_FIRST_USE


def _changed(name: str, known: MediatorId, mediator: MediatorId, store: TrustStore) -> MediatorKeyChanged:
    return MediatorKeyChanged(
        f"the key of the mediator at {name} has changed: it was {known}, it is now {mediator}. Somebody may "
        "be in its place",
        advice="Ask its owner, by another way than this one, which id is right. If it is the new one: "
        f"{store.command('remove', name)}",
    )


async def _roots_vouch(host: str, port: int, leaf: bytes) -> bool:
    _log.debug("its key is not remembered; asking this computer's certificate roots")
    try:
        vouched, _ = await _fetch_leaf(host, port, ssl.create_default_context())
    except MediatorUnreachable as error:
        _log.debug("they do not vouch for it: %s", error.__cause__ or error)
        return False
    return vouched == leaf


async def _fetch_leaf(host: str, port: int, context: ssl.SSLContext) -> tuple[bytes, Address]:
    transport = await _connect(host, port, context)
    try:
        tls = transport.get_extra_info("ssl_object")
        if tls.selected_alpn_protocol() != "h2":  # gRPC needs it; told now, before anybody's key is remembered
            raise _no_mediator(host, port, "it speaks TLS, but not gRPC")
        leaf = tls.getpeercert(binary_form=True)
        return leaf, _peer_address(transport)
    finally:
        transport.abort()


async def _connect(host: str, port: int, context: ssl.SSLContext | None) -> asyncio.Transport:
    loop = asyncio.get_running_loop()
    _log.debug("connecting to the mediator at %s, port %d", host, port)
    if context is not None:
        context.set_alpn_protocols(["h2"])
    try:
        async with asyncio.timeout(CONNECT_TIME):
            transport, _ = await loop.create_connection(
                asyncio.Protocol,
                host,
                port,
                ssl=context,
                # No race of one: asyncio leaves the winner's socket open if it is cancelled at that very moment.
                happy_eyeballs_delay=None if _is_numeric(host) else _HAPPY_EYEBALLS,
            )
    except TimeoutError:
        raise MediatorUnreachable(f"no answer from {host}:{port} within {CONNECT_TIME:g} s") from None
    except ssl.SSLCertVerificationError as error:
        raise MediatorUnreachable(f"the roots do not vouch for {host}:{port}: {error.verify_message}") from error
    except ssl.SSLError as error:
        if await speaks_http2(host, port):
            raise MediatorUnreachable(
                f"the mediator at {host}:{port} speaks without TLS",
                advice="If its owner wants it so, give --insecure; nobody vouches for the mediator then.",
            ) from error
        raise _no_mediator(host, port, f"it does not speak TLS as one does ({error.reason})") from error
    except (OSError, ValueError) as error:  # a name like "a..b" does not even get as far as a look-up
        raise _unreachable(host, port, error) from error
    return transport


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _no_mediator(host: str, port: int, why: str) -> MediatorUnreachable:
    return MediatorUnreachable(
        f"what answers at {host}:{port} is not a mediator: {why}",
        advice="Ask the mediator's owner for HOST and PORT; the port is usually 54700.",
    )


def _unreachable(host: str, port: int, error: OSError | ValueError) -> MediatorUnreachable:
    """Say why no connection came up."""
    what = f"cannot reach a mediator at {host}:{port}"
    match error:
        case ValueError() | socket.gaierror():
            why = error.strerror if isinstance(error, OSError) else "that is no name of a computer"
            advice = "Check how HOST is spelled, and whether this computer has a network."
            return MediatorUnreachable(f"{what}: {why}", advice=advice)
        case ConnectionResetError() | ConnectionAbortedError():
            return MediatorUnreachable(f"{what}: whatever answers there closed the connection")
    if error.errno in _NO_WAY:
        return MediatorUnreachable(
            f"{what}: this computer has no way to an address of that kind",
            advice="Check whether it has a network, and whether HOST and this computer both have IPv4, or both IPv6.",
        )
    if error.errno is not None:  # asyncio's own sentence repeats the address
        return MediatorUnreachable(f"{what}: {os.strerror(error.errno)}")
    return MediatorUnreachable(f"{what}: none of the addresses of that name answers")


def _blind_context() -> ssl.SSLContext:
    """TLS to look at a certificate: it is judged afterwards, by `_judge`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _peer_address(transport: asyncio.Transport) -> Address:
    name = transport.get_extra_info("peername")
    return Address.of(name[0], name[1])


def _readable(leaf: bytes, host: str, port: int) -> tuple[x509.Certificate, MediatorId]:
    """Read a certificate and the id in it, or say that what answers there shows one that nobody can read."""
    try:
        certificate = x509.load_der_x509_certificate(leaf)
        mediator = MediatorId(spki_hash(leaf))
        certificate.extensions, certificate.subject  # noqa: B018 - parsed when looked at
    except (*_NOT_PARSED, Malformed) as error:
        raise _no_mediator(host, port, f"its certificate cannot be read ({error})") from error
    return certificate, mediator


def _valid_name(certificate: x509.Certificate) -> str:
    """Return a name that the certificate covers: gRPC insists on checking one, and the leaf itself is pinned."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return str(common[0].value) if common else ""
    dns = names.get_values_for_type(x509.DNSName)
    if dns:
        return dns[0].replace("*", "any", 1)
    addresses = names.get_values_for_type(x509.IPAddress)
    return str(addresses[0]) if addresses else ""
