"""The frame that chooses a connection (direct.md)."""

from p2p_core.wire import frames

from tests.vectors.made.inputs import Blocks

FRAMES: dict[str, frames.Frame] = {"frame-chosen": frames.Chosen()}


def blocks() -> Blocks:
    return {name: frames.encode(frame) for name, frame in FRAMES.items()}
