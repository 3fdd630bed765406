"""Public keys that nobody may accept: they cost much, prove nothing, or give one key two names."""

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from p2p_core.identity import public_der

from tests.keys import key

__all__ = ["hostile_keys"]


def hostile_keys() -> dict[str, bytes]:
    """By name, in the DER form in which a peer says its key."""
    n = key(2).public_key().public_numbers().n
    numbers = {
        "e = 3": (3, n),
        "e = 1": (1, n),
        "an exponent as long as the modulus": (n - 2, n),
        "512 bits": (65537, (1 << 511) + 1),
        "8200 bits": (65537, (1 << 8199) + 1),
        "an even modulus": (65537, n - 1),
    }
    made = {name: rsa(e, modulus) for name, (e, modulus) in numbers.items()}
    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    made["of an elliptic curve"] = curve.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    made["with a byte behind it"] = public_der(key(2).public_key()) + b"\0"
    made["zeros"] = bytes(294)
    return made


def rsa(e: int, n: int) -> bytes:
    """SubjectPublicKeyInfo of an RSA key that a library may refuse to make (RFC 5280 §4.1.2.7, RFC 8017 §A.1.1)."""
    algorithm = der(0x30, bytes.fromhex("06092a864886f70d010101") + b"\x05\x00")
    return der(0x30, algorithm + der(0x03, b"\0" + der(0x30, integer(n) + integer(e))))


def integer(value: int) -> bytes:
    return der(0x02, value.to_bytes(value.bit_length() // 8 + 1))


def der(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 128:
        return bytes([tag, length]) + content
    size = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes([tag, 128 + len(size)]) + size + content
