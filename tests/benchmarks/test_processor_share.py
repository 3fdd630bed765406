"""A share of a processor: a process has no more, and all of it again; nothing is left of its group."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import processor_share
from benchmarks.processes import cpu_seconds
from benchmarks.processor_share import PERIOD, ProcessorShare
from tests.programs import end, start_here

PROCESS = 4711


@pytest.fixture
def hierarchy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up one, without controllers."""
    (tmp_path / "cgroup.procs").touch()
    monkeypatch.setattr(processor_share, "HIERARCHIES", (tmp_path / "none", tmp_path))
    return tmp_path


@pytest.fixture
def spinning() -> Iterator[subprocess.Popen[str]]:
    """A process that takes all it gets."""
    process = start_here([sys.executable, "-c", "while True: pass"])
    yield process
    end(process)


def with_files(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let each new folder have files, as the kernel does."""
    make = Path.mkdir

    def mkdir(folder: Path) -> None:
        make(folder)
        for name in names:
            (folder / name).touch()

    monkeypatch.setattr(Path, "mkdir", mkdir)


@pytest.mark.parametrize(
    ("files", "limited", "free"),
    [
        (("cpu.max",), {"cpu.max": f"6000 {PERIOD}"}, {"cpu.max": f"max {PERIOD}"}),
        (
            ("cpu.cfs_period_us", "cpu.cfs_quota_us"),
            {"cpu.cfs_period_us": str(PERIOD), "cpu.cfs_quota_us": "6000"},
            {"cpu.cfs_period_us": str(PERIOD), "cpu.cfs_quota_us": "-1"},
        ),
    ],
)
def test_what_is_written_to_either_version(
    files: tuple[str, ...],
    limited: dict[str, str],
    free: dict[str, str],
    hierarchy: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_files(monkeypatch, *files)
    share = ProcessorShare(PROCESS)
    group = hierarchy / f"punchwire-{PROCESS}"
    assert share.is_limitable
    assert (group / "cgroup.procs").read_text() == str(PROCESS)
    with share.limited(0.6):
        assert {name: (group / name).read_text() for name in files} == limited
    assert {name: (group / name).read_text() for name in files} == free


def test_a_hierarchy_that_limits_no_processors_is_left_as_it_was(hierarchy: Path) -> None:
    with ProcessorShare(PROCESS) as share, share.limited(0.6):
        assert not share.is_limitable
    assert [file.name for file in hierarchy.iterdir()] == ["cgroup.procs"]


def test_a_process_has_its_share(spinning: subprocess.Popen[str]) -> None:
    with ProcessorShare(spinning.pid) as share:
        if not share.is_limitable:
            pytest.skip("no control group can be made here")
        with share.limited(0.2):
            used, began = cpu_seconds(spinning.pid), time.monotonic()
            while cpu_seconds(spinning.pid) < used + 0.2:
                time.sleep(0.01)
            assert time.monotonic() - began > 0.2 / 0.2 / 2
    assert spinning.poll() is None
    assert not any((each / f"punchwire-{spinning.pid}").exists() for each in processor_share.HIERARCHIES)
