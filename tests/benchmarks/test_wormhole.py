"""magic-wormhole as a contestant. It copies only where `benchmarks/transfer.py` has installed it before."""

from pathlib import Path

import pytest

from benchmarks import wormhole
from benchmarks.contestants import CopyFailed, Job
from benchmarks.sources import MIB, Source, large_file, mixed_folder, write_over
from tests.programs import Programs

needs_wormhole = pytest.mark.skipif(
    not (wormhole.PROGRAMS.parent / ".installed").exists(), reason="not installed: make .venv-wormhole/.installed"
)


def job(source: Source, folder: Path) -> Job:
    (folder / "inbox").mkdir(parents=True)
    return Job(source, folder / "inbox")


@needs_wormhole
def test_it_copies_a_tree_and_over_a_file(programs: Programs, tmp_path: Path) -> None:
    contestant = wormhole.MagicWormhole.start(tmp_path / "wormhole", programs)
    tree = job(mixed_folder(tmp_path, MIB, 30), tmp_path / "1")
    assert contestant.copy(tree) > 0
    assert tree.source.difference(tree.target, contestant.keeps) == ""
    file = job(large_file(tmp_path, MIB + 1), tmp_path / "2")
    write_over(file.target, MIB)
    assert contestant.copy(file) > 0
    assert file.source.difference(file.target, contestant.keeps) == ""


@needs_wormhole
def test_a_source_that_cannot_be_sent(programs: Programs, tmp_path: Path) -> None:
    contestant = wormhole.MagicWormhole.start(tmp_path / "wormhole", programs)
    gone = job(large_file(tmp_path, 1), tmp_path / "1")
    gone.source.path.unlink()
    with pytest.raises(CopyFailed, match=r"wormhole ended with exit code 1: .*no file/directory"):
        contestant.copy(gone)


@pytest.mark.parametrize(
    ("rule", "why"),
    [("@echo no such package >&2; exit 1", "no such package"), ("@exit 1", "make failed"), ("@true", "")],
)
def test_why_it_cannot_be_installed(rule: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Makefile").write_text(f".venv-wormhole/.installed:\n\t{rule}\n")
    monkeypatch.setattr(wormhole, "ROOT", tmp_path)
    assert wormhole.install() == why
