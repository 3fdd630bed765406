"""Which of the paths that come up is taken, and when: docs/protocol/punching.md, "Choosing".

Only the initiator chooses; the responder follows the nomination it gets. Direct TCP is the fastest by far, so QUIC
waits a moment for it; the relay waits until the direct ways have had their time, or have all come to nothing.
"""

from dataclasses import dataclass, field

from p2p_core.proof import PathKind

__all__ = ["MIN_GRACE", "PATIENT_GRACE", "RELAY_AFTER", "RELAY_AFTER_BIRTHDAY", "Choosing"]

TCP_TIME = 3  # round trips from the start in which TCP comes up, if no packet is lost: three ways, and a spare
MIN_GRACE = 0.1  # s; on a network of no length both come up at once, in any order, and a busy machine takes its time
# s where one side has waited for the other to read a token: no start brings their dials together, and two NATs that
# answer with resets need some tries. Who has just copied a token does not mind, and TCP is several times faster.
PATIENT_GRACE = 0.6
RELAY_AFTER = 1.2  # s from the start; direct paths that come up at all did so within 0.2 s in the lab, 0.9 s with loss
RELAY_AFTER_BIRTHDAY = 2.6  # s from the start; by then 99 of 100 birthday pairs have met
RELAY_ROUND_TRIPS = 6  # from the start, for links on which the above is short: direct paths take three and a half


@dataclass(slots=True)
class Choosing:
    """The initiator's choice among the kinds in `awaited`; times are in seconds, of one clock."""

    start: float
    round_trip: float
    awaited: set[PathKind]  # what may still come up
    birthday: bool = False  # whether one side's NAT makes UDP a matter of luck
    grace: float = MIN_GRACE  # that TCP gets at least
    _found: dict[PathKind, float] = field(default_factory=dict)

    def heard(self, now: float) -> None:
        """Count from now: the other side is there, for which we have waited."""
        self.start = now

    def found(self, kind: PathKind, now: float) -> None:
        """A path of this kind can be nominated."""
        self.awaited.discard(kind)
        self._found[kind] = now

    def gone(self, kind: PathKind) -> None:
        """Nothing will come of this kind."""
        self.awaited.discard(kind)
        self._found.pop(kind, None)

    @property
    def is_hopeless(self) -> bool:
        """Whether nothing is there, and nothing will come."""
        return not self.awaited and not self._found

    def choice(self, now: float) -> PathKind | None:
        """Return what to nominate now, or None."""
        return next((kind for kind, due in self._due().items() if now >= due), None)

    def deadline(self) -> float | None:
        """When `choice` may have another answer though nothing happens."""
        return min(self._due().values(), default=None)

    def _due(self) -> dict[PathKind, float]:
        """When each path that was found is taken if no better one has come, best first."""
        due: dict[PathKind, float] = {}
        if PathKind.TCP in self._found:
            due[PathKind.TCP] = self._found[PathKind.TCP]
        if PathKind.QUIC in self._found:
            found, grace = self._found[PathKind.QUIC], max(self.grace, self.round_trip)
            patience = min(found + grace, self.start + TCP_TIME * grace)
            due[PathKind.QUIC] = max(found, patience) if PathKind.TCP in self.awaited else found
        if PathKind.RELAY in self._found:
            found = self._found[PathKind.RELAY]
            is_last = not self.awaited & {PathKind.TCP, PathKind.QUIC}
            due[PathKind.RELAY] = found if is_last else max(found, self.start + self._relay_after())
        return due

    def _relay_after(self) -> float:
        lucky = RELAY_AFTER_BIRTHDAY if self.birthday and PathKind.QUIC in self.awaited else RELAY_AFTER
        return max(lucky, RELAY_ROUND_TRIPS * self.round_trip)
