"""Where received files may be written. Held by fuzzing, and by somebody who swaps what is there at every system call:

- nothing outside the target folder is made, changed or removed
- nothing in it that was there before is changed or removed, but for files and links with `Overwrite.ALWAYS`
- what is said to be stored is there, and everything else is said to be missing
"""

import contextlib
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from p2p_core import limits
from p2p_core.errors import AlreadyThere, Malformed, TransferFailed
from p2p_core.manifest import TOP, EntryKind
from p2p_core.ranges import each, ranges_of
from p2p_core.safe_names import STAGING_PREFIX
from p2p_peer.transfer.block_writer import Finished
from p2p_peer.transfer.target import Overwrite, conflicts, free_space

from tests.peer.receiving import BLOCK, Receiving, Sent, contents

# Few enough that they meet: twins by case, by composition and by mending, and what means to go elsewhere.
NAMES = st.sampled_from(
    ["a", "A", "a ", "a?", "a_", "a:", "\u00e9", "e\u0301", "\u200da", "b", "c", ".a", ".. a", "...", " ", "-rf", "~",
     "a\\..\\b", "C:", "C:a", "nul", "NUL.txt", "con ", "\x1b[2J", "a\n", "\u202ea", "x" * 255, "x" * 300 + ".txt",
     "é" * 500, STAGING_PREFIX + "0" * 16, STAGING_PREFIX.upper() + "0" * 16, "a (1)", "a (2)", "journal", "stdin"]
)  # fmt: skip
NASTY = NAMES | st.text(min_size=1, max_size=20)
TARGETS = st.sampled_from(
    ["a", "b/c", "../a", "../../a", ".", "..", "a/../b", "/etc/passwd", "../../../../etc", "link/a"]
)
CONTENTS = st.sampled_from([b"", b"1", b"2" * BLOCK, b"3" * (BLOCK + 1), b"4" * 2 * BLOCK])
ENTRIES = st.lists(
    st.tuples(st.sampled_from(EntryKind), st.integers(-1, 6), NASTY, CONTENTS, st.integers(0, 0o777), TARGETS),
    max_size=14,
)
# What is there before: (where, its name, what it is). A link may lead out of the target, to a file or a folder.
FIXTURES = st.lists(
    st.tuples(
        st.integers(0, 6), NAMES, st.sampled_from(["file", "folder", "out", "out file", "in", "nowhere", "fifo"])
    ),
    max_size=10,
)


def sent_of(entries: list[tuple[EntryKind, int, str, bytes, int, str]]) -> Sent:
    """As many of the entries as a manifest takes."""
    sent = Sent()
    for kind, parent, name, content, mode, target in entries:
        try:
            if kind is EntryKind.FILE:
                sent.file(name, content, parent, mode=mode)
            elif kind is EntryKind.FOLDER:
                sent.folder(name, parent, mode=mode)
            elif kind is EntryKind.LINK:
                sent.link(name, target, parent)
            else:
                sent.stream(content, name)
        except Malformed:
            pass
    return sent


def put_there(target: Path, outside: Path, fixtures: list[tuple[int, str, str]]) -> None:
    """Make what is there before, as far as this system takes the names."""
    folders = [target]
    for where, name, what in fixtures:
        path = folders[where % len(folders)] / name
        try:
            if what == "folder":
                path.mkdir(mode=0o755)
                folders.append(path)
            elif what == "file":
                with path.open("xb") as file:
                    file.write(b"mine")
            elif what == "fifo":
                os.mkfifo(path)
            else:
                places = {"out": outside, "out file": outside / "precious", "in": target, "nowhere": Path("nowhere")}
                path.symlink_to(places[what])
        except OSError:
            pass


