"""Sender, receiver and mediator are killed at fifty random moments of transfers over a lossy link, and come back.

The same moments in every run. PUNCHWIRE_SEED=random chooses new ones; a failure names the seed that repeats them.
"""

import random
from pathlib import Path

import pytest

from tests.lab.casualties import After, Moment, UnderFire, random_moments
from tests.lab.nat import Lab
from tests.programs import Keys, Programs
from tests.seed import SEED
from tests.trees import make_tree

pytestmark = pytest.mark.netns("delay")

LOSSY = {"delay": 1.0, "loss": 1.0}  # of each access link: 4 ms there and back, and 2 % lost each way
PAIRS = [  # and how many moments: fifty in all
    ("port-restricted", "port-restricted", 14),
    ("pr-reject", "none", 14),
    ("cgnat", "pr-nopreserve", 12),
    ("symmetric", "symmetric", 6),  # over the mediator's relay, which goes with it
    ("symmetric", "port-restricted", 4),  # over QUIC, where who is killed is missed only after a while
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("source") / "tree"
    make_tree(tree, large=5, small=300)
    return tree


@pytest.mark.parametrize(("a", "b", "moments"), PAIRS)
def test_killed_at_random_moments(
    a: str, b: str, moments: int, tree: Path, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    chance = random.Random(f"{SEED} {a} {b}")
    print(f"PUNCHWIRE_SEED={SEED}")
    while moments:  # a transfer may be done before all of them have come
        folder = tmp_path / f"{moments} left"
        folder.mkdir()
        with Lab(a, b, **LOSSY) as lab, Programs() as programs:
            under_fire = UnderFire(lab, programs, keys, tree, folder)
            moments -= under_fire.survive(random_moments(chance, moments))
            under_fire.check()


@pytest.mark.parametrize(
    "moment",
    [
        Moment(("sender",), After.VERIFIED, 1.0),  # no receipt yet
        Moment(("receiver",), After.VERIFIED, 1.0),
        Moment(("sender", "receiver"), After.VERIFIED, 1.0),
        Moment(("receiver", "mediator"), After.VERIFIED, 0.5, away=4.0),
    ],
    ids=str,
)
def test_killed_at_a_bad_moment(moment: Moment, tree: Path, keys: tuple[Keys, Keys], tmp_path: Path) -> None:
    with Lab(**LOSSY) as lab, Programs() as programs:
        under_fire = UnderFire(lab, programs, keys, tree, tmp_path)
        assert under_fire.survive([moment]) == 1
        under_fire.check()
