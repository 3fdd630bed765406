"""The mark `netns`, in a pytest of its own, for machines that this one is not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import marks, rootless

ROOT = Path(__file__).parents[2]

CONFTEST = """
import os
from tests.lab import marks, rootless

if rootless.INSIDE not in os.environ:
    rootless.availability = lambda: rootless.Availability({mode!r}, "for the sake of the test")

def pytest_configure(config):
    marks.install(config)
    marks.install(config)
"""

TESTS = """
import os
import pytest

def test_plain():
    assert "PUNCHWIRE_LAB_INSIDE" not in os.environ

@pytest.mark.netns
@pytest.mark.parametrize("number", [1, 2])
def test_marked(number, tmp_path):
    print("said inside")
    assert os.environ["PUNCHWIRE_LAB_INSIDE"] and os.geteuid() == 0
    assert number == 1

@pytest.mark.netns
def test_skips():
    pytest.skip("for its own reasons")

@pytest.mark.netns("no-such-program")
def test_needs_more():
    pass
"""


def run_pytest(folder: Path, mode: str, *options: str, ci: str = "", tests: str = TESTS) -> str:
    """What a pytest says about these tests when the lab is available in the given mode."""
    (folder / "conftest.py").write_text(CONFTEST.format(mode=mode))
    (folder / "test_it.py").write_text(tests)
    (folder / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}\nmarkers = netns\n")
    outer = {"CI", "PYTEST_ADDOPTS", marks.RESULTS, rootless.INSIDE}  # what may be set where this test runs
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env={**environment, "CI": ci},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.stdout


def test_without_a_lab_marked_tests_are_skipped_by_name(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, "none")
    assert "1 passed, 4 skipped" in said
    assert "test_marked[2]: for the sake of the test" in said


def test_a_test_may_need_more_than_a_lab(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, "root", "-k", "test_needs_more")
    assert "test_needs_more: no-such-program is not installed" in said


def test_without_a_lab_marked_tests_fail_in_ci(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, "none", ci="true")
    assert "1 passed, 4 errors" in said
    assert "test_skips would be skipped, and CI allows no skips: for the sake of the test" in said


@pytest.fixture
def user_namespaces() -> None:
    if refusal := rootless.user_namespace_refusal():
        pytest.skip(refusal)


@pytest.mark.usefixtures("user_namespaces")
def test_in_a_user_namespace_marked_tests_run_under_their_own_names(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, "userns", "-m", "netns", "-k", "not test_needs_more")
    assert "1 failed, 1 passed, 1 skipped, 2 deselected" in said
    assert "PASSED test_it.py::test_marked[1]" in said
    assert "FAILED test_it.py::test_marked[2]" in said
    assert "assert 2 == 1" in said
    assert "said inside" in said
    assert "for its own reasons" in said


@pytest.mark.usefixtures("user_namespaces")
def test_a_pytest_that_dies_inside_fails_all_it_owed(tmp_path: Path) -> None:
    deadly = TESTS.replace('print("said inside")', "os._exit(3)")
    said = run_pytest(tmp_path, "userns", tests=deadly)
    assert "4 failed, 1 passed" in said
    assert "never reported this test" in said
