"""What is sent, and whether a copy is the same."""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.sources import KIB, MIB, Keeps, Source, large_file, mixed_folder, small_files, write_over


@pytest.fixture
def tree(tmp_path: Path) -> Source:
    return mixed_folder(tmp_path, MIB, 60)


def copied(source: Source, folder: Path) -> Path:
    return Path(shutil.copytree(source.path, folder / "copy"))


def test_a_large_file(tmp_path: Path) -> None:
    source = large_file(tmp_path, 3 * MIB + 5)
    assert (source.is_tree, source.bytes, source.files) == (False, 3 * MIB + 5, 1)
    copy = tmp_path / "copy"
    shutil.copyfile(source.path, copy)
    assert source.difference(copy, Keeps.ALL) == ""
    with copy.open("r+b") as file:
        file.seek(2 * MIB)
        file.write(bytes(16))
    assert source.difference(copy, Keeps.NOTHING) == ". has other content"


def test_small_files(tmp_path: Path) -> None:
    source = small_files(tmp_path, 401)
    assert (source.is_tree, source.bytes, source.files) == (True, 401 * 4 * KIB, 401)
    assert [len(list(folder.iterdir())) for folder in sorted(source.path.iterdir())] == [200, 200, 1]


def test_a_mixed_folder_has_some_of_everything(tree: Source) -> None:
    files = [entry for entry in tree.entries.values() if stat.S_ISREG(entry.mode)]
    folders = [name for name, entry in tree.entries.items() if stat.S_ISDIR(entry.mode)]
    assert sum(entry.size >= 2**17 for entry in files) == 3
    assert sum(entry.size == 0 for entry in files) == 50
    assert any(not list((tree.path / name).iterdir()) for name in folders)
    assert max(name.count("/") for name in folders) == 8
    assert {stat.S_IMODE(entry.mode) for entry in files} == {0o600, 0o644, 0o755}
    assert any(not name.isascii() and " " in name for name in tree.entries)


def test_a_copy_is_the_same(tree: Source, tmp_path: Path) -> None:
    assert tree.difference(copied(tree, tmp_path), Keeps.ALL) == ""


def test_nothing_is_no_copy(tree: Source, tmp_path: Path) -> None:
    assert tree.difference(tmp_path / "nothing", Keeps.NOTHING) == ". is missing"


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (lambda top: (top / "empty" / "mark-7").unlink(), "empty/mark-7 is missing"),
        (lambda top: (top / "empty" / "more").touch(), "empty/more is there and was not sent"),
        (lambda top: (top / "empty" / "mark-7").write_text("x"), "empty/mark-7 is of another kind or size"),
        (lambda top: (top / "large" / "disk 1.img").write_bytes(bytes(MIB // 8)), "large/disk 1.img has other content"),
        (
            lambda top: shutil.rmtree(top / "empty" / "folder-3" / "in it"),
            "empty/folder-3/in it is missing",
        ),
    ],
)
def test_what_is_always_looked_at(
    tree: Source, tmp_path: Path, change: Callable[[Path], object], difference: str
) -> None:
    copy = copied(tree, tmp_path)
    change(copy)
    assert tree.difference(copy, Keeps.NOTHING) == difference


def test_modes_and_times_where_they_are_kept(tree: Source, tmp_path: Path) -> None:
    copy = copied(tree, tmp_path)
    (copy / "empty" / "mark-7").chmod(0o711)
    assert tree.difference(copy, Keeps.TIMES) == ""
    assert tree.difference(copy, Keeps.MODES) == "empty/mark-7 has the mode 100711 and not 100644"
    (copy / "empty" / "mark-7").chmod(0o644)
    os.utime(copy / "empty" / "folder-3", (1, 1))
    assert tree.difference(copy, Keeps.MODES) == ""
    assert tree.difference(copy, Keeps.ALL) == "empty/folder-3 has another time of modification"


@pytest.mark.parametrize("size", [0, 1, MIB, 2 * MIB + 3])
def test_a_file_of_zeros(tmp_path: Path, size: int) -> None:
    write_over(tmp_path / "zeros", size)
    assert (tmp_path / "zeros").read_bytes() == bytes(size)
