import datetime

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import load_der_x509_certificate
from p2p_peer.channel.certificate import ThrowawayCertificate


def test_self_signed_and_valid_now() -> None:
    made = ThrowawayCertificate.make()
    seen = load_der_x509_certificate(made.der)
    seen.verify_directly_issued_by(seen)
    now = datetime.datetime.now(datetime.UTC)
    assert seen.not_valid_before_utc < now < seen.not_valid_after_utc
    key = seen.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    assert key == made.key.public_key()


def test_no_two_are_alike() -> None:
    one, other = ThrowawayCertificate.make(), ThrowawayCertificate.make()
    assert one.key.private_numbers() != other.key.private_numbers()
    assert one.certificate.serial_number != other.certificate.serial_number


def test_says_nothing_about_who_made_it() -> None:
    made = ThrowawayCertificate.make().certificate
    assert made.subject == made.issuer
    assert made.subject.rfc4514_string() == "CN=punchwire"
    assert len(made.extensions) == 0
