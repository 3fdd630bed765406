import base64
import datetime
import hashlib
import math
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st
from p2p_core import identity, limits
from p2p_core.errors import KeyLocked, KeyUnfit, KeyUnreadable, Malformed, PunchwireError
from p2p_core.identity import PeerId

from tests.core import der
from tests.keys import key

MODULUS = key(0).public_key().public_numbers().n
EC_KEY = ec.derive_private_key(7, ec.SECP256R1())
GARBAGE = (b"", b"garbage", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", bytes(range(256)))


def pem(private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> bytes:
    lock = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)


def certificate(private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name, day = x509.Name([]), datetime.datetime(2026, 1, 1)
    builder = x509.CertificateBuilder(name, name, private.public_key(), 1, day, day)
    return builder.sign(private, hashes.SHA256())


# Peer ids.


def test_a_peer_id_is_the_hash_of_the_public_key() -> None:
    public = key(0).public_key()
    assert PeerId.of(public) == hashlib.sha256(identity.public_der(public)).digest()


@given(st.binary(min_size=32, max_size=32))
def test_a_peer_id_survives_printing(value: bytes) -> None:
    peer = PeerId(value)
    text = str(peer)
    assert (len(text), text, text.isalnum()) == (52, text.lower(), True)
    assert PeerId.parse(text) == peer
    assert peer.short == text[:8]
    assert len(peer.words) == 12
    assert repr(peer) == f"PeerId({text[:8]})"


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_peer_id_has_32_bytes(length: int) -> None:
    with pytest.raises(Malformed):
        PeerId(bytes(length))


def test_only_one_spelling_of_a_peer_id_is_read() -> None:
    text = str(PeerId.of(key(0).public_key()))
    last = "abcdefghijklmnopqrstuvwxyz234567"["abcdefghijklmnopqrstuvwxyz234567".index(text[-1]) + 1]
    for other in (
        text.upper(),
        text + "====",
        text[:-1],
        text + "a",
        text[:-1] + last,
        " " + text,
        text[:8],
        "",
        "1" * 52,
    ):
        with pytest.raises(Malformed):
            PeerId.parse(other)


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader_of_peer_ids(text: str) -> None:
    with pytest.raises(Malformed):
        PeerId.parse(text)


# Keys that are accepted.


def test_a_new_key_has_the_right_size_and_exponent() -> None:
    private = identity.generate_key(2048)
    assert private.key_size == 2048
    assert private.public_key().public_numbers().e == 65537


@pytest.mark.parametrize("bits", [0, 1024, 2047, 8193, 16384])
def test_no_key_of_another_size_is_made(bits: int) -> None:
    with pytest.raises(KeyUnfit):
        identity.generate_key(bits)


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("passphrase", [None, b"open sesame"])
def test_key_pairs_are_read_in_both_forms_and_locked(form: PrivateFormat, passphrase: bytes | None) -> None:
    lock = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    data = key(0).private_bytes(Encoding.PEM, form, lock)
    assert identity.load_key_pair(data, passphrase).private_numbers() == key(0).private_numbers()
    if passphrase is not None:
        for wrong in (None, b"", b"open barley"):
            with pytest.raises(KeyLocked):
                identity.load_key_pair(data, wrong)


def test_what_we_write_we_read() -> None:
    assert identity.load_key_pair(identity.private_pem(key(0))).private_numbers() == key(0).private_numbers()
    locked = identity.private_pem(key(0), b"open sesame")
    assert b"ENCRYPTED" in locked
    assert identity.load_key_pair(locked, b"open sesame").private_numbers() == key(0).private_numbers()


@pytest.fixture(scope="module")
def locked() -> bytes:
    """A key pair under the passphrase "open sesame", in DER."""
    return base64.b64decode(b"".join(identity.private_pem(key(0), b"open sesame").splitlines()[1:-1]))


@pytest.mark.parametrize(("at", "bit"), [*((2, bit) for bit in range(6)), *((3, bit) for bit in range(8)), (6, 3)])
def test_a_locked_pair_with_a_broken_derivation_is_refused(locked: bytes, at: int, bit: int) -> None:
    """N is no power of two any more, or r is 0: for numbers that scrypt has no use for, OpenSSL has its own error."""
    broken = bytearray(locked)
    broken[locked.index(der.integer(2**14) + der.integer(8)) + at] ^= 1 << bit
    with pytest.raises(KeyUnreadable, match="this key pair is damaged"):
        identity.load_key_pair(der.locked_pem(bytes(broken)), b"open sesame")


def test_nothing_is_locked_with_an_empty_passphrase() -> None:
    with pytest.raises(ValueError, match="the passphrase is empty"):
        identity.private_pem(key(0), b"")


def test_a_key_of_an_algorithm_that_nobody_knows_is_refused() -> None:
    with pytest.raises(KeyUnreadable):
        identity.load_key_pair(der.private_pem(NOBODYS, b""))
    with pytest.raises(KeyUnreadable):
        identity.load_public_key(der.public_pem(der.rsa_public_key(MODULUS, 65537, algorithm=NOBODYS)))


def test_a_certificate_of_a_version_that_there_is_not_is_refused() -> None:
    good = certificate(key(0)).public_bytes(Encoding.DER)
    broken = good.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020106"), 1)
    with pytest.raises(Malformed):
        identity.spki_hash(broken)
    with pytest.raises(KeyUnreadable):
        identity.load_public_key(der.certificate_pem(broken))
    assert identity.load_public_key(der.certificate_pem(good)) == key(0).public_key()


def test_a_certificate_for_a_key_that_nobody_knows_is_refused() -> None:
    rsa_encryption = bytes.fromhex("06092a864886f70d0101010500")
    broken = certificate(key(0)).public_bytes(Encoding.DER).replace(rsa_encryption, b"\x06\x0b" + bytes([42] * 11), 1)
    with pytest.raises(Malformed):
        identity.spki_hash(broken)


def test_a_passphrase_that_is_not_needed_does_no_harm() -> None:
    identity.load_key_pair(pem(key(0)), b"open sesame")


def test_a_public_key_is_read_from_a_public_key_a_certificate_and_a_key_pair() -> None:
    public = key(0).public_key()
    for data in (identity.public_pem(public), certificate(key(0)).public_bytes(Encoding.PEM), pem(key(0))):
        assert identity.public_der(identity.load_public_key(data)) == identity.public_der(public)
    locked = pem(key(0), b"open sesame")
    assert identity.load_public_key(locked, b"open sesame").public_numbers() == public.public_numbers()
    with pytest.raises(KeyLocked):
        identity.load_public_key(locked)


def test_a_public_key_is_read_from_the_wire() -> None:
    public = identity.public_from_der(identity.public_der(key(0).public_key()))
    assert public.public_numbers() == key(0).public_key().public_numbers()
    assert der.rsa_public_key(MODULUS, 65537) == identity.public_der(public)  # the tests' own DER is right


# Keys that are refused.

UNFIT = {
    "too small": der.rsa_public_key((1 << 1023) | 1, 65537),
    "16384 bits": der.rsa_public_key((1 << 16383) | 1, 65537),
    "exponent 3": der.rsa_public_key(MODULUS, 3),
    "huge exponent": der.rsa_public_key(MODULUS, (1 << 2047) | 1),
    "even modulus": der.rsa_public_key(MODULUS + 1, 65537),
    "elliptic curve": EC_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
}


@pytest.mark.parametrize("spki", UNFIT.values(), ids=UNFIT)
def test_an_unfit_public_key_is_refused_from_a_file(spki: bytes) -> None:
    with pytest.raises(KeyUnfit):
        identity.load_public_key(der.public_pem(spki))


@pytest.mark.parametrize("spki", UNFIT.values(), ids=UNFIT)
def test_an_unfit_public_key_is_refused_from_the_wire(spki: bytes) -> None:
    with pytest.raises(Malformed if len(spki) > limits.MAX_PUBLIC_KEY_BYTES else KeyUnfit):
        identity.public_from_der(spki)


def test_the_longest_accepted_key_fits_the_wire() -> None:
    spki = der.rsa_public_key((1 << 8191) | 1, 65537)
    assert len(spki) <= limits.MAX_PUBLIC_KEY_BYTES
    assert identity.public_from_der(spki).key_size == limits.MAX_KEY_BITS


def test_an_unfit_key_pair_is_refused() -> None:
    for private in (rsa.generate_private_key(65537, 1024), rsa.generate_private_key(3, 2048)):
        with pytest.raises(KeyUnfit):
            identity.load_key_pair(pem(private))


def test_a_key_of_another_kind_is_told_so() -> None:
    with pytest.raises(KeyUnfit, match=r"^this key pair is not one for RSA$"):
        identity.load_key_pair(pem(EC_KEY))
    for data in (der.public_pem(UNFIT["elliptic curve"]), certificate(EC_KEY).public_bytes(Encoding.PEM)):
        with pytest.raises(KeyUnfit, match=r"^this public key is not one for RSA$"):
            identity.load_public_key(data)


def pair_numbers(p: int, q: int) -> list[int]:
    """What stands in a key pair of the factors `p` and `q`, as if both were prime."""
    d = pow(65537, -1, (p - 1) * (q - 1))
    return [p * q, 65537, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p)]


def factors(n: int) -> tuple[int, int]:
    numbers = key(n).private_numbers()
    return numbers.p, numbers.q


def test_a_pair_that_is_whole_is_read() -> None:
    assert identity.load_key_pair(der.rsa_private_pem(*pair_numbers(*factors(0)))).key_size == 2048


@pytest.mark.parametrize("at", [0, 2, 3, 4, 5, 6, 7], ids="n d p q dp dq qi".split())
@pytest.mark.parametrize("change", [1, 2, -(10**30)])
def test_a_damaged_pair_is_refused(at: int, change: int) -> None:
    """A number that does not fit the others would sign nothing that verifies, much later."""
    numbers = pair_numbers(*factors(0))
    numbers[at] += change
    with pytest.raises((KeyUnreadable, KeyUnfit)):
        identity.load_key_pair(der.rsa_private_pem(*numbers))


@pytest.mark.parametrize("at", range(2, 8))
@pytest.mark.parametrize("value", [0, 1, 2])
def test_a_pair_with_a_number_of_no_sense_is_refused(at: int, value: int) -> None:
    numbers = pair_numbers(*factors(0))
    numbers[at] = value
    with pytest.raises(KeyUnreadable):
        identity.load_key_pair(der.rsa_private_pem(*numbers))


def test_a_pair_one_of_whose_factors_is_the_modulus_is_refused() -> None:
    p, q = factors(0)
    for phi in ((p - 1) * (q - 1), p * q - 1):  # the second one fits that factor
        d = pow(65537, -1, phi)
        for first, second in ((1, p * q), (p * q, 1)):
            with pytest.raises(KeyUnreadable):
                identity.load_key_pair(der.rsa_private_pem(p * q, 65537, d, first, second, 1, 1, 1))


@pytest.mark.parametrize("is_larger", [True, False])
def test_a_pair_with_the_factors_of_another_modulus_is_refused(is_larger: bool) -> None:
    """Its exponent fits both, so it signs what verifies: OpenSSL goes without the factors when they lead nowhere."""
    (p, q), (r, s) = sorted((factors(0), factors(1)), key=math.prod, reverse=is_larger)
    d = pow(65537, -1, math.lcm(p - 1, q - 1, r - 1, s - 1))
    numbers = [r * s, 65537, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p)]
    with pytest.raises(KeyUnreadable, match="damaged"):
        identity.load_key_pair(der.rsa_private_pem(*numbers))


