"""A private key under a passphrase: PKCS#8 with PBES2 (RFC 8018 §6.2), whose key is made by scrypt (RFC 7914).

cryptography writes such files with 2048 rounds of PBKDF2, which a thief's graphics card tries by the million; scrypt
takes 16 MiB and 0.2 s for each try. OpenSSL, and cryptography itself, read both.
"""

import base64
import os
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.padding import PKCS7

__all__ = ["locked_pem"]

# 16 MiB, five times over: what OWASP's cheat sheet on storing passwords names, within the 32 MiB that OpenSSL gives.
_N: Final = 2**14
_R: Final = 8
_P: Final = 5
_SALT_BYTES: Final = 16
_KEY_BYTES: Final = 32
_BLOCK_BYTES: Final = 16
_LINE: Final = 64  # RFC 7468 §2

_INTEGER: Final = 0x02
_OCTET_STRING: Final = 0x04
_OBJECT_IDENTIFIER: Final = 0x06
_SEQUENCE: Final = 0x30

_PBES2: Final = bytes.fromhex("2a864886f70d01050d")  # 1.2.840.113549.1.5.13, RFC 8018 §A.4
_SCRYPT: Final = bytes.fromhex("2b06010401da47040b")  # 1.3.6.1.4.1.11591.4.11, RFC 7914 §7
_AES_256_CBC: Final = bytes.fromhex("60864801650304012a")  # 2.16.840.1.101.3.4.1.42, RFC 8018 §B.2.5


def locked_pem(key_der: bytes, passphrase: bytes) -> bytes:
    """`key_der`, a PKCS#8 PrivateKeyInfo in DER, as a PEM file `ENCRYPTED PRIVATE KEY` under `passphrase`."""
    salt, iv = os.urandom(_SALT_BYTES), os.urandom(_BLOCK_BYTES)
    key = Scrypt(salt=salt, length=_KEY_BYTES, n=_N, r=_R, p=_P).derive(passphrase)
    padder = PKCS7(8 * _BLOCK_BYTES).padder()
    padded = padder.update(key_der) + padder.finalize()
    encryptor = Cipher(AES(key), CBC(iv)).encryptor()
    derivation = _sequence(_value(_OCTET_STRING, salt), _integer(_N), _integer(_R), _integer(_P))
    scheme = _sequence(
        _algorithm(_SCRYPT, derivation),
        _algorithm(_AES_256_CBC, _value(_OCTET_STRING, iv)),
    )
    data = _value(_OCTET_STRING, encryptor.update(padded) + encryptor.finalize())
    return _pem("ENCRYPTED PRIVATE KEY", _sequence(_algorithm(_PBES2, scheme), data))


def _algorithm(name: bytes, parameters: bytes) -> bytes:
    return _sequence(_value(_OBJECT_IDENTIFIER, name), parameters)


def _sequence(*parts: bytes) -> bytes:
    return _value(_SEQUENCE, b"".join(parts))


def _integer(number: int) -> bytes:
    return _value(_INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def _value(tag: int, content: bytes) -> bytes:
    """One element in DER (X.690 §8.1)."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _pem(label: str, data: bytes) -> bytes:
    text = base64.b64encode(data).decode("ascii")
    lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode("ascii")
