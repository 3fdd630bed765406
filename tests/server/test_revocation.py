"""Whose keys are in a folder, each time that it has changed."""

import contextlib
import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from p2p_core.identity import PeerId, public_pem
from p2p_server import files, revocation
from p2p_server.authorized import KeyFolder
from p2p_server.revocation import KeyWatch

from tests import keys
from tests.server.logged import Event, events

PEERS = [PeerId.of(keys.key(n).public_key()) for n in range(4)]
PEMS = [public_pem(keys.key(n).public_key()) for n in range(4)]
ALL = set(PEERS[:3])


@pytest.fixture
def folder(admit: Callable[..., Path]) -> Path:
    return admit(0, 1, 2)


@pytest.fixture
def watch(folder: Path) -> KeyWatch:
    return KeyWatch(KeyFolder(folder))


def file_of(folder: Path, n: int) -> Path:
    return folder / f"{PEERS[n]}.pem"


def warnings(caplog: pytest.LogCaptureFixture) -> list[Event]:
    found = [event for event in events(caplog) if event["level"] == "warning"]
    caplog.clear()
    return found


def settle(folder: Path) -> None:
    """Make the folder look as if its last change were long ago."""
    os.utime(folder, (1, 1))


def test_a_key_that_was_removed_is_not_good(watch: KeyWatch, folder: Path) -> None:
    assert watch.look() == ALL
    file_of(folder, 0).unlink()
    file_of(folder, 2).unlink()
    assert watch.look() == {PEERS[1]}
    assert watch.count == 1
    settle(folder)
    assert watch.look() == {PEERS[1]}
    assert watch.look() is None


def test_a_key_that_comes_is_good(watch: KeyWatch, folder: Path) -> None:
    file_of(folder, 3).write_bytes(PEMS[3])
    assert watch.look() == set(PEERS)
    file_of(folder, 3).unlink()
    assert watch.look() == ALL


def test_a_key_that_came_and_went_between_two_looks_makes_for_another(watch: KeyWatch, folder: Path) -> None:
    settle(folder)
    watch.look()
    assert watch.look() is None
    file_of(folder, 3).write_bytes(PEMS[3])
    file_of(folder, 3).unlink()
    assert watch.look() == ALL


def test_a_key_that_came_after_the_look_is_not_gone(watch: KeyWatch, folder: Path) -> None:
    assert watch.is_gone(PEERS[3])
    file_of(folder, 3).write_bytes(PEMS[3])
    assert not watch.is_gone(PEERS[3])


def test_a_file_with_another_key_or_none_takes_it_away(watch: KeyWatch, folder: Path) -> None:
    for n, data in ((0, PEMS[1]), (1, b"no key")):
        other = folder / "other"
        other.write_bytes(data)
        other.rename(file_of(folder, n))
    assert watch.look() == {PEERS[2]}


def test_the_same_key_again_changes_nothing(watch: KeyWatch, folder: Path) -> None:
    other = folder / "other"
    other.write_bytes(PEMS[0])
    other.rename(file_of(folder, 0))
    assert watch.look() == ALL


def test_what_was_written_over_in_place_is_seen_by_a_thorough_look(watch: KeyWatch, folder: Path) -> None:
    settle(folder)
    watch.look()
    file_of(folder, 0).write_bytes(b"no key at all")
    assert watch.look() is None
    assert watch.look(thoroughly=True) == ALL - {PEERS[0]}


