"""The inputs that several pages share."""

__all__ = [
    "INITIATOR",
    "ISSUED",
    "MILLISECONDS",
    "NONCES",
    "OFFER_HASHES",
    "RESPONDER",
    "SESSION",
    "SHARES",
    "Blocks",
    "of",
]

Blocks = dict[str, bytes | str]


ISSUED = 1_700_000_000
MILLISECONDS = 1_700_000_000_123


def of(byte: int, count: int = 32) -> bytes:
    """`byte×count`, as the pages write it."""
    return bytes([byte]) * count


INITIATOR, RESPONDER, SESSION = of(0x01), of(0x02), of(0x05)
OFFER_HASHES = of(0x06), of(0x07)
NONCES = of(0x03), of(0x04)
SHARES = of(0x11), of(0x12)
