import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from p2p_core import limits
from p2p_core.errors import TransferFailed
from p2p_core.ledger import block_digest
from p2p_core.manifest import TOP, Entry, EntryKind
from p2p_peer.transfer import sink as sink_module
from p2p_peer.transfer import staging as staging_module
from p2p_peer.transfer.block_writer import BUFFERS, Finished
from p2p_peer.transfer.target import Overwrite

from tests.peer.pair import PATIENCE
from tests.peer.receiving import BLOCK, MTIME, Receiving, Sent, contents, staging_folders


@pytest.fixture
def receive(tmp_path: Path) -> Iterator[Callable[..., Receiving]]:
    made: list[Receiving] = []

    def begin(sent: Sent, folder: Path = tmp_path, *arguments: Any, **named: Any) -> Receiving:
        made.append(Receiving(sent, folder, *arguments, **named))
        return made[-1]

    yield begin
    for each in made:
        if not each.is_ended:
            each.end(keep=False)


@pytest.fixture
def nothing_unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on systems on which every file has a name from the beginning."""
    monkeypatch.setattr(staging_module, "_UNNAMED", None)


def one(content: bytes = b"", name: str = "file", **named: Any) -> Sent:
    sent = Sent()
    sent.file(name, content, **named)
    return sent


def tree() -> Sent:
    """Everything that can be sent, and in it files of no, one and several blocks."""
    sent = Sent()
    photos = sent.folder("photos", mode=0o750)
    sent.file("a.jpg", b"a" * 100, photos)
    sent.file("b.jpg", os.urandom(BLOCK), photos)
    sent.file("film", os.urandom(3 * BLOCK + 5), photos, mode=0o755)
    below = sent.folder(".below", photos, mtime=MTIME + 1)
    sent.file(".hidden", b"h", below)
    sent.link("shown", "../film", below)
    sent.file("empty", b"", photos)
    sent.folder("nothing in it", photos)
    sent.file("letter", b"Dear Bob", mtime=MTIME + 5)
    return sent


def as_sent(sent: Sent) -> dict[str, bytes | str | None]:
    """What a folder contains when all of it has been received."""
    manifest = sent.manifest
    return {
        "/".join(manifest.path(entry)): manifest[entry].target or sent.content.get(entry)
        for entry in range(len(manifest))
    }


def failing(number: int) -> Callable[..., Any]:
    """A system call that fails with this error."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def failing_for(name: str, real: Callable[..., Any], number: int) -> Callable[..., Any]:
    """A system call that fails when this name is among its arguments."""

    def fail(*arguments: Any, **named: Any) -> Any:
        if name in arguments:
            raise OSError(number, os.strerror(number))
        return real(*arguments, **named)

    return fail


# What arrives.


