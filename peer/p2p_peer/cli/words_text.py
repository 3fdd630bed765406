"""The words of a peer id in rows, as two people read them to each other."""

from p2p_core.identity import PeerId

__all__ = ["words_in_rows"]

_IN_A_ROW = 4


def words_in_rows(peer: PeerId) -> list[str]:
    """Return the words of `peer`, in rows."""
    words = peer.words
    return [" ".join(words[row : row + _IN_A_ROW]) for row in range(0, len(words), _IN_A_ROW)]