def test_from_time_to_time_a_look_is_thorough(watch: KeyWatch, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(folder)
    watch.look()
    file_of(folder, 0).write_bytes(b"no key at all")
    monkeypatch.setattr(revocation, "_WRITTEN_OVER", 0.0)
    assert watch.look() == ALL - {PEERS[0]}


def test_what_did_not_change_is_not_read(watch: KeyWatch, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    whose = KeyFolder.whose

    def reading(keys: KeyFolder, name: str) -> PeerId | None:
        read.append(name)
        return whose(keys, name)

    monkeypatch.setattr(KeyFolder, "whose", reading)
    file_of(folder, 3).write_bytes(PEMS[3])
    file_of(folder, 0).unlink()
    watch.look(thoroughly=True)
    assert read == [f"{PEERS[3]}.pem"]


def test_an_unchanged_folder_is_not_listed(watch: KeyWatch, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(folder)
    watch.look()

    def scandir(_path: Path) -> None:
        raise AssertionError

    monkeypatch.setattr(os, "scandir", scandir)
    assert watch.look() is None


def test_two_changes_at_one_time_of_the_file_system_are_seen(
    watch: KeyWatch, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocation, "_signature", lambda status: (status.st_mtime_ns, status.st_ino))
    watch.look(thoroughly=True)
    file_of(folder, 0).unlink()
    now = folder.stat().st_mtime_ns
    assert watch.look() == {PEERS[1], PEERS[2]}
    file_of(folder, 1).unlink()
    os.utime(folder, ns=(now, now))
    assert watch.look() == {PEERS[2]}


def test_a_link_whose_end_is_gone_takes_its_key_away(tmp_path: Path, watch: KeyWatch, folder: Path) -> None:
    target = file_of(folder, 0).rename(tmp_path / "kept elsewhere")
    file_of(folder, 0).symlink_to(target)
    assert watch.look() == ALL
    target.unlink()
    assert watch.look(thoroughly=True) == ALL - {PEERS[0]}


def test_a_file_that_nothing_can_be_said_of_keeps_its_key(
    watch: KeyWatch, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Entry:
        def __init__(self, entry: "os.DirEntry[str]") -> None:
            self.name = entry.name

        def stat(self) -> os.stat_result:
            raise OSError(errno.EIO, "Input/output error")

    with os.scandir(folder) as entries:
        found = [Entry(entry) for entry in entries if entry.name != f"{PEERS[0]}.pem"]
    monkeypatch.setattr(os, "scandir", lambda _: contextlib.nullcontext(found))
    monkeypatch.setattr(KeyFolder, "whose", lambda *_: None)  # nor can it be read
    assert watch.look(thoroughly=True) == ALL - {PEERS[0]}


@pytest.mark.parametrize("error", [errno.EMFILE, errno.EIO, errno.ESTALE])
def test_a_file_that_cannot_be_read_now_keeps_its_key_and_is_read_later(
    watch: KeyWatch, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: int
) -> None:
    def fail(path: Path, _flags: int) -> int:
        raise OSError(error, os.strerror(error), str(path))

    file_of(folder, 0).write_bytes(b"no key")
    file_of(folder, 1).unlink()
    file_of(folder, 3).write_bytes(PEMS[3])
    settle(folder)
    with monkeypatch.context() as patched:
        patched.setattr(files.os, "open", fail)
        assert watch.look(thoroughly=True) == {PEERS[0], PEERS[2]}
        assert watch.look() == {PEERS[0], PEERS[2]}
        assert not watch.is_gone(PEERS[3])
        assert watch.is_gone(PEERS[1])
    assert [(event["event"], event["why"]) for event in warnings(caplog)] == [("keys-unreadable", os.strerror(error))]
    assert watch.look() == {PEERS[2], PEERS[3]}
    assert [event["event"] for event in warnings(caplog)] == ["key-passed-over"]
    assert watch.look() is None


def test_a_folder_that_cannot_be_read_takes_nothing_away(
    watch: KeyWatch, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def scandir(_path: Path) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    file_of(folder, 0).unlink()
    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", scandir)
        assert watch.look() is None
        assert watch.look() is None
    (event,) = warnings(caplog)
    assert (event["event"], event["why"]) == ("keys-unreadable", "Stale file handle")
    assert not watch.could_read
    away = folder.rename(folder.with_name("away"))
    assert watch.look() is None
    assert [event["why"] for event in warnings(caplog)] == ["No such file or directory"]
    away.rename(folder)
    assert watch.look() == ALL - {PEERS[0]}
    assert watch.could_read


def test_a_folder_that_was_emptied_takes_all_away(watch: KeyWatch, folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    assert watch.look() == set()


def test_another_folder_under_the_same_name(tmp_path: Path, admit: Callable[..., Path]) -> None:
    """As who deploys by changing a link has it."""
    one, link = admit(0, 1), tmp_path / "current"
    other = tmp_path / "other"
    other.mkdir()
    file_of(other, 1).write_bytes(PEMS[1])
    link.symlink_to(one)
    watch = KeyWatch(KeyFolder(link))
    (tmp_path / "next").symlink_to(other)
    (tmp_path / "next").rename(link)
    assert watch.look() == {PEERS[1]}


def test_files_that_admit_nobody_are_warned_of_once(
    watch: KeyWatch, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file_of(folder, 3).write_bytes(b"no key")
    (folder / "dangling.pem").symlink_to("nowhere")
    (folder / "loop.pem").symlink_to("loop.pem")
    (folder / ".hidden").touch()
    assert watch.look() == ALL
    assert watch.look(thoroughly=True) == ALL
    told = [(event.get("file"), event.get("peer")) for event in warnings(caplog)]
    assert sorted(told, key=str) == sorted([("dangling.pem", None), ("loop.pem", None), (None, str(PEERS[3]))], key=str)
    file_of(folder, 3).write_bytes(PEMS[3])
    watch.look(thoroughly=True)
    assert watch.count == 4
    assert not warnings(caplog)


def test_what_was_read_is_logged_when_it_changed(
    watch: KeyWatch, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="p2p_server")
    watch.look(thoroughly=True)
    assert not events(caplog)
    file_of(folder, 0).unlink()
    watch.look()
    (event,) = events(caplog, "keys-read")
    assert (event["count"], event["removed"]) == (2, 1)
