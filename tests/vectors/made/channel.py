"""The frame of a key proof (channel.md)."""

from p2p_core.wire import frames

from tests.vectors.made.inputs import Blocks, of

FRAMES: dict[str, frames.Frame] = {"frame-key-proof": frames.KeyProof(of(0x05, 256))}


def blocks() -> Blocks:
    return {name: frames.encode(frame) for name, frame in FRAMES.items()}
