"""Identities (identity.md)."""

from p2p_core import fields, word_list
from p2p_core.identity import PeerId, public_der

from tests.keys import key
from tests.vectors.made.inputs import Blocks


def blocks() -> Blocks:
    public = [key(n).public_key() for n in range(2)]
    peer = PeerId.of(public[0])
    words = word_list.spell(bytes(byte for value in range(256) for byte in (value, value)))
    return {
        "fields": fields.encode("punchwire example", b"", b"a", b"\x00\xff"),
        "public-key-0": public_der(public[0]),
        "public-key-1": public_der(public[1]),
        "peer-id-0": bytes(peer),
        "peer-id-1": bytes(PeerId.of(public[1])),
        "peer-id-0-printed": str(peer),
        "peer-id-0-short": peer.short,
        "peer-id-0-words": " ".join(peer.words),
        "words-even": " ".join(words[0::2]),
        "words-odd": " ".join(words[1::2]),
    }
