import fcntl
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from p2p_core.errors import NotPrivate, UsageError
from p2p_peer import private_file
from p2p_peer.private_file import PrivateFile


@pytest.fixture
def file(tmp_path: Path) -> PrivateFile:
    return PrivateFile(tmp_path / "state" / "punchwire" / "file.json")


def write(file: PrivateFile, data: bytes) -> None:
    with file.alone():
        file.replace(data)


def test_reads_what_was_written(file: PrivateFile) -> None:
    assert file.read(100) is None
    assert not file.path.parent.exists()
    write(file, b"first")
    write(file, b"second")
    assert (file.read(100), file.read(3)) == (b"second", b"sec")


def test_only_its_owner_may_look(file: PrivateFile) -> None:
    write(file, b"")
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert list(file.path.parent.iterdir()) == [file.path]


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o777])
def test_what_others_can_write_is_not_believed(file: PrivateFile, mode: int) -> None:
    write(file, b"mine")
    file.path.chmod(mode)
    with pytest.raises(UsageError, match=f"other users of this computer can write to {file.path}") as caught:
        file.read(100)
    assert caught.value.advice.endswith(f"chmod 600 {file.path}")
    file.path.chmod(0o644)  # they may know it
    assert file.read(100) == b"mine"


def test_what_belongs_to_another_is_not_believed(file: PrivateFile, monkeypatch: pytest.MonkeyPatch) -> None:
    write(file, b"mine")
    fields = list(file.path.stat())
    fields[stat.ST_UID] += 1
    monkeypatch.setattr(private_file.os, "fstat", lambda descriptor: os.stat_result(fields))
    with pytest.raises(UsageError, match=f"{file.path} belongs to another user"):
        file.read(100)


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777, 0o1777])
def test_what_others_can_put_there_is_not_believed(file: PrivateFile, mode: int) -> None:
    folder = file.path.parent
    for has_it in (False, True):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)
        for use in (lambda: file.read(100), file.stamp):
            with pytest.raises(UsageError, match=f"other users of this computer can write to {folder}, so") as caught:
                use()
            assert caught.value.advice.endswith(f"chmod go-w {folder}")
        folder.chmod(0o755)  # they may look
        assert (file.read(100) is not None) is has_it
        write(file, b"mine")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_what_is_in_the_folder_of_another_is_not_believed(file: PrivateFile) -> None:
    file.path.parent.mkdir(parents=True)
    os.chown(file.path.parent, 4321, -1)
    for use in (lambda: file.read(100), file.stamp):
        with pytest.raises(NotPrivate, match=f"{file.path.parent} belongs to another user"):
            use()


def test_what_is_roots_is_believed(file: PrivateFile, monkeypatch: pytest.MonkeyPatch) -> None:
    write(file, b"mine")
    status_of = os.stat

    def status(path: object, **options: bool) -> os.stat_result:
        fields = list(status_of(path, **options))
        fields[stat.ST_UID] = 0
        return os.stat_result(fields)

    monkeypatch.setattr(private_file.Path, "stat", status)
    monkeypatch.setattr(private_file.os, "geteuid", lambda: os.getuid() or 4321)
    private_file.check_ours(file.path.parent)


@pytest.mark.parametrize("above", [1, 2])
def test_where_everybody_may_put_another_folder_in_its_place(file: PrivateFile, above: int) -> None:
    write(file, b"mine")
    folder = file.path.parents[above]
    folder.chmod(0o777)
    for use in (lambda: file.read(100), file.stamp):
        with pytest.raises(NotPrivate, match=f"can write to {folder}, and so put something else in the place of"):
            use()
    folder.chmod(0o775)  # a group is somebody's choice, and that of each user alone on many systems
    assert file.read(100) == b"mine"


def test_the_folders_of_each_link_count(file: PrivateFile, tmp_path: Path) -> None:
    """state -> open/mid -> real: who can write to `open` leads it elsewhere."""
    write(file, b"mine")
    folder, state = tmp_path / "open", tmp_path / "linked"
    folder.mkdir()
    (folder / "mid").symlink_to(file.path.parent)
    state.symlink_to(folder / "mid")
    linked = PrivateFile(state / file.path.name)
    assert linked.read(100) == b"mine"
    folder.chmod(0o777)
    for use in (lambda: linked.read(100), linked.stamp, lambda: private_file.check_our_folder(state)):
        with pytest.raises(NotPrivate, match=f"everybody on this computer can write to {folder}, and so"):
            use()


@pytest.mark.parametrize("is_there", [True, False])
def test_the_folder_that_a_link_to_the_file_leads_to_counts(file: PrivateFile, tmp_path: Path, is_there: bool) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    if is_there:
        (folder / "file").touch(0o600)
    file.path.parent.mkdir(parents=True)
    file.path.symlink_to(folder / "file")
    assert file.read(100) == (b"" if is_there else None)
    folder.chmod(0o777)
    for use in (lambda: file.read(100), file.stamp):
        with pytest.raises(NotPrivate, match=f"everybody on this computer can write to {folder}, and so"):
            use()


def test_a_link_to_itself(file: PrivateFile) -> None:
    file.path.parent.mkdir(parents=True)
    file.path.symlink_to(file.path)
    with pytest.raises(UsageError, match="cannot be read: Too many levels of symbolic links"):
        file.read(100)
    assert file.stamp() is None


