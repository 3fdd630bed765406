from dataclasses import replace

import pytest
from p2p_core import limits
from p2p_core.agreement import Agreement, Side
from p2p_core.clocks import whose_clock
from p2p_core.errors import ClocksDiffer
from p2p_core.proof import Role

from tests.core.two_peers import NOW, offer, side


def timed(role: Role, issued: int, life: int) -> Side:
    return replace(side(role), offer=offer(issued=issued, expires=issued + life))


def test_clocks_may_differ_a_little() -> None:
    """With an offer that lives for 300 s, as ours do, by seven minutes."""
    for apart in (-300 - limits.MAX_CLOCK_SKEW, -1, 0, 1, 300 + limits.MAX_CLOCK_SKEW):
        Agreement.between(Role.INITIATOR, timed(Role.INITIATOR, NOW, 300), timed(Role.RESPONDER, NOW + apart, 300))


@pytest.mark.parametrize(
    ("apart", "life", "says"),
    [
        (421, 300, "about 7 minutes"),
        (122, 1, "about 2 minutes"),
        (3600, 300, "about 60 minutes"),
        (3 * 3600, 300, "about 3 hours"),
        (86400 * 365, 600, "about 365 days"),
    ],
)
@pytest.mark.parametrize("role", Role)
def test_clocks_that_differ_are_told_to_both(apart: int, life: int, says: str, role: Role) -> None:
    early, late = timed(role, NOW, life), timed(role.other, NOW + apart, life)
    with pytest.raises(ClocksDiffer, match=f"^by its offer, the other side's clock is {says} ahead of this computer"):
        Agreement.between(role, early, late)
    with pytest.raises(ClocksDiffer, match=f"the other side's clock is {says} behind this computer's clock$"):
        Agreement.between(role.other, late, early)


@pytest.mark.parametrize(
    ("mediator_ahead", "says"),
    [
        (None, "Compare what date -u says on both computers"),
        (0.0, "Let the other side set its clock"),
        (-119.9, "Let the other side set its clock"),
        (121.0, "Set this computer's clock: it is about 2 minutes behind the mediator's."),
        (-3600.2, "Set this computer's clock: it is about 60 minutes ahead of the mediator's."),
        (2.0**64, "Set this computer's clock: it is about 213503982334601 days behind the mediator's."),
    ],
)
def test_a_third_clock_says_whose_is_wrong(mediator_ahead: float | None, says: str) -> None:
    assert whose_clock(mediator_ahead).startswith(says)
