"""QUIC packets that anybody can make who sees the first one of a connection: RFC 9000 §17.2, RFC 9001 §5.2, §5.8."""

import os
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from p2p_core.proof import Role

__all__ = ["FirstPacket", "close_frame", "is_long", "stateless_reset"]

_VERSION_1 = (1).to_bytes(4, "big")
_SALT = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")
_RETRY_KEY = bytes.fromhex("be0c690b9f66575a1d766b54e368c84e")
_RETRY_NONCE = bytes.fromhex("461599d35d632bf2239825bb")
_LEAST = 1200  # bytes of a datagram with an Initial packet, RFC 9000 §14.1


def is_long(datagram: bytes) -> bool:
    """Whether it begins with a packet of a handshake."""
    return len(datagram) > 6 and datagram[0] & 0xC0 == 0xC0


def close_frame(code: int = 0) -> bytes:
    """CONNECTION_CLOSE without a reason, RFC 9000 §19.19."""
    return bytes([0x1C, code, 0, 0])


def stateless_reset() -> bytes:
    """As long as one may be, with a token nobody has given out (RFC 9000 §10.3)."""
    return bytes([0x40 | os.urandom(1)[0] & 0x3F]) + os.urandom(60)


@dataclass(frozen=True)
class FirstPacket:
    """What a client's first packet shows to everybody."""

    destination: bytes  # chosen by the client; the keys of Initial packets are made of it
    source: bytes

    @classmethod
    def of(cls, datagram: bytes) -> "FirstPacket":
        at = 6 + datagram[5]
        return cls(datagram[6:at], datagram[at + 1 : at + 1 + datagram[at]])

    def initial(self, to: Role, frames: bytes, number: int = 7) -> bytes:
        """An Initial packet with these frames, as from the other side of who is `to`."""
        from_client = to is Role.RESPONDER
        destination, source = (self.destination, self.source) if from_client else (self.source, b"\x05" * 8)
        key, iv, hp = self._keys(b"client in" if from_client else b"server in")
        frames += bytes(_LEAST - 60 - len(frames))  # PADDING
        length = 4 + len(frames) + 16
        header = bytes([0xC3]) + _VERSION_1 + bytes([len(destination)]) + destination + bytes([len(source)]) + source
        header += b"\0" + (0x4000 | length).to_bytes(2, "big")
        plain = header + number.to_bytes(4, "big")
        nonce = (int.from_bytes(iv, "big") ^ number).to_bytes(12, "big")
        sealed = AESGCM(key).encrypt(nonce, frames, plain)
        mask = Cipher(algorithms.AES(hp), modes.ECB()).encryptor().update(sealed[:16])
        protected = bytes(a ^ b for a, b in zip(plain[-4:], mask[1:5], strict=True))
        return bytes([plain[0] ^ mask[0] & 0x0F]) + plain[1:-4] + protected + sealed

    def version_negotiation(self) -> bytes:
        """To the client: only versions that nobody speaks."""
        ids = bytes([len(self.source)]) + self.source + bytes([len(self.destination)]) + self.destination
        return b"\xc0\0\0\0\0" + ids + bytes.fromhex("0a0a0a0a1a1a1a1a")

    def retry(self) -> bytes:
        """To the client: begin again, towards a connection id and with a token of our making."""
        ids = bytes([len(self.source)]) + self.source + b"\x08" + b"\x07" * 8
        packet = b"\xf0" + _VERSION_1 + ids + b"a token"
        pseudo = bytes([len(self.destination)]) + self.destination + packet
        return packet + AESGCM(_RETRY_KEY).encrypt(_RETRY_NONCE, b"", pseudo)

    def _keys(self, label: bytes) -> tuple[bytes, bytes, bytes]:
        extract = hmac.HMAC(_SALT, hashes.SHA256())
        extract.update(self.destination)
        secret = _expand(extract.finalize(), label, 32)
        return _expand(secret, b"quic key", 16), _expand(secret, b"quic iv", 12), _expand(secret, b"quic hp", 16)


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label, RFC 8446 §7.1."""
    full = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(full)]) + full + b"\0"
    return HKDFExpand(hashes.SHA256(), length, info).derive(secret)
