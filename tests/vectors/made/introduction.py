"""Introductions and the session id of two who made them (introduction.md)."""

from dataclasses import replace

from p2p_core import unmediated
from p2p_core.identity import PeerId
from p2p_core.wire import frames

from tests.vectors.made.inputs import INITIATOR, NONCES, OFFER_HASHES, RESPONDER, Blocks

FRAMES: dict[str, frames.Frame] = {
    "frame-introduction": frames.Introduction(b"\x0a\x0b\x0c", NONCES[0]),
    "frame-introduction-token-read": frames.Introduction(b"\x0a\x0b\x0c", NONCES[0], OFFER_HASHES[0]),
}


def blocks() -> Blocks:
    initiator, responder = (
        unmediated.Newcomer(PeerId(peer), nonce) for peer, nonce in zip((INITIATOR, RESPONDER), NONCES, strict=True)
    )
    token_read = replace(initiator, token_hash=OFFER_HASHES[0])
    return {
        **{name: frames.encode(frame) for name, frame in FRAMES.items()},
        "session-id-unmediated": unmediated.session_id(initiator, responder),
        "session-id-unmediated-token": unmediated.session_id(token_read, responder),
    }
