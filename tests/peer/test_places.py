"""Where a transfer can be received, and what is there already."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import AlreadyThere, TransferFailed
from p2p_core.ledger import block_digest
from p2p_core.manifest import EntryKind
from p2p_core.ranges import Ranges
from p2p_peer.transfer.block_writer import Callbacks
from p2p_peer.transfer.places import Folder, Opened, Output, Place
from p2p_peer.transfer.target import Overwrite

from tests.peer.receiving import BLOCK, PEER, Receiving, Sent, contents, staging_folders

DEAF = Callbacks(*5 * [lambda *_: None])


@pytest.fixture
def opened() -> Iterator[Any]:
    """Open places; they are closed at the end."""
    made: list[Opened] = []

    def open_place(place: Place, sent: Sent, wanted: Ranges = ()) -> Opened:
        made.append(place.open(sent.manifest, wanted, PEER, DEAF))
        return made[-1]

    yield open_place
    for each in made:
        each.sink.discard(keep=True)
        each.sink.join()


def tree() -> Sent:
    """it/ with a, of two blocks, b and a link."""
    sent = Sent()
    folder = sent.folder("it")
    sent.file("a", b"a" * (BLOCK + 1), folder)
    sent.file("b", b"b", folder)
    sent.link("c", "a", folder)
    return sent


def test_an_empty_folder(tmp_path: Path, opened: Any) -> None:
    place = opened(Folder(tmp_path), tree())
    assert (place.wanted, place.have, place.there, place.kept) == ((), (), 0, ())
    assert [place.staging] == staging_folders(tmp_path)


def test_some_of_it(tmp_path: Path, opened: Any) -> None:
    assert opened(Folder(tmp_path), tree(), ((0, 2),)).wanted == ((0, 2),)


def test_what_is_there_from_an_earlier_try(tmp_path: Path, opened: Any) -> None:
    first = Receiving(tree(), tmp_path)
    assert first.send([0, 2]) is None
    first.end(keep=True)
    sent = tree()
    place = opened(Folder(tmp_path), sent)
    assert place.have == ((0, block_digest(sent.data(0))), (2, block_digest(sent.data(2))))
    assert place.there == BLOCK + 1
    assert place.wanted == ()


@pytest.mark.parametrize("what", ["nothing", "a file"])
def test_what_is_no_folder(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "folder"
    if what == "a file":
        folder.touch()
    with pytest.raises(TransferFailed, match=f"{folder} cannot be written to"):
        Folder(folder).open(tree().manifest, (), PEER, DEAF)


def taken(folder: Path, *names: str) -> None:
    (folder / "it").mkdir()
    for name in names:
        (folder / "it" / name).write_text("mine")


def test_what_is_there_is_not_wanted(tmp_path: Path, opened: Any) -> None:
    taken(tmp_path, "a")
    place = opened(Folder(tmp_path, Overwrite.NEVER), tree())
    assert place.wanted == ((0, 1), (2, 2))
    assert place.kept == (1,)


@pytest.mark.parametrize("wanted", [(), ((0, 3),)])
def test_all_of_it_is_there(tmp_path: Path, wanted: Ranges) -> None:
    """Nothing comes, and nothing is left of it."""
    taken(tmp_path, "a", "b")
    with pytest.raises(AlreadyThere, match="everything that was offered is there already"):
        Folder(tmp_path, Overwrite.NEVER).open(tree().manifest, wanted, PEER, DEAF)
    assert staging_folders(tmp_path) == []
    assert contents(tmp_path) == {"it": None, "it/a": b"mine", "it/b": b"mine"}


def test_a_folder_of_folders_is_there(tmp_path: Path, opened: Any) -> None:
    """There is no file in it that could be in the way."""
    (tmp_path / "it").mkdir()
    sent = Sent()
    sent.folder("deep", sent.folder("it"))
    place = opened(Folder(tmp_path, Overwrite.NEVER), sent)
    assert (place.wanted, place.kept) == ((), ())


def test_what_comes_is_named_wherever_one_is(tmp_path: Path, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path)
    sent = Sent()
    sent.file("a", b"abc")
    place = opened(Folder(Path("in")), sent)
    assert place.staging.parent == tmp_path / "in"
    assert place.staging.is_dir()


def test_an_open_file(opened: Any) -> None:
    sent = Sent()
    sent.file("a", b"abc")
    place = opened(Output(io.BytesIO()), sent)
    assert (place.wanted, place.have, place.there, place.kept, place.staging) == ((), (), 0, (), None)


@pytest.mark.parametrize("kind", EntryKind)
def test_what_goes_into_an_open_file(opened: Any, kind: EntryKind) -> None:
    sent = tree() if kind is EntryKind.LINK else Sent()
    if kind is EntryKind.FILE:
        sent.file("a", b"abc")
    elif kind is EntryKind.FOLDER:
        sent.folder("a")
    elif kind is EntryKind.STREAM:
        sent.stream(b"abc")
    if kind in (EntryKind.FILE, EntryKind.STREAM):
        opened(Output(io.BytesIO()), sent)
    else:
        with pytest.raises(TransferFailed, match="only a single file or stream"):
            opened(Output(io.BytesIO()), sent)
