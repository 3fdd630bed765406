"""Each parser takes what it should, and of anything else raises what it says, and nothing more.

A little of what `make fuzz` does at length, the same inputs each time.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.inputs import spoiled
from tests.fuzz.target import Target
from tests.fuzz.targets import GROUPS, TARGETS

_EXAMPLES = 40
_COSTLY = 15  # for what signs, or starts an event loop, for each
_SLOW = {"offer-sealed", "meet", "key-pair", "receipt", "mediator-stream", "udp-socket"}


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_of_what_is_right_and_of_what_is_not(target: Target) -> None:
    seeds = list(target.seeds())
    taken = [target.run(seed) for seed in seeds]
    assert any(taken), "no seed is right"

    @settings(max_examples=_COSTLY if target.name in _SLOW else _EXAMPLES, derandomize=True, deadline=None)
    @given(st.binary(max_size=64) | spoiled(seeds) | spoiled(seeds))
    def holds(data: bytes) -> None:
        target.run(data)

    holds()


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_of_nothing(target: Target) -> None:
    target.run(b"")


def test_names_are_unique() -> None:
    assert len(TARGETS) == sum(map(len, GROUPS.values()))
    assert not set(TARGETS) & set(GROUPS), "a name is that of a target, or of a group"
