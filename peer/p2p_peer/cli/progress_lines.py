"""The line that shows how far a transfer is: what it is, a bar, how much of it, how fast, over which path, how long."""

from p2p_core.printable import printable
from p2p_core.proof import PathKind

from p2p_peer.cli.human import duration, human_size, shortened, shown_name
from p2p_peer.cli.path_text import over
from p2p_peer.cli.rates import Rates
from p2p_peer.events import Phase, TransferProgress, TransferStalled

__all__ = ["ProgressLines"]

_BAR = 10  # characters
_NARROW = 8  # columns that a label has at least: below that nothing can be read anyway


class ProgressLines:
    """Remembers how far each transfer is."""

    def __init__(self) -> None:
        self._rates = Rates()
        self._last: dict[int, TransferProgress] = {}

    @property
    def transfers(self) -> tuple[int, ...]:
        """Those that are known."""
        return tuple(self._last)

    def progressed(self, progress: TransferProgress, path: PathKind, columns: int) -> str:
        """Return the line of a transfer that has come so far, over `path`: at most `columns` wide."""
        self._last[progress.transfer] = progress
        rate = self._rates.reached(progress)
        if progress.phase is not Phase.MOVING:
            return _line(progress, progress.phase.value, columns)
        if rate is None:
            return _line(progress, "", columns)
        state = f"{human_size(rate)}/s {over(path)}"
        if rate and progress.total is not None:
            state += f", {duration((progress.total - progress.bytes) / rate)} left"
        return _line(progress, state, columns)

    def stalled(self, stalled: TransferStalled, columns: int) -> str | None:
        """Return the line of a transfer in which nothing moves; None for one that is not known."""
        last = self._last.get(stalled.transfer)
        return None if last is None else _line(last, f"stalled for {stalled.seconds:.0f} s", columns)

    def over(self, transfer: int) -> None:
        """Forget a transfer."""
        self._last.pop(transfer, None)
        self._rates.over(transfer)


def _line(progress: TransferProgress, state: str, columns: int) -> str:
    doing = "sending " if progress.outgoing else "receiving "
    if progress.phase is Phase.WAITING:
        rest = f": {state}"
    elif progress.total is None:
        rest = f": {human_size(progress.bytes)}"
    else:
        share = progress.bytes / progress.total if progress.total else 1.0
        full = int(_BAR * share)
        bar = f"[{'#' * full}{'.' * (_BAR - full)}]"
        rest = f" {bar} {int(100 * share):3}% of {human_size(progress.total)}"
    if state and progress.phase is not Phase.WAITING:
        rest += f", {state}"
    label = printable(shown_name(progress.label))
    room = max(columns - len(doing) - len(rest), _NARROW)
    return shortened(f"{doing}{shortened(label, room)}{rest}", columns)
