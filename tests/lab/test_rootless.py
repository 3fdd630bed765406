"""Finding out whether a lab can be built, on machines that this one is not."""

import sys
from collections.abc import Iterator

import pytest

from tests.lab import netns, rootless
from tests.lab.nat import Lab
from tests.lab.netns import LabError
from tests.lab.rootless import Availability


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    """Answers are found anew in each test, and again after it."""
    caches = (rootless.availability, netns.tool)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


def test_other_systems_have_no_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert rootless.availability() == Availability("none", "network namespaces are a part of Linux")


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootless, "PROGRAMS", ("no-such-program",))
    found = rootless.availability()
    assert found.mode == "none"
    assert "no-such-program is not installed" in found.reason


@pytest.mark.parametrize(
    ("here", "inside", "mode"),
    [
        ("", "", "root"),
        ("no rights", "", "userns"),
        ("no rights", "no rights there", "none"),
    ],
)
def test_what_was_tried_decides(monkeypatch: pytest.MonkeyPatch, here: str, inside: str, mode: str) -> None:
    monkeypatch.delenv(rootless.INSIDE, raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(rootless, "_try", lambda prefix: inside if prefix else here)
    found = rootless.availability()
    assert found.mode == mode
    assert here in found.reason
    assert inside in found.reason


def test_nobody_enters_a_user_namespace_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(rootless.INSIDE, "1")
    monkeypatch.setattr(rootless, "_try", lambda prefix: "" if prefix else "it fails")
    assert rootless.availability().mode == "none"


def test_a_lab_that_cannot_be_built_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootless, "availability", lambda: Availability("none", "no luck"))
    with pytest.raises(LabError, match="no lab can be built here: no luck"), Lab():
        pytest.fail("it was built")
    with pytest.raises(LabError, match="no luck"):
        rootless.command(["true"])
    monkeypatch.setattr(rootless, "availability", lambda: Availability("userns", "not root"))
    with pytest.raises(LabError, match=r"call rootless.enter\(\) first"), Lab():
        pytest.fail("it was built")
