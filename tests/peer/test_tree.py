import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from p2p_core import limits
from p2p_core.errors import TransferFailed, UsageError
from p2p_core.manifest import TOP, Entry, EntryKind
from p2p_peer.transfer import tree as tree_module
from p2p_peer.transfer.tree import LeftOut, OpenFolders, SendOptions, SourceTree, Why, scan

from tests.peer.source_reader import open_descriptors

FILE, FOLDER, LINK, STREAM = EntryKind


@pytest.fixture(autouse=True)
def no_descriptors_left() -> Iterator[None]:
    before = open_descriptors()
    yield
    assert open_descriptors() == before


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for path in ("b", "sub/a", "sub/deep/c", "a", "z/a"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    return folder


def paths(tree: SourceTree) -> list[str]:
    """What is in a tree, by the paths of its manifest; folders have a slash at the end."""
    return [
        "/".join(tree.manifest.path(index)) + "/" * (entry.kind is FOLDER) for index, entry in enumerate(tree.manifest)
    ]


def test_a_folder(folder: Path) -> None:
    """All that is in a folder stands together, sorted, before what is in its folders."""
    assert paths(scan([folder])) == [
        "photos/",
        *("photos/a", "photos/b", "photos/sub/", "photos/z/"),
        *("photos/sub/a", "photos/sub/deep/"),
        "photos/sub/deep/c",
        "photos/z/a",
    ]


def test_arguments_keep_their_order(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    tree = scan([tmp_path / "x", str(folder / "sub"), folder / "a"])
    assert paths(tree) == ["x", "sub/", "sub/a", "sub/deep/", "sub/deep/c", "a"]
    assert tree.manifest.top_level() == [0, 1, 5]
    assert tree.manifest.stream is None


def test_what_a_file_is(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"12345")
    path.chmod(0o6751)
    os.utime(path, ns=(1, 1_700_000_000_123_456_789))
    assert list(scan([path]).manifest) == [Entry(FILE, TOP, "photo.jpg", 5, 0o751, 1_700_000_000_123_456_789)]


def test_what_a_folder_is(tmp_path: Path) -> None:
    path = tmp_path / "photos"
    path.mkdir()
    path.chmod(0o2750)
    os.utime(path, ns=(1, 1_700_000_000_123_456_789))
    assert list(scan([path]).manifest) == [Entry(FOLDER, TOP, "photos", 0, 0o750, 1_700_000_000_123_456_789)]


def test_a_file_older_than_time_itself(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    os.utime(tmp_path / "file", ns=(1, -1_000_000_000))
    assert scan([tmp_path / "file"]).manifest[0].mtime_ns == 0


# Where things are.


def test_local_paths(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the user would write them."""
    monkeypatch.chdir(folder.parent)
    tree = scan(["photos/", "photos/sub/../a"])
    local = [tree.local_path(index) for index in range(len(tree.manifest))]
    assert local[0] == "photos/"
    assert local[1:3] == ["photos/a", "photos/b"]
    assert local[-1] == "photos/sub/../a"
    assert all(os.path.exists(path) for path in local)


def test_everything_can_be_opened(folder: Path) -> None:
    tree = scan([folder, folder / "sub"])
    folders = OpenFolders(tree)
    for index in reversed(range(len(tree.manifest))):
        if tree.manifest.kind(index) is FILE:
            with open(folders.open_file(index), "rb") as file:
                assert file.read() == Path(tree.local_path(index)).read_bytes()
    folders.close()


def test_nothing_below_an_argument_is_opened_by_way_of_a_link(folder: Path) -> None:
    tree = scan([folder])
    entries = {path: index for index, path in enumerate(paths(tree))}
    (folder / "sub").rename(folder.parent / "elsewhere")
    (folder / "sub").symlink_to("../elsewhere")
    (folder / "a").rename(folder / "other")
    (folder / "a").symlink_to("other")
    folders = OpenFolders(tree)
    for path in ("photos/a", "photos/sub/a", "photos/sub/deep/c"):
        with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
            folders.open_file(entries[path])
    folders.close()


@pytest.mark.parametrize(
    ("argument", "name"),
    [
        ("photos/", "photos"),
        ("photos//", "photos"),
        ("photos/.", "photos"),
        ("photos/sub/..", "photos"),
        ("link", "link"),
        ("link/", "link"),
    ],
)
def test_what_an_argument_is_called(folder: Path, monkeypatch: pytest.MonkeyPatch, argument: str, name: str) -> None:
    monkeypatch.chdir(folder.parent)
    Path("link").symlink_to("photos")
    tree = scan([argument])
    assert tree.manifest.name(0) == name
    assert len(tree.manifest) == 9


def test_the_folder_one_is_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert paths(scan(["."]))[:2] == ["photos/", "photos/a"]


def test_an_argument_that_is_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"content")
    (tmp_path / "link").symlink_to(tmp_path / "there")
    tree = scan([tmp_path / "link"])
    assert (tree.manifest[0].kind, tree.manifest[0].name, tree.manifest[0].size) == (FILE, "link", 7)
    folders = OpenFolders(tree)
    os.close(folders.open_file(0))


# Names.


def test_names_that_are_no_utf_8(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    for name in (b"a\xfe.txt", b"a\xff.txt", "a\ufffd (2).txt".encode(), b"line\nbreak"):
        with open(folder + b"/" + name, "wb") as file:
            file.write(name)
    tree = scan([os.fsdecode(folder)])
    assert sorted(paths(tree)) == [
        "caf\ufffd/",
        *("caf\ufffd/a\ufffd (2).txt", "caf\ufffd/a\ufffd (3).txt", "caf\ufffd/a\ufffd.txt", "caf\ufffd/line\nbreak"),
    ]
    folders = OpenFolders(tree)
    for index in range(1, 5):
        with open(folders.open_file(index), "rb") as file:
            assert file.read() == os.fsencode(os.path.basename(tree.local_path(index)))
    folders.close()


def test_two_that_would_arrive_under_one_name(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"/photos/a and .*/photos/z/a would both arrive as a"):
        scan([folder / "a", folder / "b", folder / "z" / "a"])


def test_the_same_twice(folder: Path) -> None:
    with pytest.raises(UsageError, match="would both arrive as photos"):
        scan([folder, f"{folder}/"])


def test_names_that_differ_in_case_only(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "A").write_bytes(b"")
    assert paths(scan([tmp_path / "a", tmp_path / "A"])) == ["a", "A"]


@pytest.mark.parametrize("path", ["/", "//", "/../."])
def test_what_has_no_name(path: str) -> None:
    with pytest.raises(UsageError, match="has no name under which it could arrive"):
        scan([path])


# Standard input.


def test_standard_input_comes_last(folder: Path) -> None:
    tree = scan(["-", folder / "a"])
    assert [(entry.kind, entry.name) for entry in tree.manifest] == [(FILE, "a"), (STREAM, "stdin")]
    assert tree.manifest.stream == 1
    assert tree.local_path(1) == "-"


def test_standard_input_alone() -> None:
    assert list(scan(["-"]).manifest) == [Entry(STREAM, TOP, "stdin", mode=0o644)]


def test_a_file_called_as_standard_input_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("stdin", "-"):
        Path(name).write_bytes(b"")
    assert paths(scan(["stdin", "-", "./-"])) == ["stdin", "-", "stdin (2)"]


def test_standard_input_twice() -> None:
    with pytest.raises(UsageError, match="once only"):
        scan(["-", "-"])


def test_nothing() -> None:
    with pytest.raises(UsageError, match="there is nothing to send"):
        scan([])


# What cannot be sent.


def missing(path: Path) -> None:
    """There is no file."""


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (missing, "cannot be read: No such file or directory"),
        (os.mkfifo, "is neither a file nor a folder"),  # and looking at it does not block
        (listen, "is neither a file nor a folder"),
        (lambda path: path.symlink_to("/dev/null"), "is neither a file nor a folder"),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
        (lambda path: path.symlink_to("nowhere"), "cannot be read: No such file or directory"),
    ],
)
def test_an_argument_that_cannot_be_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], why: str
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    make(Path("it"))
    with pytest.raises(TransferFailed, match=f"it {why}"):
        scan(["it"])


def test_a_path_with_a_nul() -> None:
    with pytest.raises(TransferFailed, match=r"'a\\x00b' cannot be the path of a file"):
        scan(["a\0b"])


def deny(monkeypatch: pytest.MonkeyPatch, call: str, name: str) -> None:
    """Let a call on one name fail: the tests may run as root, who may do everything."""
    real = getattr(os, call)

    def denied(path: Any, *arguments: Any, **options: Any) -> Any:
        if path == name:
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **options)

    monkeypatch.setattr(tree_module.os, call, denied)


def test_an_argument_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deny(monkeypatch, "open", str(folder))
    with pytest.raises(TransferFailed, match="photos cannot be read: Permission denied"):
        scan([folder])


@pytest.mark.parametrize("call", ["open", "stat"])
def test_a_folder_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """All else is sent, and this is said."""
    deny(monkeypatch, call, "sub" if call == "open" else "deep")
    tree = scan([folder])
    index = paths(tree).index("photos/sub/")
    [(entry, error)] = tree.unreadable
    assert entry == index
    assert str(error) == f"{folder}/sub cannot be read: Permission denied"
    assert "photos/z/a" in paths(tree)
    assert "photos/sub/deep/c" not in paths(tree)


def test_a_file_that_goes_while_its_folder_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.stat

    def stat(path: Any, **options: Any) -> os.stat_result:
        if path == "a" and (folder / "a").exists():
            (folder / "a").unlink()
        return real(path, **options)

    monkeypatch.setattr(tree_module.os, "stat", stat)
    tree = scan([folder / "z", folder])
    assert "photos/a" not in paths(tree)
    assert "photos/b" in paths(tree)
    assert tree.unreadable == []


def test_too_much(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_ENTRIES", 4)
    with pytest.raises(TransferFailed, match="is too much for one transfer: more than 4 files and folders"):
        scan([folder])


# Depth.


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Make folders in one another, whose path is longer than a path may be, with a file at each hundredth."""
    top = tmp_path / "deep"

    def make(depth: int) -> Path:
        top.mkdir()
        at = os.open(top, os.O_RDONLY)
        for number in range(depth):
            os.mkdir("a folder", dir_fd=at)
            inner = os.open("a folder", os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = inner
            if number % 100 == 99:
                os.close(os.open("a file", os.O_WRONLY | os.O_CREAT, dir_fd=at))
        os.close(at)
        return top

    yield make
    while (top / "a folder").exists():  # shutil.rmtree would go too deep itself
        (top / "a folder").rename(tmp_path / "inner")
        shutil.rmtree(top)
        (tmp_path / "inner").rename(top)


def test_a_thousand_folders_in_one_another(deep: Callable[[int], Path]) -> None:
    tree = scan([deep(limits.MAX_DEPTH - 1)])  # the argument is one too, and so deep may a file be
    assert tree.unreadable == []
    files = [index for index in range(len(tree.manifest)) if tree.manifest.kind(index) is FILE]
    assert len(files) == 9
    assert len(tree.manifest.path(len(tree.manifest) - 1)) == limits.MAX_DEPTH
    before = open_descriptors()
    folders = OpenFolders(tree)
    for index in (*files, *reversed(files)):
        os.close(folders.open_file(index))
        assert open_descriptors() < before + 40
    folders.close()


def test_too_many_folders_in_one_another(deep: Callable[[int], Path]) -> None:
    with pytest.raises(TransferFailed, match="more than 1000 folders in one another"):
        scan([deep(limits.MAX_DEPTH + 1)])


# What is left out.


def test_hidden_files(folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("")
    (folder / "sub" / ".DS_Store").write_text("")
    tree = scan([folder])
    assert len(tree.manifest) == 9
    assert tree.left_out == {Why.HIDDEN: LeftOut(2, (f"{folder}/.git", f"{folder}/sub/.DS_Store"))}
    tree = scan([folder], SendOptions(include_hidden=True))
    assert {"photos/.git/", "photos/.git/config", "photos/sub/.DS_Store"} < set(paths(tree))
    assert tree.left_out == {}


def test_an_argument_is_always_sent(folder: Path) -> None:
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "a").write_text("")
    assert paths(scan([folder / ".hidden"], SendOptions(exclude=(".hidden",)))) == [".hidden/", ".hidden/a"]


@pytest.mark.parametrize(
    ("pattern", "excluded"),
    [
        ("a", {"photos/a", "photos/sub/a", "photos/z/a"}),
        ("[ab]", {"photos/a", "photos/b", "photos/sub/a", "photos/z/a"}),
        ("s*", {"photos/sub/", "photos/sub/a", "photos/sub/deep/", "photos/sub/deep/c"}),
        ("deep", {"photos/sub/deep/", "photos/sub/deep/c"}),
        ("deep/", {"photos/sub/deep/", "photos/sub/deep/c"}),
        ("a/", set()),
        ("photos/a", {"photos/a"}),
        ("photos/*/a", {"photos/sub/a", "photos/z/a"}),
        ("photos/sub/", {"photos/sub/", "photos/sub/a", "photos/sub/deep/", "photos/sub/deep/c"}),
        ("A", set()),
        ("photos", set()),
        ("nothing", set()),
    ],
)
def test_excluded(folder: Path, pattern: str, excluded: set[str]) -> None:
    tree = scan([folder], SendOptions(exclude=("*.unheard-of", pattern)))
    assert set(paths(scan([folder]))) - set(paths(tree)) == excluded
    assert (Why.EXCLUDED in tree.left_out) == bool(excluded)


def test_what_is_neither_file_nor_folder(folder: Path) -> None:
    for name in ("1", "2", "3", "4"):
        os.mkfifo(folder / name)
    tree = scan([folder])
    assert len(tree.manifest) == 9
    assert tree.left_out == {Why.SPECIAL: LeftOut(4, (f"{folder}/1", f"{folder}/2", f"{folder}/3"))}


@pytest.mark.parametrize(
    "target", ["a", "sub/deep", "../photos/a", "..", "../..", "/etc/passwd", "../nowhere", "sub/../a"]
)
def test_links(folder: Path, target: str) -> None:
    """Sent are those that cannot lead out of the argument, whatever is there."""
    (folder / "link").symlink_to(target)
    (folder / "sub" / "link").symlink_to("../a")
    (folder / "sub" / "deep" / "link").symlink_to("../../z")
    tree = scan([folder])
    links = {
        "/".join(tree.manifest.path(index)): entry.target
        for index, entry in enumerate(tree.manifest)
        if entry.kind is LINK
    }
    expected = {"photos/sub/link": "../a", "photos/sub/deep/link": "../../z"}
    if target in {"a", "sub/deep"}:
        expected["photos/link"] = target
        assert tree.left_out == {}
    else:
        assert tree.left_out == {Why.LINK: LeftOut(1, (f"{folder}/link",))}
    assert links == expected


@pytest.mark.parametrize("target", ["gone", "link", "a/below", "sub/gone/a"])
def test_links_that_lead_nowhere(folder: Path, target: str) -> None:
    """Into a folder that is there already, the other side could not make them."""
    (folder / "link").symlink_to(target)
    tree = scan([folder])
    assert "photos/link" not in paths(tree)
    assert tree.left_out == {Why.NOWHERE: LeftOut(1, (f"{folder}/link",))}