def test_a_link_in_the_place_of_what_is_written_is_replaced(file: PrivateFile, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"theirs")
    file.path.parent.mkdir(parents=True)
    for target in (elsewhere, tmp_path / "nothing"):
        file.path.symlink_to(target)
        write(file, b"mine")
        assert (file.path.is_symlink(), file.path.read_bytes()) == (False, b"mine")
        file.path.unlink()
    assert elsewhere.read_bytes() == b"theirs"
    assert not (tmp_path / "nothing").exists()


def test_by_a_link_both_ways_count(file: PrivateFile, tmp_path: Path) -> None:
    write(file, b"mine")
    crossing = tmp_path / "crossing"
    crossing.mkdir()
    (crossing / "link").symlink_to(file.path.parent)
    linked = PrivateFile(crossing / "link" / file.path.name)
    assert linked.read(100) == b"mine"
    for way in (crossing, file.path.parent.parent):
        way.chmod(0o777)
        with pytest.raises(NotPrivate, match=f"everybody on this computer can write to {way}"):
            linked.read(100)
        way.chmod(0o700)


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_whatever_the_umask_is(file: PrivateFile, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write(file, b"mine")
    finally:
        os.umask(before)
    made = (tmp_path / "state", file.path.parent, file.path)
    assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o700, 0o700, 0o600]
    assert file.read(100) == b"mine"


def test_folders_further_up_may_be_of_all(file: PrivateFile) -> None:
    write(file, b"mine")
    file.path.parent.parent.chmod(0o1777)
    assert file.read(100) == b"mine"


def test_a_stamp(file: PrivateFile) -> None:
    assert file.stamp() is None
    seen = []
    write(file, b"one")
    seen.append(file.stamp())
    assert file.stamp() == seen[0]
    status = file.path.stat()
    write(file, b"two")
    os.utime(file.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    seen.append(file.stamp())
    file.path.write_bytes(b"three")
    seen.append(file.stamp())
    assert None not in seen
    assert len(set(seen)) == 3


def test_a_pipe_and_a_device_are_not_waited_for(file: PrivateFile) -> None:
    file.path.parent.mkdir(parents=True)
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        make(file.path)
        with pytest.raises(UsageError, match=f"{file.path} cannot be read: it is not a regular file"):
            file.read(100)
        file.path.unlink()


def test_a_folder_in_its_place(file: PrivateFile) -> None:
    file.path.mkdir(parents=True)
    with pytest.raises(UsageError, match=f"{file.path} cannot be read: it is a folder"):
        file.read(100)
    with pytest.raises(UsageError, match=f"{file.path.parent} cannot be written to"):
        write(file, b"")
    assert list(file.path.parent.iterdir()) == [file.path]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    file = PrivateFile(tmp_path / "state" / "punchwire" / "file.json")
    with pytest.raises(UsageError, match=r"state/punchwire cannot be written to: Not a directory"):
        write(file, b"")


def test_replaced_whole_or_not_at_all(file: PrivateFile, monkeypatch: pytest.MonkeyPatch) -> None:
    write(file, b"old")

    def replace(self: Path, target: Path) -> None:
        assert self.read_bytes() == b"new"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(private_file.Path, "replace", replace)
    with pytest.raises(UsageError, match="No space left on device"):
        write(file, b"new")
    assert [path.read_bytes() for path in file.path.parent.iterdir()] == [b"old"]


def test_on_the_disk_before_it_has_its_name(file: PrivateFile, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(private_file.os, "fsync", lambda descriptor: (done.append("sync"), sync(descriptor)))
    monkeypatch.setattr(private_file.Path, "replace", lambda one, other: (done.append("replace"), replace(one, other)))
    write(file, b"new")
    assert done == ["sync", "replace"]


KILLED = """
import os, signal, sys
from pathlib import Path
from p2p_peer.private_file import PrivateFile

setattr({"fsync": os, "replace": Path}[sys.argv[2]], sys.argv[2], lambda *_: os.kill(os.getpid(), signal.SIGKILL))
file = PrivateFile(Path(sys.argv[1]))
with file.alone():
    file.replace(b"new")
"""


@pytest.mark.parametrize("at", ["fsync", "replace"])
def test_killed_before_it_has_its_name(file: PrivateFile, at: str) -> None:
    write(file, b"old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(file.path), at], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert file.read(100) == b"old"
    write(file, b"newer")  # its lock has gone with it
    assert file.read(100) == b"newer"


# The lock.


@pytest.fixture
def held(file: PrivateFile) -> Iterator[int]:
    """Somebody else holds the lock: a descriptor of its own is as good as a process of its own."""
    file.path.parent.mkdir(parents=True)
    descriptor = os.open(file.path.parent, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield descriptor
    os.close(descriptor)


@pytest.mark.usefixtures("held")
def test_a_lock_that_is_never_given_back_is_not_waited_for_long(
    file: PrivateFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []
    monkeypatch.setattr(private_file, "sleep", naps.append)
    write(file, b"mine")
    assert file.read(100) == b"mine"
    assert sum(naps) == pytest.approx(1.0)
    assert max(naps) < 0.1


def test_a_lock_is_waited_for(file: PrivateFile, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else gets it before all is written."""
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            fcntl.flock(held, fcntl.LOCK_UN)

    monkeypatch.setattr(private_file, "sleep", nap)
    with file.alone():
        assert len(naps) == 3
        with pytest.raises(BlockingIOError):
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_file_system_without_locks(file: PrivateFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(descriptor: int, how: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(private_file.fcntl, "flock", flock)
    write(file, b"mine")
    assert file.read(100) == b"mine"