@pytest.mark.parametrize("unnamed", [True, False])
@pytest.mark.parametrize("size", [0, 1, BLOCK, BLOCK + 1, 10 * BLOCK + 3])
def test_stored_under_its_name(
    receive: Callable[..., Receiving], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, unnamed: bool
) -> None:
    if not unnamed:
        monkeypatch.setattr(staging_module, "_UNNAMED", None)
    content = os.urandom(size)
    receiving = receive(one(content))
    assert len(staging_folders(tmp_path)) == 1
    if size > BLOCK:
        receiving.send(range(size // BLOCK))
        assert not (tmp_path / "file").exists()
        receiving.send({size // BLOCK})
    finished = receiving.all()
    assert finished.paths == (tmp_path / "file",)
    assert (finished.files, finished.bytes, finished.missing) == (1, size, ())
    assert contents(tmp_path) == {"file": content}


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_a_tree(receive: Callable[..., Receiving], tmp_path: Path, batch: int) -> None:
    sent = tree()
    finished = receive(sent).all(batch)
    assert contents(tmp_path) == as_sent(sent)
    assert finished.paths == (tmp_path / "photos", tmp_path / "letter")
    assert (finished.files, finished.bytes) == (6, sent.manifest.total_bytes)
    for path, mode, mtime in [
        ("photos", 0o750, MTIME),
        ("photos/film", 0o755, MTIME),
        ("photos/.below", 0o755, MTIME + 1),
        ("photos/.below/.hidden", 0o644, MTIME),
        ("photos/nothing in it", 0o755, MTIME),
        ("letter", 0o644, MTIME + 5),
    ]:
        status = (tmp_path / path).stat()
        assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (mode & ~staging_module._umask(), mtime), path
    assert (tmp_path / "photos/.below/shown").lstat().st_mtime_ns == MTIME


def test_more_files_than_are_open_at_once(receive: Callable[..., Receiving], tmp_path: Path) -> None:
    sent = Sent()
    for number in range(3 * sink_module._TOGETHER + 1):
        sent.file(f"{number}", b"%d" % number)
        sent.file(f"{number} is empty")
    receive(sent).all(batch=limits.MAX_BATCH_BLOCKS)
    assert contents(tmp_path) == as_sent(sent)


@pytest.mark.parametrize("size", [0, 1, BLOCK, 2 * BLOCK, 2 * BLOCK + 1])
def test_a_stream(receive: Callable[..., Receiving], tmp_path: Path, size: int) -> None:
    sent = one(b"before", "a")
    content = os.urandom(size)
    sent.stream(content)
    finished = receive(sent).all()
    assert contents(tmp_path) == {"a": b"before", "stdin": content}
    assert finished.bytes == 6 + size
    assert (tmp_path / "stdin").stat().st_mtime_ns != MTIME  # nobody knows when it was changed


@pytest.mark.parametrize("mode", [0, 0o222, 0o444, 0o777])
@pytest.mark.parametrize("size", [1, 2 * BLOCK])
def test_modes(receive: Callable[..., Receiving], tmp_path: Path, mode: int, size: int) -> None:
    """No wider than our own files, and never out of our own reach."""
    receive(one(bytes(size), mode=mode)).all()
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == (mode & ~staging_module._umask()) | 0o400


@pytest.mark.parametrize("mode", [0, 0o222, 0o555])
def test_a_folder_that_nobody_may_write_to_is_filled_first(
    receive: Callable[..., Receiving], tmp_path: Path, mode: int
) -> None:
    sent = Sent()
    folder = sent.folder("folder", mode=mode)
    sent.file("file", b"x", folder)
    sent.folder("below", folder, mode=mode)
    receive(sent).all()
    expected = (mode & ~staging_module._umask()) | 0o500
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == expected
    assert stat.S_IMODE((tmp_path / "folder/below").stat().st_mode) == expected
    assert contents(tmp_path) == {"folder": None, "folder/file": b"x", "folder/below": None}


def test_a_time_no_clock_can_show(receive: Callable[..., Receiving], tmp_path: Path) -> None:
    receive(one(b"x", mtime=2**63 - 1)).all()
    assert contents(tmp_path) == {"file": b"x"}


@pytest.mark.usefixtures("nothing_unnamed")
def test_private_while_it_is_written(receive: Callable[..., Receiving], tmp_path: Path) -> None:
    sent = Sent()
    sent.file("file", bytes(2 * BLOCK), sent.folder("folder"))
    receive(sent).send({0})
    (staging,) = staging_folders(tmp_path)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (staging, tmp_path / "folder")] == [0o700, 0o700]
    assert {stat.S_IMODE(path.stat().st_mode) for path in staging.iterdir()} == {0o600}


def test_only_what_is_wanted(receive: Callable[..., Receiving], tmp_path: Path) -> None:
    sent = tree()
    wanted = ((0, 1), (3, 3))  # photos, film, .below and what is in it
    finished = receive(sent, wanted=wanted).all()
    assert set(contents(tmp_path)) == {"photos", "photos/film", "photos/.below", "photos/.below/.hidden"}
    assert (finished.files, finished.missing) == (2, ())


def test_what_the_sender_cannot_send(receive: Callable[..., Receiving], tmp_path: Path) -> None:
    """Of a large file that was begun nothing is left, and the others arrive."""
    sent = Sent()
    for name in ("a", "b", "c"):
        sent.file(name, name.encode() * 2 * BLOCK)
    receiving = receive(sent)
    receiving.send({0, 1, 2})
    receiving.sink.drop(1)
    receiving.send({4, 5})
    receiving.sink.drop(0)  # too late: it has arrived
    finished = receiving.finish(((1, 1),))
    assert isinstance(finished, Finished)
    assert finished.root == sent.root(((1, 1),))
    assert [path.name for path in staging_folders(tmp_path)[0].iterdir()] == ["journal"]
    receiving.end(keep=False)
    assert set(contents(tmp_path)) == {"a", "c"}
    assert (finished.files, finished.missing) == (2, ())


def test_nothing_is_signed_for_that_was_dropped(receive: Callable[..., Receiving], tmp_path: Path) -> None:
    """The sender says that a file comes to nothing, then sends all of it and does not leave it out."""
    sent = Sent()
    for name in ("a", "b"):
        sent.file(name, os.urandom(2 * BLOCK))
    receiving = receive(sent)
    receiving.sink.drop(0)
    finished = receiving.all()
    assert (finished.files, finished.missing) == (1, ((0, 1),))
    assert set(contents(tmp_path)) == {"b"}


@pytest.mark.parametrize("size", [0, 1, BLOCK, 5 * BLOCK])
def test_what_came_of_a_file_stays_as_it_was_when_it_is_left_out_now(
    receive: Callable[..., Receiving], tmp_path: Path, size: int
) -> None:
    """It is of another size meanwhile."""
    sent, again, rest = Sent(), Sent(), os.urandom(2 * BLOCK)
    sent.file("a", content := os.urandom(2 * BLOCK))
    again.file("a", os.urandom(size), mtime=MTIME + 10**10)
    for each in (sent, again):
        each.file("b", rest)
    first = receive(sent)
    first.send({0, 1, 2})
    first.end(keep=True)
    assert (tmp_path / "a").exists()
    receiving = receive(again)
    receiving.sink.drop(0)
    ordinals = range(again.manifest.first_block(1), again.manifest.blocks)
    receiving.send({ordinal for ordinal in ordinals if ordinal not in receiving.have})
    finished = receiving.finish(((0, 1),))
    assert isinstance(finished, Finished)
    assert (finished.files, finished.missing) == (1, ())
    receiving.end(keep=False)
    assert contents(tmp_path) == {"a": content, "b": rest}
    assert (tmp_path / "a").stat().st_mtime_ns == MTIME


@pytest.mark.parametrize("first", [b"", b"changed"])
def test_what_the_user_has_linked_to_is_not_changed(
    receive: Callable[..., Receiving], tmp_path: Path, first: bytes
) -> None:
    """The file gets its new blocks all the same, and none that it has."""
    content, rest, sent, again = os.urandom(3 * BLOCK), os.urandom(2 * BLOCK), Sent(), Sent()
    sent.file("a", content)
    again.file("a", new := first + content[len(first) :], mtime=MTIME + 10**10)
    for each in (sent, again):
        each.file("b", rest)
    interrupted = receive(sent)
    interrupted.send({0, 1, 2, 3})
    interrupted.end(keep=True)
    (tmp_path / "link").hardlink_to(tmp_path / "a")
    receiving = receive(again)
    assert receiving.have >= {1, 2, 3}
    receiving.all()
    assert contents(tmp_path) == {"a": new, "link": content, "b": rest}


def test_a_file_is_begun_at_once_however_large_it_claims_to_be(receive: Callable[..., Receiving]) -> None:
    """Nothing is done for each of its blocks."""
    sent = Sent()
    sent.manifest.add(Entry(EntryKind.FILE, TOP, "file", (limits.MAX_BLOCKS - 1) * BLOCK))
    sent.content[0] = bytes(BLOCK)
    receiving = receive(sent)
    receiving.put(0)
    assert receiving.hear() == (1, BLOCK)


def test_the_sender_ends_too_early(receive: Callable[..., Receiving], tmp_path: Path) -> None:
    receiving = receive(one(bytes(2 * BLOCK)))
    receiving.send({0})
    failed = receiving.finish()
    assert str(failed) == "the other side ended the transfer before all of file had come"
    receiving.end(keep=False)
    assert contents(tmp_path) == {}


# Names.


@pytest.mark.parametrize("name", [".bash_profile", ".ssh", "..bash_profile", ". .bash_profile"])
def test_nothing_becomes_a_hidden_file(receive: Callable[..., Receiving], tmp_path: Path, name: str) -> None:
    receive(one(b"", name)).all()
    assert contents(tmp_path) == {name.lstrip(" ."): b""}


@pytest.mark.parametrize("size", [0, 1, 2 * BLOCK])
@pytest.mark.parametrize("unnamed", [True, False])
def test_a_name_that_is_taken_is_left_alone(
    receive: Callable[..., Receiving], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, unnamed: bool
) -> None:
    if not unnamed:
        monkeypatch.setattr(staging_module, "_UNNAMED", None)
    (tmp_path / "a.txt").write_text("mine")
    (tmp_path / "a (1).txt").symlink_to("nowhere")
    assert receive(one(bytes(size), "a.txt")).all().paths == (tmp_path / "a (2).txt",)
    assert contents(tmp_path) == {"a.txt": b"mine", "a (1).txt": "nowhere", "a (2).txt": bytes(size)}


def test_a_folder_full_of_one_name(
    receive: Callable[..., Receiving], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2p_peer.transfer.target.MAX_NAMES", 2)
    for name in ("file", "file (1)"):
        (tmp_path / name).write_text("mine")
    sent = one(b"x")
    sent.file("other", b"y")
    receiving = receive(sent)
    finished = receiving.all()
    assert receiving.lost == {0: "its folder is full of files named file"}
    assert (finished.missing, finished.files) == (((0, 1),), 1)
    assert (tmp_path / "other").read_bytes() == b"y"


@pytest.mark.parametrize("name", ["a\\b", "C:x", "...", " "])
def test_a_name_that_means_to_go_elsewhere(receive: Callable[..., Receiving], tmp_path: Path, name: str) -> None:
    """That file is not stored; the others are, and the root is over all of them."""
    sent = one(b"1", name)
    folder = sent.folder(name + name)
    sent.file("in it", b"2", folder)
    sent.file("large", bytes(2 * BLOCK), folder)
    sent.file("fine", b"3")
    receiving = receive(sent)
    assert receiving.all(batch=3).missing == ((0, 4),)
    assert contents(tmp_path) == {"fine": b"3"}
    assert set(receiving.lost) == {0, 1, 2, 3}


def test_the_longest_name(receive: Callable[..., Receiving], tmp_path: Path) -> None:
    for _ in range(3):
        receive(one(b"x", "ä" * 500 + ".txt")).all()
    assert len(contents(tmp_path)) == 3


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_where_there_are_no_hard_links(
    receive: Callable[..., Receiving], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(staging_module.os, "link", failing(number))
    (tmp_path / "letter").write_text("mine")
    sent = tree()
    receive(sent).all(batch=100)
    expected = as_sent(sent)
    assert contents(tmp_path) == expected | {"letter": b"mine", "letter (1)": expected["letter"]}


def test_a_rename_that_fails_leaves_no_empty_file_under_the_name(
    receive: Callable[..., Receiving], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = one(b"x")
    monkeypatch.setattr(staging_module.os, "link", failing(errno.EPERM))
    receiving = receive(sent)
    monkeypatch.setattr(staging_module.os, "rename", failing(errno.EACCES))
    assert receiving.all().missing == ((0, 1),)
    assert receiving.lost == {0: "file cannot be written: Permission denied"}
    assert contents(tmp_path) == {}


# What goes wrong.


@pytest.mark.parametrize("call", ["fchmod", "utime"])
@pytest.mark.usefixtures("nothing_unnamed")
def test_a_file_system_that_keeps_no_modes_or_times(
    receive: Callable[..., Receiving], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(staging_module.os, call, failing(errno.EOPNOTSUPP))
    sent = tree()
    receive(sent).all()
    assert contents(tmp_path) == as_sent(sent)


@pytest.mark.usefixtures("nothing_unnamed")
def test_no_room_is_said_only_when_the_file_is_closed(
    receive: Callable[..., Receiving], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As network file systems do, and quotas on them: the file never gets its name."""
    receiving = receive(one(bytes(2 * BLOCK)))
    receiving.send({0})
    real, descriptor = os.close, receiving.sink._large._descriptor  # type: ignore[attr-defined]

    def close(closed: int) -> None:
        real(closed)
        if closed == descriptor:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(staging_module.os, "close", close)
    assert str(receiving.send({1})) == "file cannot be written: Disk quota exceeded"
    receiving.end(keep=False)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("number", [errno.EIO, errno.EDQUOT, errno.ENOSPC, errno.ESTALE, errno.EROFS])
@pytest.mark.parametrize("size", [1, 2 * BLOCK])
def test_a_disk_that_fails_in_the_middle(
    receive: Callable[..., Receiving], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, size: int
) -> None:
    """Everything ends; what has arrived stays for the next try."""
    sent = one(b"1" * 2 * BLOCK, "a")
    sent.file("b", bytes(size))
    receiving = receive(sent)
    receiving.send({0, 1})
    with monkeypatch.context() as broken:
        broken.setattr(staging_module.os, "pwrite", failing(number))
        receiving.put(2)
        failed = receiving.hear()
    assert isinstance(failed, TransferFailed)
    assert str(failed) == f"b cannot be written: {os.strerror(number)}"
    assert failed.advice.startswith("Make room") is (number in (errno.EDQUOT, errno.ENOSPC))
    receiving.end(keep=True)
    assert len(staging_folders(tmp_path)) == 1
    again = receive(sent)
    assert again.have == {0, 1}
    again.all()
    assert contents(tmp_path) == as_sent(sent)


@pytest.mark.parametrize("number", [errno.EFBIG, errno.EACCES, errno.ENAMETOOLONG, errno.EINVAL])
@pytest.mark.parametrize("size", [1, 2 * BLOCK])
def test_one_file_that_cannot_be_written(
    receive: Callable[..., Receiving], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, size: int
) -> None:
    sent = one(bytes(size), "a")
    sent.file("b", b"b" * 2 * BLOCK)
    receiving = receive(sent)
    with monkeypatch.context() as broken:
        broken.setattr(staging_module.os, "pwrite", failing(number))
        receiving.send({0})
    finished = receiving.all()
    assert receiving.lost == {0: f"a cannot be written: {os.strerror(number)}"}
    assert (finished.missing, finished.files) == (((0, 1),), 1)
    assert contents(tmp_path) == {"b": b"b" * 2 * BLOCK}


def test_a_limit_on_the_size_of_files(receive: Callable[..., Receiving], tmp_path: Path) -> None:
    """No injected error: the kernel's own. It hits the journal too, so it is the end of everything, and no crash."""
    resource = pytest.importorskip("resource")
    sent = one(os.urandom(40 * BLOCK))
    receiving = receive(sent)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10 * BLOCK, before[1]))
    try:
        receiving.send(range(40))
        assert receiving.lost == {0: "file cannot be written: File too large"}
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    receiving.end(keep=True)
    receive(sent).all()
    assert contents(tmp_path) == as_sent(sent)


@pytest.mark.parametrize("call", ["link", "rename", "mkdir"])
def test_a_folder_made_read_only_meanwhile(
    receive: Callable[..., Receiving], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A sentence, and no traceback of the thread."""
    sent = Sent()
    sent.file("file", b"x", sent.folder("folder"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("mine")
    receiving = receive(sent, tmp_path, Overwrite.ALWAYS if call == "rename" else Overwrite.RENAME)
    monkeypatch.setattr(staging_module.os, call, failing(errno.EROFS))
    failed = receiving.send({0})
    assert str(failed) == "file cannot be written: Read-only file system"
    receiving.end(keep=False)
    assert (tmp_path / "folder" / "file").read_text() == "mine"


def test_a_folder_that_may_not_be_written_to(
    receive: Callable[..., Receiving], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging_module.os, "mkdir", failing(errno.EACCES))  # root may write everywhere
    with pytest.raises(TransferFailed, match="cannot be written to: Permission denied"):
        receive(one())
    assert contents(tmp_path) == {}


def test_a_read_only_folder_in_the_tree(
    receive: Callable[..., Receiving], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What belongs in it is not stored, and the rest is."""
    sent = Sent()
    folder = sent.folder("folder")
    closed = sent.folder("closed", folder)
    sent.file("a", b"1", closed)
    sent.file("b", b"2", folder)
    monkeypatch.setattr(staging_module.os, "mkdir", failing_for("closed", os.mkdir, errno.EACCES))
    receiving = receive(sent)
    assert receiving.all().missing == ((1, 2),)
    assert receiving.lost == dict.fromkeys((1, 2), "the folder closed cannot be made: Permission denied")
    assert contents(tmp_path) == {"folder": None, "folder/b": b"2"}


def test_a_block_that_is_not_what_it_says(receive: Callable[..., Receiving], tmp_path: Path) -> None:
    receiving = receive(one(b"hello"))
    receiving.put(0, digests=block_digest(b"hullo"))
    assert str(receiving.hear()) == "a block of file did not arrive as it was sent"
    receiving.put(0)  # nobody listens any more
    receiving.end(keep=False)
    assert contents(tmp_path) == {}


def test_short_writes_are_continued(
    receive: Callable[..., Receiving], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    monkeypatch.setattr(staging_module.os, "pwrite", lambda fd, data, offset: real(fd, data[:100], offset))
    sent = tree()
    receive(sent).all()
    assert contents(tmp_path) == as_sent(sent)


def test_given_up(receive: Callable[..., Receiving], tmp_path: Path) -> None:
    """What has its name already stays."""
    sent = one(b"1" * 2 * BLOCK, "a")
    sent.file("b", bytes(2 * BLOCK))
    receiving = receive(sent)
    receiving.send({0, 1, 2})
    receiving.end(keep=False)
    assert contents(tmp_path) == {"a": b"1" * 2 * BLOCK}


def test_given_up_while_it_is_finished(
    receive: Callable[..., Receiving], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = Sent()
    for number in range(3):
        sent.folder(f"{number}")
    receiving = receive(sent)
    real = os.mkdir

    def mkdir(*arguments: Any, **named: Any) -> None:
        real(*arguments, **named)
        receiving.sink.discard(keep=False)

    monkeypatch.setattr(staging_module.os, "mkdir", mkdir)
    receiving.sink.finish(())
    receiving.sink.join()
    assert receiving.said.empty()
    assert contents(tmp_path) == {"0": None}


def test_given_up_after_it_was_stored(receive: Callable[..., Receiving], tmp_path: Path) -> None:
    """Until then the journal stays: nobody has been told that it is stored."""
    receiving = receive(one(b"x"))
    receiving.send({0})
    receiving.finish()
    assert len(staging_folders(tmp_path)) == 1
    receiving.end(keep=False)
    receiving.sink.discard(keep=True)
    assert contents(tmp_path) == {"file": b"x"}


def test_the_target_is_removed_meanwhile(receive: Callable[..., Receiving], tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    folder.mkdir()
    sent = one(bytes(2 * BLOCK))
    sent.file("b", b"x")
    receiving = receive(sent, folder)
    receiving.send({0})
    (staging,) = staging_folders(folder)
    for path in staging.iterdir():
        path.unlink()
    staging.rmdir()
    folder.rmdir()
    assert str(receiving.send({1, 2})) == "file cannot be written: No such file or directory"
    receiving.end(keep=True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_staging_is_removed_meanwhile(receive: Callable[..., Receiving], tmp_path: Path) -> None:
    sent = one(bytes(2 * BLOCK))
    sent.file("b", b"x")
    receiving = receive(sent)
    receiving.send({0})
    (staging,) = staging_folders(tmp_path)
    next(path for path in staging.iterdir() if path.name != "journal").unlink()
    finished = receiving.all()
    assert (finished.missing, receiving.lost) == (((0, 1),), {0: "file cannot be written: No such file or directory"})
    assert contents(tmp_path) == {"b": b"x"}


def test_a_folder_swapped_for_another_gets_nothing(receive: Callable[..., Receiving], tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "inbox", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    receiving = receive(one(bytes(2 * BLOCK)), folder)
    receiving.send({0})
    folder.rename(tmp_path / "moved")
    folder.symlink_to(elsewhere)
    receiving.all()
    assert list(elsewhere.iterdir()) == []
    assert contents(tmp_path / "moved") == {"file": bytes(2 * BLOCK)}


@pytest.mark.parametrize("folder", ["nowhere", "a file"])
def test_a_folder_that_is_none(receive: Callable[..., Receiving], tmp_path: Path, folder: str) -> None:
    (tmp_path / "a file").write_text("")
    with pytest.raises(TransferFailed, match=f"{folder} cannot be written to"):
        receive(one(), tmp_path / folder)


# Memory.


def test_memory_is_bounded(receive: Callable[..., Receiving], monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow disk holds no more than its buffers; `buffer_free` says when there is one again."""
    gate = threading.Event()
    real = os.pwrite

    def pwrite(*arguments: Any) -> int:
        assert gate.wait(PATIENCE)
        return real(*arguments)

    monkeypatch.setattr(staging_module.os, "pwrite", pwrite)
    receiving = receive(one(bytes(10 * BLOCK)))
    for ordinal in range(BUFFERS):
        receiving.put(ordinal)
    assert receiving.sink.take() is None
    assert not receiving.buffer_free.acquire(blocking=False)
    gate.set()
    assert receiving.buffer_free.acquire(timeout=PATIENCE)
    assert receiving.sink.take() is not None


def test_memory_is_taken_only_when_a_block_comes(receive: Callable[..., Receiving]) -> None:
    """Many transfers may be accepted long before."""
    sink = receive(one(bytes(10 * BLOCK))).sink
    assert not sink._free
    assert len([buffer for _ in range(2 * BUFFERS) if (buffer := sink.take()) is not None]) == BUFFERS


def test_a_small_transfer_takes_little_memory(receive: Callable[..., Receiving]) -> None:
    sink = receive(one(b"hello")).sink
    buffer = sink.take()
    assert buffer is not None
    assert len(buffer) == 5
    sink.give_back(buffer)
    assert sink.take() is buffer


def test_a_stream_may_have_any_length(receive: Callable[..., Receiving]) -> None:
    sent = Sent()
    sent.stream(b"")
    buffer = receive(sent).sink.take()
    assert buffer is not None
    assert len(buffer) == limits.MAX_BLOCK_SIZE
