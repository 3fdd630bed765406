from posixpath import normpath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core.link_targets import link_stays_inside

PARTS = st.lists(st.sampled_from(["..", ".", "", "a", "...", "-"]), max_size=6)


@given(st.integers(0, 4), PARTS, st.booleans())
def test_a_link_stays_in_its_topmost_folder(depth: int, parts: list[str], absolute: bool) -> None:
    target = "/" * absolute + "/".join(parts)
    place = "/".join(f"f{n}" for n in range(depth))
    found = normpath(f"{place}/{target}")
    if link_stays_inside(depth, target):
        assert depth
        assert not target.startswith("/")
        assert f"{found}/".startswith("f0/")
    elif depth and not target.startswith("/") and f"{found}/".startswith("f0/"):  # up again after a name
        assert ".." in parts[next(n for n, part in enumerate(parts) if part not in ("..", ".", "")) :]


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