def test_a_pair_whose_factors_are_not_prime_is_refused() -> None:
    """All its numbers belong together; but it signs nothing that verifies."""
    (p, q), (r, s) = factors(0), factors(1)
    for first, second in ((p * q, r * s), (p, q * r), (p * p, q)):
        with pytest.raises(KeyUnreadable, match="damaged"):
            identity.load_key_pair(der.rsa_private_pem(*pair_numbers(first, second)))


@pytest.mark.parametrize("is_first", [True, False])
def test_an_exponent_that_holds_for_half_of_all_messages_is_refused(is_first: bool) -> None:
    """It is off by half of p - 1: whether the trial signature verifies depends on how OpenSSL blinds it."""
    p, q = factors(4)
    e, half, step = 65537, (p - 1) // 2, (q - 1) // 2  # both p - 1 and q - 1 are even, and have nothing else in common
    wanted = pow(e, -1, p - 1) * (1 + half) % (p - 1)
    d = pow(e, -1, q - 1)
    d += (q - 1) * ((wanted - d) // 2 * pow(step, -1, half) % half)
    assert (d * e % (q - 1), d * e % half, d * e % (p - 1)) == (1, 1, 1 + half)
    first, second = (p, q) if is_first else (q, p)
    numbers = [p * q, e, d, first, second, d % (first - 1), d % (second - 1), pow(second, -1, first)]
    for _ in range(24):
        with pytest.raises(KeyUnreadable, match="damaged"):
            identity.load_key_pair(der.rsa_private_pem(*numbers))


def test_the_size_of_a_pair_is_looked_at_before_its_numbers() -> None:
    """Checks take minutes for a key as large as somebody likes to write down."""
    huge = pair_numbers((1 << 8192) + 1, (1 << 8192) + 3)
    with pytest.raises(KeyUnfit, match="this has 16385"):
        identity.load_key_pair(der.rsa_private_pem(*huge))


@pytest.mark.parametrize("data", GARBAGE)
def test_garbage_is_no_key(data: bytes) -> None:
    with pytest.raises(KeyUnreadable):
        identity.load_key_pair(data)
    with pytest.raises(KeyUnreadable):
        identity.load_public_key(data)
    with pytest.raises(Malformed):
        identity.public_from_der(data)


def test_a_public_key_is_no_key_pair() -> None:
    for data in (identity.public_pem(key(0).public_key()), certificate(key(0)).public_bytes(Encoding.PEM)):
        with pytest.raises(KeyUnreadable, match="the key pair is needed"):
            identity.load_key_pair(data)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="there is no ssh-keygen")
