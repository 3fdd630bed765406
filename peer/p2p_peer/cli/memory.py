"""What an errand keeps from one session to the next: what has been done is not done again."""

from dataclasses import dataclass

from p2p_core.errors import TransferFailed
from p2p_core.manifest import Manifest

from p2p_peer.cli.human import counted
from p2p_peer.cli.offer_text import items_to_choose
from p2p_peer.transfer.target import Overwrite

__all__ = ["Accepted", "Memory"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was accepted: the same is not asked about again."""

    label: str
    size: int
    chosen: frozenset[tuple[str, ...]] | None  # paths; None: everything
    overwrite: Overwrite

    @classmethod
    def of(cls, manifest: Manifest, only: tuple[int, ...] | None, overwrite: Overwrite) -> "Accepted":
        """Return what to remember of an offer of which everything was accepted, or `only` some entries."""
        chosen = None if only is None else frozenset(map(manifest.path, only))
        return cls(manifest.label(), manifest.total_bytes, chosen, overwrite)

    def covers(self, manifest: Manifest) -> bool:
        """Whether an offer is the same again, and no more, with something that was chosen in it."""
        is_same = manifest.label() == self.label and manifest.total_bytes <= self.size
        return is_same and self.entries(manifest) != ()

    def entries(self, manifest: Manifest) -> tuple[int, ...] | None:
        """Return what was chosen, in this offer; None for everything."""
        if self.chosen is None:
            return None
        return tuple(item.entry for item in items_to_choose(manifest) if manifest.path(item.entry) in self.chosen)


@dataclass(slots=True)
class Memory:
    """What an errand has done, in all its sessions."""

    delivered: int = 0  # messages
    has_told: bool = False  # what is left out
    is_sent: bool = False
    has_arrived: bool = False
    is_received: bool = False  # it has arrived, and the other side knows
    wants_word: bool = False  # all is done, but for the other side's word that it knows
    accepted: Accepted | None = None
    unsent: int = 0  # files that came to nothing in transfers that did not
    unreceived: int = 0  # likewise

    def check_whole(self) -> None:
        """Raise `TransferFailed` if files have not come where they were to go."""
        counts = (("not sent", self.unsent), ("not received", self.unreceived))
        missing = [f"{counted(count)} {'was' if count == 1 else 'were'} {what}" for what, count in counts if count]
        if missing:
            advice = "The others arrived. Mend what kept these from it, and send them again."
            raise TransferFailed(f"{', '.join(missing)}: see above", advice=advice)
