"""Sender, receiver and mediator are killed at fifty random moments of transfers over a lossy link, and come back.

The same moments in every run. PUNCHWIRE_SEED=random chooses new ones; a failure names the seed that repeats them.
"""

import random
from pathlib import Path

import pytest

from tests.lab.casualties import UnderFire, random_moments
from tests.lab.nat import Lab
from tests.programs import Keys, Programs
from tests.seed import SEED
from tests.trees import make_tree

pytestmark = pytest.mark.netns("delay")

MOMENTS = 10  # of each pair
LOSSY = {"delay": 1.0, "loss": 1.0}  # of each access link: 4 ms there and back, and 2 % lost each way
PAIRS = [
    ("port-restricted", "port-restricted"),
    ("pr-reject", "none"),
    ("cgnat", "pr-nopreserve"),
    ("symmetric", "port-restricted"),
    ("symmetric", "symmetric"),
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("source") / "tree"
    make_tree(tree, large=5, small=300)
    return tree


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_killed_at_random_moments(
    a: str, b: str, tree: Path, programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    chance = random.Random(f"{SEED} {a} {b}")
    print(f"PUNCHWIRE_SEED={SEED}")
    with Lab(a, b, **LOSSY) as lab:
        killed = 0
        while killed < MOMENTS:  # a transfer may be done before all of them have come
            folder = tmp_path / f"after {killed}"
            folder.mkdir()
            with Programs() as programs:
                under_fire = UnderFire(lab, programs, keys, tree, folder)
                killed += under_fire.survive(random_moments(chance, MOMENTS - killed))
                under_fire.check()
