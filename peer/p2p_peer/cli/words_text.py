"""The words of a peer id in rows, as two people read them to each other."""

from p2p_core.identity import PeerId

__all__ = ["labelled"]

_IN_A_ROW = 4


def labelled(label: str, peer: PeerId) -> list[tuple[str, str]]:
    """Return the words of `peer`, row by row: the first one with the label, the others with an empty one."""
    words = peer.words
    rows = range(0, len(words), _IN_A_ROW)
    return [("" if row else label, " ".join(words[row : row + _IN_A_ROW])) for row in rows]
