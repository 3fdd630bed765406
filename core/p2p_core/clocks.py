"""Two computers' clocks: offers are judged by each other, and a third clock says which of the two is wrong.

docs/protocol/offer.md, Times; docs/decisions/clocks.md.
"""

from p2p_core import limits
from p2p_core.errors import ClocksDiffer
from p2p_core.wire.offer import Offer

__all__ = ["check_times", "duration", "whose_clock"]


def check_times(own: Offer, other: Offer) -> None:
    """Refuse two offers of which one had expired before the other was made: raises `ClocksDiffer`.

    Both sides compare the same four numbers, and read no clock: so both refuse, with one sentence, or neither does.
    """
    if own.issued <= other.expires + limits.MAX_CLOCK_SKEW and other.issued <= own.expires + limits.MAX_CLOCK_SKEW:
        return
    apart = other.issued - own.issued
    raise ClocksDiffer(
        f"by its offer, the other side's clock is about {duration(abs(apart))} "
        f"{'ahead of' if apart > 0 else 'behind'} this computer's clock"
    )


def whose_clock(mediator_ahead: float | None) -> str:
    """Return what to do about clocks that differ; the mediator's is `mediator_ahead` s ahead of ours, if known."""
    if mediator_ahead is None:
        return ClocksDiffer.advice
    if abs(mediator_ahead) <= limits.MAX_CLOCK_SKEW:
        return (
            "Let the other side set its clock: this computer's agrees with the mediator's. "
            "If the other's is right, the mediator passed on an old offer."
        )
    off = f"{duration(round(abs(mediator_ahead)))} {'behind' if mediator_ahead > 0 else 'ahead of'}"
    return f"Set this computer's clock: it is about {off} the mediator's."


def duration(seconds: int) -> str:
    """Return `seconds` in words, in the largest unit of which there are two."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds} seconds"
