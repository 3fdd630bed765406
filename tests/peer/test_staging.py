import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import TransferFailed
from p2p_core.manifest import TOP, Entry, EntryKind, Manifest
from p2p_core.safe_names import safe_name
from p2p_peer.transfer import staging as staging_module
from p2p_peer.transfer.received_journal import staging_names
from p2p_peer.transfer.staging import StagedFile, Staging, final_mode

from tests.peer.receiving import MTIME, PEER, staging_folders


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def staging(root: int) -> Iterator[Staging]:
    staging = Staging.open(root, PEER, manifest())
    yield staging
    staging.close()


def manifest() -> Manifest:
    manifest = Manifest()
    manifest.add(Entry(EntryKind.FILE, TOP, "a", 5))
    return manifest


def whole(file: StagedFile, data: bytes) -> StagedFile:
    file.write(memoryview(data), 0)
    file.complete(len(data), 0o644, MTIME)
    return file


# The folder.


def test_a_folder_of_our_own(tmp_path: Path, staging: Staging) -> None:
    (folder,) = staging_folders(tmp_path)
    assert folder.name == staging.name
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert safe_name(folder.name, inside=True) != folder.name  # nobody can send one


def test_found_again_and_then_removed(tmp_path: Path, root: int) -> None:
    first = Staging.open(root, PEER, manifest())
    whole(first.create("1"), b"hello")
    first.close()
    again = Staging.open(root, PEER, manifest())
    assert again.name == first.name
    assert again.length("1") == 5
    again.remove()
    again.close()
    assert list(tmp_path.iterdir()) == []


def test_abandoned(tmp_path: Path, root: int) -> None:
    """What was there before stays, and what was not goes."""
    Staging.open(root, PEER, manifest()).abandon()
    assert list(tmp_path.iterdir()) == []
    Staging.open(root, PEER, manifest()).close()
    Staging.open(root, PEER, manifest()).abandon()
    assert len(staging_folders(tmp_path)) == 1


def test_one_that_is_in_use_is_left_alone(tmp_path: Path, root: int, staging: Staging) -> None:
    second = Staging.open(root, PEER, manifest())
    assert second.name == f"{staging.name}-1"
    whole(staging.create("1"), b"hello")
    second.remove()
    second.close()
    assert staging.length("1") == 5


@pytest.mark.parametrize("what", ["file", "link", "nowhere", "newer journal", "no journal"])
def test_what_is_not_ours_is_left_alone(tmp_path: Path, root: int, what: str) -> None:
    target, outside = tmp_path / "target", tmp_path / "outside"
    target.mkdir()
    outside.mkdir()
    descriptor = os.open(target, os.O_RDONLY)
    first = Staging.open(descriptor, PEER, manifest())
    path = target / first.name
    journal = path / "journal"
    first.close()
    made: dict[str, Callable[[], object]] = {
        "file": lambda: path.write_text("mine"),
        "link": lambda: path.symlink_to(outside),
        "nowhere": lambda: path.symlink_to("nowhere"),
        "newer journal": lambda: (path.mkdir(), journal.write_bytes(b"PWJ\xff")),
        "no journal": lambda: (path.mkdir(), journal.mkdir()),
    }
    journal.unlink()
    path.rmdir()
    made[what]()
    second = Staging.open(descriptor, PEER, manifest())
    assert second.name == f"{first.name}-1"
    second.remove()
    second.close()
    os.close(descriptor)
    assert [entry.name for entry in target.iterdir()] == [path.name]
    assert list(outside.iterdir()) == []


