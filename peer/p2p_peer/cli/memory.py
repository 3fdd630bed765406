"""What an errand keeps from one session to the next: what has been done is not done again."""

from array import array
from dataclasses import dataclass, field

from p2p_core.errors import TransferFailed
from p2p_core.manifest import TOP, Manifest

from p2p_peer.cli.human import counted
from p2p_peer.cli.offer_text import items_to_choose
from p2p_peer.transfer.target import Overwrite

__all__ = ["Accepted", "Memory"]

_OTHER = -2  # what an entry was that was not there


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was accepted: the same is not asked about again."""

    manifest: Manifest
    size: int  # bytes of what was chosen
    chosen: frozenset[tuple[str, ...]] | None  # paths; None: everything
    overwrite: Overwrite

    @classmethod
    def of(cls, manifest: Manifest, only: tuple[int, ...] | None, overwrite: Overwrite) -> "Accepted":
        """Return what to remember of an offer of which everything was accepted, or `only` some entries."""
        chosen = None if only is None else frozenset(map(manifest.path, only))
        return cls(manifest, _size(manifest, _taken(manifest, only)), chosen, overwrite)

    def covers(self, manifest: Manifest) -> bool:
        """Whether what would be taken of an offer was accepted before, each by its path and kind, and is no more."""
        only = self.entries(manifest)
        if only == ():
            return False
        taken, then = _taken(manifest, only), array("i")
        for entry in range(len(manifest)):
            parent = manifest.parent(entry)
            folder = TOP if parent == TOP else then[parent]
            found = None if folder == _OTHER else self.manifest.find(folder, manifest.name(entry))
            is_other = found is None or self.manifest.kind(found) is not manifest.kind(entry)
            if is_other and taken[entry]:
                return False
            then.append(_OTHER if found is None or is_other else found)
        return _size(manifest, taken) <= self.size

    def entries(self, manifest: Manifest) -> tuple[int, ...] | None:
        """Return what was chosen, in this offer; None for everything."""
        if self.chosen is None:
            return None
        return tuple(item.entry for item in items_to_choose(manifest) if manifest.path(item.entry) in self.chosen)


@dataclass(slots=True)
class Memory:
    """What an errand has done, in all its sessions."""

    delivered: int = 0  # messages
    sent_at_ms: dict[int, int] = field(default_factory=dict)  # of each message, when it was sent first
    heard: set[tuple[int, str]] = field(default_factory=set)  # messages that came, and when they were sent first
    has_told: bool = False  # what is left out
    is_sent: bool = False
    has_arrived: bool = False
    is_received: bool = False  # it has arrived, and the other side knows
    wants_word: bool = False  # all is done, but for the other side's word that it knows
    accepted: Accepted | None = None
    unsent: int = 0  # files that came to nothing in transfers that did not
    unreceived: int = 0  # likewise
    has_some: bool = False  # files have come where they were to go

    def first_sent(self, number: int, now_ms: int) -> int:
        """Return when a message was sent first, which is now unless it was before. No two have the same time."""
        last = next(reversed(self.sent_at_ms.values()), 0)
        return self.sent_at_ms.setdefault(number, max(now_ms, last + 1))

    def check_whole(self) -> None:
        """Raise `TransferFailed` if files have not come where they were to go."""
        counts = (("not sent", self.unsent), ("not received", self.unreceived))
        missing = [f"{counted(count)} {'was' if count == 1 else 'were'} {what}" for what, count in counts if count]
        if missing:
            it, them = ("this one", "it") if self.unsent + self.unreceived == 1 else ("these", "them")
            advice = f"Mend what kept {them} from arriving, and send {them} again."
            if self.has_some:
                advice = f"The others arrived. Mend what kept {it} from it, and send {them} again."
            raise TransferFailed(f"{', '.join(missing)}: see above", advice=advice)


def _taken(manifest: Manifest, only: tuple[int, ...] | None) -> bytearray:
    """Return for each entry whether it is taken: `only` some with all that is in them, or everything."""
    chosen, taken = None if only is None else frozenset(only), bytearray(len(manifest))
    for entry in range(len(manifest)):
        parent = manifest.parent(entry)
        taken[entry] = chosen is None or entry in chosen or (parent != TOP and taken[parent])
    return taken


def _size(manifest: Manifest, taken: bytearray) -> int:
    return sum(manifest.size(entry) for entry in range(len(manifest)) if taken[entry])