def test_the_advice_about_keys_of_ssh_works(tmp_path: Path) -> None:
    pair, public = tmp_path / "id_rsa", tmp_path / "id_rsa.pub"
    pair.write_bytes(key(0).private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public.write_bytes(key(0).public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    pair.chmod(0o600)
    with pytest.raises(KeyUnreadable, match="OpenSSH") as caught:
        identity.load_key_pair(pair.read_bytes())
    assert caught.value.advice.startswith("Make a pair with p2p-peer keygen DIR; ")
    copy = tmp_path / "copy"
    shutil.copy(pair, copy)
    run_advised(caught.value.advice, "COPY", copy, "-N", "")
    assert identity.load_key_pair(copy.read_bytes()).private_numbers() == key(0).private_numbers()
    with pytest.raises(KeyUnreadable, match="OpenSSH") as caught:
        identity.load_public_key(public.read_bytes())
    assert caught.value.advice.startswith("Give a public.pem that p2p-peer keygen made; ")
    printed = run_advised(caught.value.advice, "KEY.pub", public)
    assert identity.load_public_key(printed) == key(0).public_key()


def run_advised(advice: str, name: str, path: Path, *more: str) -> bytes:
    """Run the command that a sentence of advice ends with, and return what it prints."""
    command = [str(path) if word == name else word for word in shlex.split(advice.rpartition(": ")[2])]
    assert str(path) in command
    return subprocess.run([*command, *more], stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout


def test_a_public_key_in_the_place_of_the_key_pair_is_told() -> None:
    for public in (identity.public_pem(key(0).public_key()), certificate(key(0)).public_bytes(Encoding.PEM)):
        with pytest.raises(KeyUnreadable, match=r"^this is a public key; the key pair is needed here$") as caught:
            identity.load_key_pair(public)
        assert caught.value.advice == "Give your key.pem; the public.pem made with it is for the others."


def test_a_broken_public_key_is_no_key_pair_for_that() -> None:
    broken = identity.public_pem(key(0).public_key()).replace(b"MII", b"MIJ", 1)
    with pytest.raises(KeyUnreadable, match="this public key is damaged"):
        identity.load_public_key(broken)


def test_a_passphrase_that_is_not_needed_does_not_make_a_broken_key_pair_a_locked_one() -> None:
    with pytest.raises(KeyUnreadable, match="this key pair is damaged"):
        identity.load_key_pair(pem(key(0)).replace(b"MII", b"MIJ", 1), b"open sesame")


def test_a_broken_certificate_is_no_public_key() -> None:
    broken = certificate(key(0)).public_bytes(Encoding.PEM).replace(b"MII", b"MIJ", 1)
    with pytest.raises(KeyUnreadable):
        identity.load_public_key(broken)


# SHA-256, MGF1 with it, and a salt of 32 bytes (RFC 4055 §3.1).
PSS = bytes.fromhex(
    "304106092a864886f70d01010a3034a00f300d06096086480165030402010500"
    "a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120"
)
NOBODYS = bytes.fromhex("300606042b060104")  # an algorithm that nobody knows
NOT_CANONICAL = {
    "a length in the long form": der.rsa_public_key(MODULUS, 65537, long_form=True),
    "bytes behind it": der.rsa_public_key(MODULUS, 65537) + b"\0",
    "PKCS#1": der.tlv(0x30, der.integer(MODULUS) + der.integer(65537)),
    "parameters left out": der.rsa_public_key(MODULUS, 65537, algorithm=bytes.fromhex("300b06092a864886f70d010101")),
    "RSA-PSS": der.rsa_public_key(MODULUS, 65537, algorithm=bytes.fromhex("300b06092a864886f70d01010a")),
    "an algorithm that nobody knows": der.rsa_public_key(MODULUS, 65537, algorithm=NOBODYS),
    "RSA-PSS with parameters": der.rsa_public_key(MODULUS, 65537, algorithm=PSS),
    "PEM": identity.public_pem(key(0).public_key()),
}


@pytest.mark.parametrize("data", NOT_CANONICAL.values(), ids=NOT_CANONICAL)
def test_a_key_from_the_wire_has_one_form(data: bytes) -> None:
    with pytest.raises(Malformed):
        identity.public_from_der(data)


def test_it_is_read_up_to_the_longest_one() -> None:
    with pytest.raises(Malformed, match="not a public key"):
        identity.public_from_der(bytes(limits.MAX_PUBLIC_KEY_BYTES))
    with pytest.raises(Malformed, match=f"^a public key of {limits.MAX_PUBLIC_KEY_BYTES + 1} bytes$"):
        identity.public_from_der(bytes(limits.MAX_PUBLIC_KEY_BYTES + 1))


@given(st.binary(max_size=400))
def test_no_bytes_from_the_wire_break_the_reader_of_keys(data: bytes) -> None:
    with pytest.raises((Malformed, KeyUnfit)):
        identity.public_from_der(data)


@given(st.integers(0, 293), st.integers(1, 255))
def test_no_altered_key_breaks_the_reader(at: int, flip: int) -> None:
    data = bytearray(identity.public_der(key(0).public_key()))
    data[at] ^= flip
    try:
        public = identity.public_from_der(bytes(data))
    except (Malformed, KeyUnfit):
        return
    assert identity.public_der(public) == data


@given(st.binary(max_size=200))
def test_no_file_breaks_the_readers(data: bytes) -> None:
    for load in (identity.load_key_pair, identity.load_public_key):
        for wrapped in (data, der.public_pem(data)):
            with pytest.raises(PunchwireError):
                load(wrapped)


# The mediator's id.


def test_a_certificates_key_is_hashed() -> None:
    shown = certificate(EC_KEY)
    spki = EC_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert identity.spki_hash(shown.public_bytes(Encoding.DER)) == hashlib.sha256(spki).digest()
    with pytest.raises(Malformed):
        identity.spki_hash(b"garbage")
    der = bytearray(shown.public_bytes(Encoding.DER))
    der[der.index(bytes.fromhex("a003020102")) + 4] = 98
    with pytest.raises(Malformed):  # a version 99 that OpenSSL takes
        identity.spki_hash(bytes(der))