def test_somebody_elses(tmp_path: Path, root: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that others may write to, too."""
    first = Staging.open(root, PEER, manifest())
    first.close()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    os.chown(tmp_path / first.name, 54321, -1) if os.getuid() == 0 else pytest.skip("needs root")
    second = Staging.open(root, PEER, manifest())
    assert second.name == f"{first.name}-1"
    second.close()


def test_all_are_in_use(root: int) -> None:
    taken = [Staging.open(root, PEER, manifest()) for _ in staging_names(PEER, manifest())]
    with pytest.raises(TransferFailed, match="too many transfers"):
        Staging.open(root, PEER, manifest())
    for staging in taken:
        staging.close()


def test_removed_by_another_transfer_that_ends(tmp_path: Path, root: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between finding the folder there and opening it, and between that and opening the journal."""
    real = os.open
    removals = 2

    def remove(path: Any, *arguments: Any, **named: Any) -> int:
        nonlocal removals
        if path == "journal" and removals:
            removals -= 1
            os.rmdir(staging_folders(tmp_path)[0])
        return real(path, *arguments, **named)

    monkeypatch.setattr(staging_module.os, "open", remove)
    staging = Staging.open(root, PEER, manifest())
    assert removals == 0
    assert [path.name for path in staging_folders(tmp_path)] == [staging.name]
    staging.close()


def test_a_name_is_made_of_the_path() -> None:
    names = {Staging.name_for(path) for path in [("a",), ("a", "b"), ("ab",), ("a\\b",), ("b", "a")]}
    assert len(names) == 5
    assert all(name.isalnum() and len(name) == 32 for name in names)


# Files.


def test_a_file_with_its_name(tmp_path: Path, staging: Staging, root: int) -> None:
    file = whole(staging.create("1"), b"hello")
    file.link(root, "a")
    status = (tmp_path / "a").stat()
    assert (status.st_ino, status.st_mtime_ns) == (file.status.st_ino, MTIME)
    assert staging.reopen("1") is None
    with pytest.raises(FileExistsError):
        whole(staging.create("1"), b"other").link(root, "a")
    assert (tmp_path / "a").read_bytes() == b"hello"


@pytest.mark.parametrize("unnamed", [True, False])
def test_a_whole_file(
    tmp_path: Path, root: int, monkeypatch: pytest.MonkeyPatch, staging: Staging, unnamed: bool
) -> None:
    staging._can_be_unnamed = staging._can_be_unnamed and unnamed
    there = set(os.listdir(staging.descriptor))
    file = staging.write_whole(root, memoryview(b"hello"), 0o640, MTIME)
    assert (set(os.listdir(staging.descriptor)) == there) is staging._can_be_unnamed
    file.link(root, "a")
    file.close()
    (tmp_path / "b").write_text("mine")
    other = staging.write_whole(root, memoryview(b"other"), 0o640, MTIME)
    with pytest.raises(FileExistsError):
        other.link(root, "b")
    assert (tmp_path / "b").read_text() == "mine"
    other.replace(root, "b")
    other.close()
    staging.write_whole(root, memoryview(b"never mind"), 0o640, MTIME).remove()
    assert (tmp_path / "a").read_bytes() == b"hello"
    assert (tmp_path / "b").read_bytes() == b"other"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == final_mode(0o640)
    assert set(os.listdir(staging.descriptor)) == there


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL])
def test_where_every_file_has_a_name(root: int, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Even if only in one folder, where another file system begins."""
    real = os.open

    def refuse(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if path == ".":
            raise OSError(number, os.strerror(number))
        return real(path, flags, *rest, **named)

    staging = Staging.open(root, PEER, manifest())
    monkeypatch.setattr(staging_module.os, "open", refuse)
    file = staging.write_whole(root, memoryview(b"hello"), 0o640, MTIME)
    assert isinstance(file, StagedFile)
    file.remove()
    staging.close()


def test_a_file_is_taken_to_be_changed(tmp_path: Path, root: int, staging: Staging) -> None:
    (tmp_path / "a").write_bytes(b"hello")
    (tmp_path / "a").chmod(0o400)
    file = staging.take(root, "a", (tmp_path / "a").stat(), "1")
    assert file is not None
    assert not (tmp_path / "a").exists()
    file.write(memoryview(b"J"), 0)
    file.complete(5, 0o644, MTIME)
    file.link(root, "a")
    assert (tmp_path / "a").read_bytes() == b"Jello"


def test_another_file_is_not_taken(tmp_path: Path, root: int, staging: Staging) -> None:
    """It was swapped just before: it goes back."""
    (tmp_path / "other").write_bytes(b"other")
    status = (tmp_path / "other").stat()
    (tmp_path / "a").write_bytes(b"mine")
    assert staging.take(root, "a", status, "1") is None
    assert (tmp_path / "a").read_bytes() == b"mine"


def test_another_file_finds_its_name_taken_on_the_way_back(
    tmp_path: Path, root: int, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"mine")
    real = os.rename

    def rename(*arguments: Any, **named: Any) -> None:
        real(*arguments, **named)
        (tmp_path / "a").write_bytes(b"mine, too")

    monkeypatch.setattr(staging_module.os, "rename", rename)
    assert staging.take(root, "a", tmp_path.stat(), "1") is None
    assert (tmp_path / "a").read_bytes() == b"mine, too"
    assert (tmp_path / "a (1)").read_bytes() == b"mine"
