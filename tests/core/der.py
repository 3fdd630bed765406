"""Just enough DER (X.690) to write keys that no library would make."""

import base64

__all__ = ["integer", "public_pem", "rsa_private_pem", "rsa_public_key", "tlv"]

_RSA_ENCRYPTION = bytes.fromhex("300d06092a864886f70d0101010500")


def tlv(tag: int, content: bytes, *, long_form: bool = False) -> bytes:
    """Return one element; `long_form` writes its length with a leading zero, which BER allows and DER does not."""
    size = len(content)
    if size < 0x80 and not long_form:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    if long_form:
        length = b"\0" + length
    return bytes([tag, 0x80 | len(length)]) + length + content


def integer(value: int) -> bytes:
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def rsa_public_key(
    modulus: int, exponent: int, *, algorithm: bytes = _RSA_ENCRYPTION, long_form: bool = False
) -> bytes:
    """Return a SubjectPublicKeyInfo."""
    numbers = tlv(0x30, integer(modulus) + integer(exponent))
    return tlv(0x30, algorithm + tlv(0x03, b"\0" + numbers), long_form=long_form)


def public_pem(der: bytes) -> bytes:
    return _pem(b"PUBLIC KEY", der)


def rsa_private_pem(*numbers: int) -> bytes:
    """Return a PKCS#1 key pair of n, e, d, p, q, d mod p-1, d mod q-1 and the inverse of q mod p (RFC 8017 §A.1.2)."""
    data = tlv(0x30, b"".join(map(integer, (0, *numbers))))
    return _pem(b"RSA PRIVATE KEY", data)


def private_pem(algorithm: bytes, key: bytes) -> bytes:
    """A PKCS#8 PEM (RFC 5208 §5)."""
    return _pem(b"PRIVATE KEY", tlv(0x30, integer(0) + algorithm + tlv(0x04, key)))


def locked_pem(data: bytes) -> bytes:
    """A PKCS#8 PEM under a passphrase (RFC 5958 §3)."""
    return _pem(b"ENCRYPTED PRIVATE KEY", data)


def certificate_pem(der: bytes) -> bytes:
    return _pem(b"CERTIFICATE", der)


def _pem(label: bytes, der: bytes) -> bytes:
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (label, base64.encodebytes(der), label)