def state(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything about a folder that nobody but its owner may change, and the times of files."""
    found: dict[str, tuple[object, ...]] = {}
    for directory, _, _ in [(str(folder), 0, 0), *os.walk(folder)]:
        for name in os.listdir(directory):
            path = Path(directory, name)
            status = path.lstat()
            content: object = None
            if stat.S_ISREG(status.st_mode):
                content = (path.read_bytes(), status.st_mtime_ns, status.st_nlink)
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            found[str(path)] = (status.st_ino, status.st_mode, content)
    return found


@contextmanager
def a_world() -> Iterator[tuple[Path, Path]]:
    """A target folder, and around it what must not change."""
    with tempfile.TemporaryDirectory() as name:
        world = Path(name)
        target, outside = world / "world" / "target", world / "world" / "outside"
        target.mkdir(parents=True)
        (outside / "below").mkdir(parents=True)
        for path in (outside / "precious", outside / "below" / "precious", outside / "a", world / "world" / "a"):
            path.write_bytes(b"precious")
        yield target, outside


@given(ENTRIES, FIXTURES, st.sampled_from(Overwrite), st.booleans(), st.integers(1, 5))
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@example([(EntryKind.FOLDER, -1, "a", b"", 0o755, ""), (EntryKind.FILE, 0, "precious", b"1", 0o644, "")],
         [(0, "a", "out")], Overwrite.ALWAYS, True, 1)  # fmt: skip
@example([(EntryKind.FILE, -1, "a", b"4" * 2 * BLOCK, 0o644, "")], [(0, "a", "out file")], Overwrite.ALWAYS, True, 1)
@example([(EntryKind.FILE, -1, "a", b"1", 0o644, ""), (EntryKind.FILE, -1, "a?", b"1", 0o644, ""),
          (EntryKind.FILE, -1, "a_", b"1", 0o644, "")], [(0, "a_", "file")], Overwrite.ALWAYS, False, 5)  # fmt: skip
@example([(EntryKind.FOLDER, -1, "a", b"", 0o755, ""), (EntryKind.LINK, 0, "b", b"", 0o777, "c/precious")],
         [(0, "a", "folder"), (1, "c", "out")], Overwrite.ALWAYS, False, 1)  # fmt: skip
def test_whatever_comes(
    entries: list[tuple[EntryKind, int, str, bytes, int, str]],
    fixtures: list[tuple[int, str, str]],
    overwrite: Overwrite,
    in_place: bool,
    batch: int,
) -> None:
    sent = sent_of(entries)
    with a_world() as (target, outside):
        put_there(target, outside, fixtures)
        before_outside, before = state(outside.parent), state(target)
        for path in before:
            before_outside.pop(path)
        before_outside.pop(str(target))
        taken = conflicts(target, sent.manifest)
        try:
            receiving = Receiving(sent, target, overwrite, in_place=in_place)
        except AlreadyThere:
            assert state(target) == before
            return
        finished = receiving.all(batch)
        after = state(outside.parent)
        assert before_outside.items() <= after.items()
        assert {path for path in after if not path.startswith(str(target))} == before_outside.keys()
        for path, was in before.items():
            is_folder = stat.S_ISDIR(was[1])  # type: ignore[arg-type]
            if overwrite is Overwrite.ALWAYS and not is_folder:
                assert path in after
                assert not stat.S_ISDIR(after[path][1])  # type: ignore[arg-type]
            else:
                assert after[path] == was
        assert not list(target.glob(STAGING_PREFIX + "*")) or any(STAGING_PREFIX in path for path in before)
        assert _stored(receiving, finished) == finished.files
        if overwrite is Overwrite.RENAME or not taken:
            made = len(after) - len(before_outside) - 1 - len(before)
            assert made == len(sent.manifest) - len(receiving.lost)


def _stored(receiving: Receiving, finished: Finished) -> int:
    """How many files have to be there: all but those that are said to be lost or kept."""
    manifest = receiving.manifest
    kept, missing = set(receiving.opened.kept), set(each(finished.missing))
    assert missing == receiving.lost.keys()
    return sum(manifest.is_file(entry) and entry not in kept | missing for entry in range(len(manifest)))


def small_tree() -> Sent:
    sent = Sent()
    photos = sent.folder("photos")
    below = sent.folder("below", photos)
    sent.file("precious", b"evil" * BLOCK, below)
    sent.file("a", b"evil", below)
    sent.link("link", "../a", below)
    sent.file("empty", b"", photos)
    sent.file("precious", b"evil", photos)
    return sent


@pytest.mark.parametrize("overwrite", Overwrite)
@pytest.mark.parametrize("what", ["photos", "photos/below"])
def test_a_folder_swapped_for_a_link_at_any_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: Overwrite, what: str
) -> None:
    """Before each system call in turn, the folder that is being written in becomes a link out of the target."""
    number, swapped = 0, True
    while swapped:
        world = tmp_path / str(number)
        target, outside = world / "target", world / "outside"
        target.mkdir(parents=True)
        (outside / "below").mkdir(parents=True)
        (outside / "precious").write_bytes(b"precious")
        (outside / "below" / "precious").write_bytes(b"precious")
        if overwrite is not Overwrite.RENAME:
            (target / "photos" / "below").mkdir(parents=True)
            (target / "photos" / "below" / "precious").write_bytes(b"mine" * BLOCK)
        before = state(outside)
        with _swapped_at(monkeypatch, number, target / what, outside) as has_been:
            receiving = Receiving(small_tree(), target, overwrite, in_place=True)
            if receiving.send_rest() is None:
                receiving.finish(ranges_of(receiving.opened.kept))
            receiving.end(keep=False)
            swapped = has_been()
        assert state(outside) == before, number
        shutil.rmtree(world)
        number += 1
    assert number > 20


@contextmanager
def _swapped_at(
    monkeypatch: pytest.MonkeyPatch, number: int, folder: Path, outside: Path
) -> Iterator[Callable[[], bool]]:
    """Before the system call `number` that is made once `folder` is there, a link to `outside` takes its place."""
    calls, has_been, swapping = 0, False, threading.Lock()

    def wrapped(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal calls, has_been
            if not has_been and swapping.acquire(blocking=False):
                try:
                    if folder.is_dir():
                        if calls == number:
                            has_been = True
                            folder.rename(folder.with_name("moved away"))
                            folder.symlink_to(outside)
                        calls += 1
                finally:
                    swapping.release()
            return real(*arguments, **named)

        return call

    with monkeypatch.context() as patches:
        for name in ("open", "mkdir", "link", "rename", "unlink", "symlink", "stat", "utime", "fchmod", "pwrite"):
            patches.setattr(os, name, wrapped(getattr(os, name)))
        yield lambda: has_been


def test_somebody_who_never_stops_swapping(tmp_path: Path) -> None:
    target, outside = tmp_path / "target", tmp_path / "outside"
    for folder in (target, outside / "below"):
        folder.mkdir(parents=True)
    before = state(outside)
    sent = Sent()
    for number in range(5):
        photos = sent.folder(f"photos{number}")
        for _ in range(3):
            photos = sent.folder("below", photos)
            for file in range(20):
                sent.file(f"{file}", b"evil" * (1 + file % 2 * BLOCK), photos)
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            found: list[Path] = []
            with contextlib.suppress(OSError):  # what is listed is just being made or swapped
                found.extend(path for path in target.rglob("*") if path.is_dir() and STAGING_PREFIX not in str(path))
            for folder in found:
                try:
                    moved = folder.with_name("moved")
                    folder.rename(moved)
                    folder.symlink_to(outside)
                    folder.unlink()
                    moved.rename(folder)
                except OSError:
                    pass

    attacker = threading.Thread(target=swap)
    attacker.start()
    try:
        receiving = Receiving(sent, target)
        receiving.all(batch=10)
    finally:
        over.set()
        attacker.join()
    assert state(outside) == before


def test_a_thousand_folders_in_one_another(tmp_path: Path) -> None:
    """Far beyond PATH_MAX, and with more folders than are kept open."""
    target = tmp_path / "target"
    target.mkdir()
    sent, folder = Sent(), TOP
    folders = []
    for depth in range(limits.MAX_DEPTH):
        folder = sent.folder("f" * 20, folder)
        folders.append(folder)
        if depth % 100 == 0:
            sent.file("file", b"%d" % depth, folder)
    for folder in reversed(folders[::150]):
        sent.file("late", b"x", folder)
    sent.link("up", "../" * (limits.MAX_DEPTH - 2) + "file", folders[-2])
    receiving = Receiving(sent, target)
    assert receiving.all().missing == ()
    descriptors = [os.open(target, os.O_RDONLY)]
    for depth in range(limits.MAX_DEPTH):
        descriptors.append(os.open("f" * 20, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=descriptors[-1]))
        assert stat.S_IMODE(os.fstat(descriptors[-1]).st_mode) & 0o500 == 0o500
        assert ("file" in os.listdir(descriptors[-1])) is (depth % 100 == 0)
        os.close(descriptors.pop(0))
    os.close(descriptors.pop())
    os.system(f"rm -r {target}")  # `shutil.rmtree` has no stack for it


def test_names_that_all_become_the_same(tmp_path: Path) -> None:
    """Each gets a number; and the many that are taken are not tried again for every one."""
    sent = Sent()
    count = 3000
    for number in range(count):
        sent.file("?" * (number // 9 + 1) + chr(1 + number % 9) * 300, b"%d" % number)
    tried = 0
    real = os.link

    def link(*arguments: Any, **named: Any) -> None:
        nonlocal tried
        tried += 1
        real(*arguments, **named)

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(os, "link", link)
        Receiving(sent, tmp_path).all(batch=256)
    assert tried < 30 * count
    assert sorted(contents(tmp_path).values()) == sorted(sent.content.values())  # type: ignore[type-var]


# What becomes of what is there.


def merged(target: Path) -> Sent:
    """A tree that is partly there."""
    (target / "photos").mkdir(mode=0o700)
    (target / "photos" / "a").write_bytes(b"mine")
    (target / "photos" / "other").write_bytes(b"mine, too")
    (target / "photos" / "link").symlink_to("nowhere")
    (target / "photos" / "file").write_bytes(b"in the way")
    (target / "photos" / "folder").mkdir()
    sent = Sent()
    photos = sent.folder("photos", mode=0o777)
    sent.file("a", b"new", photos)
    sent.file("b", b"new", photos)
    sent.link("link", "a", photos)
    sent.file("in it", b"new", sent.folder("file", photos))
    sent.file("folder", b"new", photos)
    return sent


THERE = {
    "photos": None, "photos/a": b"mine", "photos/other": b"mine, too", "photos/link": "nowhere",
    "photos/file": b"in the way", "photos/folder": None,
}  # fmt: skip


def test_never_overwritten(tmp_path: Path) -> None:
    sent = merged(tmp_path)
    mode = (tmp_path / "photos").stat().st_mode
    receiving = Receiving(sent, tmp_path, Overwrite.NEVER)
    assert receiving.opened.kept == (1, 6)
    finished = receiving.all()
    assert contents(tmp_path) == THERE | {"photos/b": b"new"}
    assert receiving.lost.keys() == {3, 4, 5}
    assert finished.missing == ((3, 3),)
    assert (tmp_path / "photos").stat().st_mode == mode


def test_always_overwritten(tmp_path: Path) -> None:
    sent = merged(tmp_path)
    receiving = Receiving(sent, tmp_path, Overwrite.ALWAYS)
    receiving.all()
    assert contents(tmp_path) == THERE | {"photos/a": b"new", "photos/b": b"new", "photos/link": "a"}
    assert receiving.lost == {
        4: "the folder file cannot be made: a file or link is there under its name",
        5: "the folder file cannot be made: a file or link is there under its name",
        6: "a folder is there under its name",
    }


def test_renamed(tmp_path: Path) -> None:
    sent = merged(tmp_path)
    Receiving(sent, tmp_path).all()
    assert contents(tmp_path) == THERE | {
        "photos (1)": None, "photos (1)/a": b"new", "photos (1)/b": b"new", "photos (1)/link": "a",
        "photos (1)/file": None, "photos (1)/file/in it": b"new", "photos (1)/folder": b"new",
    }  # fmt: skip


def test_nothing_is_wanted_of_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    sent = Sent()
    sent.file("a", b"new")
    with pytest.raises(AlreadyThere):
        Receiving(sent, tmp_path, Overwrite.NEVER)
    assert contents(tmp_path) == {"a": b"mine"}


@pytest.mark.parametrize("size", [1, BLOCK, 3 * BLOCK])
def test_overwritten_in_place(tmp_path: Path, size: int) -> None:
    """A large file keeps its inode, and so its pages; a small one is quicker replaced."""
    path = tmp_path / "a"
    path.write_bytes(b"old" * 2 * BLOCK)
    inode = path.stat().st_ino
    sent = Sent()
    sent.file("a", b"n" * size, mode=0o640)
    Receiving(sent, tmp_path, Overwrite.ALWAYS, in_place=True).all()
    assert contents(tmp_path) == {"a": b"n" * size}
    assert (path.stat().st_ino == inode) is (size > BLOCK)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_file_with_two_names_is_not_overwritten_in_place(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "other name").hardlink_to(tmp_path / "a")
    sent = Sent()
    sent.file("a", b"n" * 3 * BLOCK)
    Receiving(sent, tmp_path, Overwrite.ALWAYS, in_place=True).all()
    assert contents(tmp_path) == {"a": b"n" * 3 * BLOCK, "other name": b"old"}


def test_a_read_only_file_is_overwritten_in_place(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(0o444)
    sent = Sent()
    sent.file("a", b"n" * 3 * BLOCK)
    Receiving(sent, tmp_path, Overwrite.ALWAYS, in_place=True).all()
    assert contents(tmp_path) == {"a": b"n" * 3 * BLOCK}


@pytest.mark.parametrize("overwrite", [Overwrite.ALWAYS, Overwrite.NEVER])
def test_where_names_differ_by_more_than_case_and_composition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: Overwrite
) -> None:
    """As on macOS: what this transfer itself has put there is neither kept nor overwritten, but numbered."""
    names: dict[tuple[int, str], str] = {}

    def folded(call: Callable[..., Any], at: int, folder: str) -> Callable[..., Any]:
        def calling(*arguments: Any, **named: Any) -> Any:
            name, descriptor = arguments[at], named.get(folder)
            if descriptor is None or not isinstance(name, str) or "/" in name:
                return call(*arguments, **named)
            key = (os.fstat(descriptor).st_ino, name.casefold())
            there = names.setdefault(key, name)
            return call(*arguments[:at], there, *arguments[at + 1 :], **named)

        return calling

    sent = Sent()
    folder = sent.folder("Photos")
    sent.file("Straße", b"1", folder)
    sent.file("STRASSE", b"2" * 2 * BLOCK, folder)
    sent.folder("photos")
    sent.file("PHOTOS", b"3")
    (tmp_path / "PHOTOS").mkdir()
    (tmp_path / "PHOTOS" / "strasse").write_text("mine")
    names[tmp_path.stat().st_ino, "photos"] = "PHOTOS"
    names[(tmp_path / "PHOTOS").stat().st_ino, "strasse"] = "strasse"
    for name, at, where in [("link", 1, "dst_dir_fd"), ("rename", 1, "dst_dir_fd"), ("mkdir", 0, "dir_fd"),
                            ("stat", 0, "dir_fd"), ("open", 0, "dir_fd")]:  # fmt: skip
        monkeypatch.setattr(os, name, folded(getattr(os, name), at, where))
    receiving = Receiving(sent, tmp_path, overwrite)
    receiving.all()
    monkeypatch.undo()
    there = contents(tmp_path)
    given = {"PHOTOS": None, "PHOTOS (1)": b"3", "photos (2)": None}
    if overwrite is Overwrite.ALWAYS:
        assert there == given | {"PHOTOS/strasse": b"1", "PHOTOS/STRASSE (1)": b"2" * 2 * BLOCK}
    else:
        assert there == given | {"PHOTOS/strasse": b"mine"}
        assert receiving.opened.kept == (1, 2)


# Links.


def test_links_lead_to_the_names_that_were_given(tmp_path: Path) -> None:
    sent = Sent()
    folder = sent.folder("a?")
    below = sent.folder("bb:", folder)
    sent.file("e\u0301", b"1", below)
    sent.file("\u00e9", b"2", below)
    for name, target in [
        ("1", "e\u0301"),
        ("2", "./\u00e9"),
        ("3", "../bb://\u00e9"),
        ("4", ".."),
        ("5", "nothing?/x"),
    ]:
        sent.link(name, target, below)
    Receiving(sent, tmp_path).all()
    there = contents(tmp_path)
    assert {name: there[f"a_/bb_/{name}"] for name in "12345"} == {
        "1": "\u00e9", "2": "\u00e9 (1)", "3": "../bb_/\u00e9 (1)", "4": "..", "5": "nothing_/x",
    }  # fmt: skip


def test_no_link_leads_through_what_was_there(tmp_path: Path) -> None:
    """In a folder that is merged, what did not come with the link may be a link of the user's to anywhere."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "out").symlink_to("/etc")
    sent = Sent()
    photos = sent.folder("photos")
    sent.link("shown", "out/passwd", photos)
    sent.file("a", b"1", photos)
    sent.link("fine", "a", photos)
    receiving = Receiving(sent, tmp_path, Overwrite.ALWAYS)
    receiving.all()
    assert contents(tmp_path) == {"photos": None, "photos/out": "/etc", "photos/a": b"1", "photos/fine": "a"}
    assert receiving.lost == {1: "it is a link to something that does not come with it"}


def test_files_that_go_through_a_link_that_came_before(tmp_path: Path) -> None:
    """The manifest has no such thing: a file is in a folder; and links are made last."""
    sent = Sent()
    photos = sent.folder("photos")
    link = sent.link("link", ".", photos)
    with pytest.raises(Malformed):
        sent.file("a", b"1", link)
    sent.file("link ", b"1", photos)
    Receiving(sent, tmp_path).all()
    assert contents(tmp_path) == {"photos": None, "photos/link": b"1", "photos/link (1)": "."}


# Questions.


def test_conflicts(tmp_path: Path) -> None:
    sent = merged(tmp_path)
    sent.file("nothing in its way", b"")
    assert conflicts(tmp_path, sent.manifest) == [0, 1, 3, 4, 6]
    assert conflicts(tmp_path, sent.manifest, [1, 2, 4]) == [1, 4]
    assert conflicts(tmp_path, sent.manifest, [0]) == [0, 1, 3, 4, 6]
    with pytest.raises(TransferFailed, match="nowhere cannot be written to"):
        conflicts(tmp_path / "nowhere", sent.manifest)


def test_free_space(tmp_path: Path) -> None:
    assert 0 < free_space(tmp_path) <= shutil.disk_usage(tmp_path).total
    with pytest.raises(TransferFailed, match="nowhere"):
        free_space(tmp_path / "nowhere")
