"""Keys and certificates: as files, and as they come over the wire."""

import base64
import functools
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from p2p_core.errors import (
    KeyLocked,
    KeyUnfit,
    KeyUnreadable,
    Malformed,
    MediatorUnreachable,
    NotPrivate,
    UsageError,
)
from p2p_core.identity import (
    PeerId,
    RSAPrivateKey,
    RSAPublicKey,
    load_key_pair,
    load_public_key,
    private_pem,
    public_der,
    public_from_der,
    public_pem,
    spki_hash,
)
from p2p_core.limits import MAX_KEY_BITS, MIN_KEY_BITS
from p2p_core.word_list import spell
from p2p_peer.keyfiles import read_public_key
from p2p_peer.mediator_identity import _readable, _valid_name
from p2p_server.authorized import KeyFolder
from p2p_server.tls import load

from tests.fuzz.shapes import chosen, file_of, shown, text_of
from tests.fuzz.target import Target
from tests.keys import key
from tests.vectors import pages

_KEYS = (KeyLocked, KeyUnfit, KeyUnreadable)
_DAY = datetime(2026, 1, 1, tzinfo=UTC)


@functools.cache
def certificate(subject_key: int | None = None) -> bytes:
    """Return a certificate in DER: of an RSA key, or of an elliptic curve's."""
    secret = ec.derive_private_key(7, ec.SECP256R1()) if subject_key is None else key(subject_key)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mediator")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(1)
        .not_valid_before(_DAY)
        .not_valid_after(_DAY + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("m.example")]), critical=False)
    )
    return builder.sign(secret, hashes.SHA256()).public_bytes(Encoding.DER)


def _pem(der: bytes, what: str) -> bytes:
    """Return what would be read of a PEM file that holds `der`."""
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (what.encode(), base64.encodebytes(der), what.encode())


_KINDS = ("PUBLIC KEY", "CERTIFICATE", "PRIVATE KEY", "RSA PRIVATE KEY", "RSA PUBLIC KEY", "EC PRIVATE KEY")


def _public(data: bytes) -> RSAPublicKey:
    """Read what came, or a PEM file whose DER came."""
    way, data = chosen(data, 1 + len(_KINDS))
    return load_public_key(_pem(data, _KINDS[way - 1]) if way else data)


def _pair(data: bytes) -> RSAPrivateKey:
    way, data = chosen(data, 1 + len(_KINDS))
    return load_key_pair(_pem(data, _KINDS[way - 1]) if way else data)


def _fits(read: RSAPublicKey) -> None:
    assert MIN_KEY_BITS <= read.key_size <= MAX_KEY_BITS
    assert read.public_numbers().e == 65537
    assert public_from_der(public_der(read)).public_numbers() == read.public_numbers()
    assert load_public_key(public_pem(read)).public_numbers() == read.public_numbers()
    peer = PeerId.of(read)
    assert PeerId.parse(str(peer)) == peer
    assert len(peer.words) == 12


def _pair_fits(read: RSAPrivateKey) -> None:
    _fits(read.public_key())
    assert load_key_pair(private_pem(read)).private_numbers() == read.private_numbers()


def _peer_id(data: bytes) -> PeerId:
    return PeerId.parse(text_of(data))


def _peer_id_holds(peer: PeerId) -> None:
    assert PeerId(bytes(peer)) == peer
    assert len(spell(peer)) == 32


def _mediator(data: bytes) -> str:
    """Read a certificate as a mediator shows it."""
    found, _ = _readable(data, "mediator.example", 54700)
    return _valid_name(found)


def _tls(data: bytes) -> bytes:
    """Read the mediator's own certificate and its key, of which one is as it should be."""
    way, data = chosen(data, 4)
    secret = ec.derive_private_key(7, ec.SECP256R1())
    right = secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = (data, _pem(data, "CERTIFICATE"), _pem(certificate(), "CERTIFICATE"), _pem(certificate(), "CERTIFICATE"))
    own = (right, right, data, _pem(data, "PRIVATE KEY"))
    return load(file_of(chain[way], "chain"), file_of(own[way], "own-key")).leaf_der


