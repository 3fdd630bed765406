from itertools import product
from posixpath import normpath

import pytest
from p2p_core.link_targets import link_stays_inside

STEPS = ("..", ".", "", "a", "...")


@pytest.mark.parametrize("depth", range(4))
@pytest.mark.parametrize("length", range(6))
def test_a_link_stays_in_its_topmost_folder(depth: int, length: int) -> None:
    """All targets of so many steps, and how the system would walk them if nothing on the way were a link."""
    for steps in product(STEPS, repeat=length):
        for target in ("/".join(steps), "/" + "/".join(steps)):
            found = normpath("/".join([*(f"f{n}" for n in range(depth)), target]))
            leads_inside = bool(depth) and not target.startswith("/") and f"{found}/".startswith("f0/")
            behind = [step for step in steps if step not in ("", ".")]
            while behind[:1] == [".."]:
                del behind[0]
            assert link_stays_inside(depth, target) == (leads_inside and ".." not in behind), target


@pytest.mark.parametrize(
    ("depth", "target"),
    [
        (1, "a"),
        (1, "./a//b/."),
        (1, "..."),
        (1, "-/a"),
        (1, "a/-"),
        (2, ".."),
        (2, ".././-"),
        (3, ".././../a"),
        (3, "..//../a"),
        (3, "../../a/b"),
        (9, "..a"),
    ],
)
def test_what_leads_to_something_inside(depth: int, target: str) -> None:
    assert link_stays_inside(depth, target)


@pytest.mark.parametrize(
    ("depth", "target"),
    [
        (0, "a"),
        (0, ""),
        (1, ".."),
        (1, "./.."),
        (2, "../.."),
        (2, "../../a"),
        (0, "../a"),
        (1, "../../a"),
        (2, "./..//../.././a"),
        (9, "/a"),
        (9, "/"),
        (9, "a/.."),
        (9, "../a/../b"),
    ],
)
def test_what_may_lead_out(depth: int, target: str) -> None:
    assert not link_stays_inside(depth, target)