def _folder(data: bytes) -> PeerId | None:
    """Read a file of the folder of authorized keys that has the name of key 0."""
    peer = PeerId.of(key(0).public_key())
    path = file_of(data, f"{peer}.pem")
    path = path.rename(path.with_name(f"{peer}.pem"))
    return KeyFolder(path.parent).whose(path.name)


def _folder_holds(peer: PeerId | None) -> None:
    assert peer in (None, PeerId.of(key(0).public_key()))


def _others() -> list[bytes]:
    """Return public keys in DER that are not for RSA."""
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    made = (
        ec.derive_private_key(7, ec.SECP384R1()).public_key(),
        ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key(),
        x25519.X25519PrivateKey.from_private_bytes(bytes(32)).public_key(),
        ec.derive_private_key(9, ec.SECP256K1()).public_key(),
    )
    return [one.public_bytes(*spki) for one in made]


def _public_ders() -> list[bytes]:
    return [pages.read("public-key-0"), pages.read("public-key-1"), *_others()]


def _public_seeds() -> list[bytes]:
    ders = [bytes([1]) + der for der in _public_ders()]
    certificates = [bytes([2]) + certificate(), bytes([2]) + certificate(0)]
    return [*ders, *certificates, b"\0" + public_pem(key(0).public_key()), b"\0ssh-rsa AAAA"]


def _pair_seeds() -> list[bytes]:
    secret = key(0)
    pkcs8 = secret.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    pkcs1 = secret.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return [b"\3" + pkcs8, b"\4" + pkcs1, b"\0" + private_pem(secret), b"\0" + public_pem(secret.public_key())]


def _tls_seeds() -> list[bytes]:
    secret = ec.derive_private_key(7, ec.SECP256R1())
    der = secret.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return [b"\1" + certificate(), b"\1" + certificate(0), b"\3" + der, b"\0" + _pem(certificate(), "CERTIFICATE")]


TARGETS = (
    Target(
        name="public-key",
        of=("p2p_core.identity.load_public_key",),
        parse=_public,
        raises=_KEYS,
        seeds=_public_seeds,
        holds=_fits,
    ),
    Target(
        name="key-pair",
        of=("p2p_core.identity.load_key_pair",),
        parse=_pair,
        raises=_KEYS,
        seeds=_pair_seeds,
        holds=_pair_fits,
    ),
    Target(
        name="public-key-of-peer",
        of=("p2p_core.identity.public_from_der",),
        parse=public_from_der,
        raises=(Malformed, KeyUnfit),
        seeds=_public_ders,
        holds=_fits,
    ),
    Target(
        name="key-file",
        of=("p2p_peer.keyfiles.read_public_key", "p2p_peer.keyfiles.read_key_pair"),
        parse=lambda data: read_public_key(file_of(data, "public.pem")),
        raises=_KEYS,
        seeds=lambda: [public_pem(key(0).public_key()), _pem(certificate(0), "CERTIFICATE")],
        holds=_fits,
    ),
    Target(
        name="authorized-key",
        of=("p2p_server.authorized.KeyFolder.whose",),
        parse=_folder,
        seeds=lambda: [
            public_pem(key(0).public_key()),
            public_pem(key(1).public_key()),
            _pem(certificate(0), "CERTIFICATE"),
        ],
        holds=_folder_holds,
    ),
    Target(
        name="peer-id",
        of=("p2p_core.identity.PeerId.parse", "p2p_core.word_list.spell"),
        parse=_peer_id,
        raises=(Malformed,),
        seeds=lambda: [pages.read_text("peer-id-0-printed").encode(), b"ABC", "ß".encode() * 26],
        holds=_peer_id_holds,
    ),
    Target(
        name="mediator-id",
        of=("p2p_core.identity.spki_hash",),
        parse=spki_hash,
        raises=(Malformed,),
        seeds=lambda: [certificate(), certificate(0)],
    ),
    Target(
        name="mediator-certificate",
        of=("p2p_peer.mediator_identity._readable", "p2p_peer.mediator_identity._valid_name"),
        parse=_mediator,
        raises=(MediatorUnreachable,),
        seeds=lambda: [certificate(), certificate(0)],
        holds=shown,
    ),
    Target(
        name="own-certificate",
        of=("p2p_server.tls.load",),
        parse=_tls,
        raises=(UsageError, NotPrivate),
        seeds=_tls_seeds,
    ),
)
