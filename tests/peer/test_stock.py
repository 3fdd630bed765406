"""What is there of an earlier try is not sent again, and what is not there any more is."""

import os
import threading
from pathlib import Path

import pytest
from p2p_core.identity import PeerId
from p2p_core.manifest import TOP
from p2p_core.safe_names import STAGING_PREFIX
from p2p_peer.transfer import staging as staging_module
from p2p_peer.transfer.block_writer import Finished
from p2p_peer.transfer.target import Overwrite

from tests.peer.killing import Killed, killed_at
from tests.peer.receiving import BLOCK, MTIME, Receiving, Sent, contents, staging_folders


def tree(seed: bytes = b"") -> Sent:
    """Files of no, one and several blocks, folders in folders, a link, twins; `seed` makes other contents."""
    sent = Sent()
    photos = sent.folder("photos")
    sent.file("a", b"a" + seed, photos)
    sent.file("film", b"".join(bytes([at]) * BLOCK for at in range(3)) + seed, photos)
    sent.file("e\u0301", b"1", photos)
    sent.file("\u00e9", b"2", photos)
    below = sent.folder("below", photos)
    sent.file("b", b"b" * BLOCK, below)
    sent.link("shown", "../film", below)
    sent.file("empty", b"", below)
    sent.folder("nothing", photos)
    sent.file("large", b"x" * BLOCK + b"y" * BLOCK)
    return sent


EXPECTED = {
    "photos": None,
    "photos/a": b"a",
    "photos/film": tree().content[2],
    "photos/\u00e9": b"1",
    "photos/\u00e9 (1)": b"2",
    "photos/below": None,
    "photos/below/b": b"b" * BLOCK,
    "photos/below/shown": "../film",
    "photos/below/empty": b"",
    "photos/nothing": None,
    "large": tree().content[10],
}


def begun(folder: Path, sent: Sent, ordinals: set[int], overwrite: Overwrite = Overwrite.RENAME) -> None:
    """Receive some blocks; then the session breaks."""
    receiving = Receiving(sent, folder, overwrite)
    assert receiving.send(ordinals) is None
    receiving.end(keep=True)


def rest(folder: Path, sent: Sent, overwrite: Overwrite = Overwrite.RENAME) -> set[int]:
    """Receive all the rest; return what had to be sent again."""
    receiving = Receiving(sent, folder, overwrite)
    due = set(range(sent.blocks)) - receiving.have
    receiving.all(batch=100)
    assert receiving.lost == {}
    return due


def test_nothing_is_sent_twice(tmp_path: Path) -> None:
    sent = tree()
    for ordinal in range(sent.blocks):
        receiving = Receiving(sent, tmp_path)
        assert receiving.have == set(range(ordinal))
        assert receiving.opened.there == sent.manifest.span(0, ordinal)
        receiving.send({ordinal})
        receiving.end(keep=True)
    assert rest(tmp_path, sent) == set()
    assert contents(tmp_path) == EXPECTED


def scenarios() -> list[object]:
    return [pytest.param(*each, id="-".join(map(str, each))) for each in [
        ("rename", False, True), ("rename", False, False), ("rename", True, True), ("never", False, True),
        ("always", False, True), ("always", True, False),
    ]]  # fmt: skip


@pytest.mark.parametrize(("overwrite", "is_there", "unnamed"), scenarios())
def test_killed_at_any_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: str, is_there: bool, unnamed: bool
) -> None:
    """At every system call: the next try finds what was said to be verified, and it ends as if nothing had been."""
    if not unnamed:
        monkeypatch.setattr(staging_module, "_UNNAMED", None)
    number, is_over = 0, False
    while not is_over:
        folder = tmp_path / str(number)
        folder.mkdir()
        if is_there:
            (folder / "photos").mkdir()
            (folder / "photos" / "film").write_text("mine")
            (folder / "large").write_text("mine, too")
        verified, is_over = _killed(folder, Overwrite(overwrite), monkeypatch, number)
        if not is_over:
            assert not verified & rest(folder, tree(), Overwrite(overwrite)), number
        expected: dict[str, bytes | str | None] = dict(EXPECTED)
        if is_there and overwrite == "rename":
            expected = {"photos": None, "photos/film": b"mine", "large": b"mine, too"}
            expected |= {_numbered(name): content for name, content in EXPECTED.items()}
        there = contents(folder)
        if is_over:  # what is left of staging then is nobody's concern any more
            there = {name: content for name, content in there.items() if not name.startswith(STAGING_PREFIX)}
        assert there == expected, number
        number += 1
    assert number > 80


def _numbered(name: str) -> str:
    top, slash, below = name.partition("/")
    return f"{top} (1){slash}{below}"


def _killed(folder: Path, overwrite: Overwrite, monkeypatch: pytest.MonkeyPatch, number: int) -> tuple[set[int], bool]:
    """Receive all of it, and be killed at one moment; return what was verified, and whether all was stored before."""
    sent = tree()
    verified, is_over = set[int](), False
    with killed_at(monkeypatch, number):
        try:
            receiving = Receiving(sent, folder, overwrite)
            sink = receiving.sink
            frames = (0, 1), (1, 1), (2, 1), (3, 1), (4, 3), (7, 1), (8, 1)
            for words, (first, count) in enumerate(frames, 1):
                if not sink.is_over:
                    receiving.put(first, count)
                    receiving.wait(words)
            sink.finish(())
            receiving.wait(len(frames) + 1)
            while not receiving.said.empty():
                said = receiving.said.get()
                is_over = isinstance(said, Finished)
                verified |= set() if is_over else set(range(said[0]))
            sink.discard(keep=False)
            sink.join()
        except Killed:
            pass
    return verified, is_over


def test_killed_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each try gets a little further than opening what is there."""
    verified: set[int] = set()
    for number in range(20, 400, 7):
        more, is_over = _killed(tmp_path, Overwrite.RENAME, monkeypatch, number)
        verified |= more
        if is_over:
            break
    assert verified == set(range(tree().blocks))
    assert contents(tmp_path) == EXPECTED


def test_the_end_is_not_known_to_the_other_side(tmp_path: Path) -> None:
    """All is stored, and the receipt never got there: it is offered again, and nothing is stored twice."""
    sent = tree()
    receiving = Receiving(sent, tmp_path)
    receiving.send_rest()
    assert isinstance(receiving.finish(), Finished)
    receiving.end(keep=True)
    assert rest(tmp_path, sent) == set()
    assert contents(tmp_path) == EXPECTED


# The source has changed.


@pytest.mark.parametrize("unnamed", [True, False])
def test_only_what_changed_is_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unnamed: bool) -> None:
    """In files that have their names, too: they lose them until they are whole again."""
    if not unnamed:
        monkeypatch.setattr(staging_module, "_UNNAMED", None)
    old, new = Sent(), Sent()
    for sent, middle, small in ((old, b"o", b"old"), (new, b"n", b"new one")):
        folder = sent.folder("folder")
        sent.file("film", b"1" * BLOCK + middle * BLOCK + b"3" * BLOCK, folder, mtime=MTIME + len(small))
        sent.file("note", small, folder)
        sent.file("same", b"same", folder)
    begun(tmp_path, old, {0, 1, 2, 3, 4})
    assert contents(tmp_path).keys() >= {"folder/film", "folder/note"}
    receiving = Receiving(new, tmp_path)
    assert receiving.have == {0, 2, 4}
    receiving.put(1)
    receiving.hear()
    assert not (tmp_path / "folder" / "film").exists()
    receiving.all()
    assert contents(tmp_path) == {
        "folder": None,
        "folder/film": new.content[1],
        "folder/note": b"new one",
        "folder/same": b"same",
    }
    assert (tmp_path / "folder" / "film").stat().st_mtime_ns == MTIME + 7


@pytest.mark.parametrize("size", [0, 1, BLOCK, 2 * BLOCK, 4 * BLOCK + 1])
@pytest.mark.parametrize("received", [{0, 1}, {0, 1, 2}])
def test_a_file_that_has_another_size_now(tmp_path: Path, size: int, received: set[int]) -> None:
    old, new = Sent(), Sent()
    old.file("film", bytes(3 * BLOCK))
    new.file("film", bytes(size))
    begun(tmp_path, old, received)
    receiving = Receiving(new, tmp_path)
    whole = size // BLOCK  # blocks that are as they were
    due = set(range(new.blocks)) - receiving.have
    assert due >= {at for at in range(new.blocks) if at >= min(whole, len(received))}
    receiving.all()
    assert contents(tmp_path) == {"film": bytes(size)}


def test_other_files_before_it(tmp_path: Path) -> None:
    """What a file is found again by is its path: its number, and those of its blocks, are others now."""
    begun(tmp_path, tree(), set(range(7)))
    new = Sent()
    photos = new.folder("photos")
    new.file("a new one", b"n" * BLOCK * 2, photos)
    old = tree()
    for entry in (2, 1):
        new.file(old.manifest.name(entry), old.content[entry], photos)
    new.file("large", old.content[10])
    assert rest(tmp_path, new) == {0, 1, 6, 7}
    expected = {name: EXPECTED[name] for name in ("photos", "photos/film", "photos/a", "large")}
    was_there = {
        name: EXPECTED[name] for name in ("photos/\u00e9", "photos/\u00e9 (1)", "photos/below", "photos/below/b")
    }
    assert contents(tmp_path) == expected | {"photos/a new one": b"n" * BLOCK * 2} | was_there


def test_killed_while_a_block_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the new block is there: it counts neither as the old nor as the new one."""
    old, new = Sent(), Sent()
    old.file("film", b"a" * 2 * BLOCK)
    new.file("film", b"b" * 2 * BLOCK)
    begun(tmp_path, old, {0, 1})
    real = os.pwrite

    def pwrite(descriptor: int, data: memoryview, offset: int) -> int:
        real(descriptor, data[: BLOCK // 2], offset)
        raise Killed

    receiving = Receiving(new, tmp_path)
    with monkeypatch.context() as half:
        half.setattr(os, "pwrite", pwrite)
        half.setattr(threading, "excepthook", lambda arguments: None)
        receiving.put(0)
        receiving.sink.join()
    again = Receiving(old, tmp_path)
    assert again.have == {1}
    again.end(keep=False)


# Somebody has changed what is there.


def test_a_placed_file_that_was_changed_is_theirs(tmp_path: Path) -> None:
    sent = tree()
    begun(tmp_path, sent, set(range(sent.blocks)))
    (tmp_path / "photos" / "film").write_text("cut")
    (tmp_path / "photos" / "a").write_text("other")
    (tmp_path / "large").unlink()
    assert rest(tmp_path, sent) == {0, 1, 2, 3, 7, 8}
    expected = EXPECTED | {"photos/film": b"cut", "photos/a": b"other", "photos/below/shown": "../film (1)"}
    assert contents(tmp_path) == expected | {"photos/film (1)": EXPECTED["photos/film"], "photos/a (1)": b"a"}


def test_a_placed_file_that_is_changed_after_it_was_found(tmp_path: Path) -> None:
    """It has been found unchanged, then its owner writes to it, and then a new block of it comes."""
    old, new = tree(), tree(b"new")
    begun(tmp_path, old, set(range(old.blocks)))
    receiving = Receiving(new, tmp_path)
    (tmp_path / "photos" / "film").write_text("cut")
    (tmp_path / "photos" / "a").write_text("other")
    lost = set(range(1, 4)) & receiving.have  # these are gone; a sender who is not told sends the last one only
    receiving.send({0} | {4})
    assert lost == {1, 2, 3}
    failed = receiving.finish()
    assert str(failed) == "the other side ended the transfer before all of film had come"
    receiving.end(keep=True)
    rest(tmp_path, new)
    assert contents(tmp_path)["photos/film"] == b"cut"
    assert contents(tmp_path)["photos/film (1)"] == new.content[2]
    assert contents(tmp_path)["photos/a"] == b"other"
    assert contents(tmp_path)["photos/a (1)"] == b"anew"


def test_a_folder_that_was_moved_away(tmp_path: Path) -> None:
    sent = tree()
    begun(tmp_path, sent, set(range(sent.blocks)))
    (tmp_path / "photos").rename(tmp_path / "holiday")
    assert rest(tmp_path, sent) == set(range(7))
    moved = {name.replace("photos", "holiday"): content for name, content in EXPECTED.items() if name != "large"}
    for name in ("holiday/below/shown", "holiday/below/empty", "holiday/nothing"):
        del moved[name]
    assert contents(tmp_path) == EXPECTED | moved


def test_a_folder_that_became_a_link_out_of_the_target(tmp_path: Path) -> None:
    target, outside = tmp_path / "target", tmp_path / "outside"
    target.mkdir()
    sent = tree()
    begun(target, sent, set(range(sent.blocks)))
    (target / "photos").rename(outside)
    (target / "photos").symlink_to(outside)
    before = contents(outside)
    rest(target, sent)
    assert contents(outside) == before
    assert contents(target) == {"photos": str(outside), "large": EXPECTED["large"]} | {
        _numbered(name): content for name, content in EXPECTED.items() if name != "large"
    }


def test_what_is_in_staging_was_cut_or_removed(tmp_path: Path) -> None:
    sent = Sent()
    sent.file("a", os.urandom(4 * BLOCK))
    sent.file("b", os.urandom(4 * BLOCK))
    begun(tmp_path, sent, {0, 1, 2, 4, 5, 6})
    staging = staging_module.Staging
    (folder,) = staging_folders(tmp_path)
    os.truncate(folder / staging.name_for(("a",)), 2 * BLOCK - 1)
    (folder / staging.name_for(("b",))).unlink()
    assert rest(tmp_path, sent) == set(range(8)) - {0}
    assert contents(tmp_path) == {"a": sent.content[0], "b": sent.content[1]}


@pytest.mark.parametrize("swap", ["link", "folder", "fifo", "hard link"])
def test_what_is_in_staging_was_swapped(tmp_path: Path, swap: str) -> None:
    """Nothing is written through it."""
    target = tmp_path / "target"
    target.mkdir()
    precious = tmp_path / "precious"
    precious.write_bytes(b"p" * 4 * BLOCK)
    sent = Sent()
    sent.file("a", os.urandom(4 * BLOCK))
    begun(target, sent, {0, 1, 2})
    (folder,) = staging_folders(target)
    path = folder / staging_module.Staging.name_for(("a",))
    path.unlink()
    if swap == "link":
        path.symlink_to(precious)
    elif swap == "hard link":
        path.hardlink_to(precious)
    elif swap == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    receiving = Receiving(sent, target)
    assert receiving.have == set()
    finished = receiving.all()
    assert precious.read_bytes() == b"p" * 4 * BLOCK
    if swap == "folder":  # it can be neither used nor removed
        assert finished.missing == ((0, 1),)
    else:
        assert contents(target) == {"a": sent.content[0]}


# Several at once.


def test_two_receivers_in_one_folder(tmp_path: Path) -> None:
    """The second one begins anew beside the first, and neither disturbs the other."""
    sent = tree()
    first, second = Receiving(sent, tmp_path), Receiving(sent, tmp_path)
    first.send({0, 1})
    second.send({0, 1, 2})
    assert len(staging_folders(tmp_path)) == 2
    first.all()
    second.all()
    assert contents(tmp_path) == EXPECTED | {_numbered(name): content for name, content in EXPECTED.items()}


def test_the_others_transfers_are_not_ours(tmp_path: Path) -> None:
    """Neither another peer's of the same name, nor the same peer's of other names."""
    sent, other = tree(), tree()
    other.file("more", b"m")
    begun(tmp_path, sent, {0, 1, 2})
    for receiving in (Receiving(sent, tmp_path, peer=PeerId(bytes([1]) * 32)), Receiving(other, tmp_path)):
        assert receiving.have == set()
        receiving.end(keep=False)


def test_a_stream_begins_anew(tmp_path: Path) -> None:
    """Nobody can say whether what comes out of a pipe now is what came before."""
    sent = Sent()
    sent.stream(b"1" * BLOCK + b"2" * BLOCK + b"3")
    begun(tmp_path, sent, {0, 1})
    assert rest(tmp_path, sent) == {0, 1, 2}
    assert contents(tmp_path) == {"stdin": sent.content[0]}


def test_less_is_wanted_this_time(tmp_path: Path) -> None:
    sent = Sent()
    for name in "abc":
        sent.file(name, name.encode() * 2 * BLOCK)
    begun(tmp_path, sent, {0, 2, 3, 4})
    receiving = Receiving(sent, tmp_path, wanted=((2, 1),))
    assert (receiving.have, receiving.opened.there) == ({4}, BLOCK)
    receiving.all()
    assert contents(tmp_path) == {"b": b"b" * 2 * BLOCK, "c": b"c" * 2 * BLOCK}


def test_never_overwritten_and_begun_before(tmp_path: Path) -> None:
    """What an earlier try has put there itself is not in its own way."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a").write_text("mine")
    sent = tree()
    assert sent.manifest.find(TOP, "photos") == 0
    first = Receiving(sent, tmp_path, Overwrite.NEVER)
    assert first.opened.kept == (1,)
    first.send({1, 2, 3, 4, 5})
    first.end(keep=True)
    again = Receiving(sent, tmp_path, Overwrite.NEVER)
    assert again.opened.kept == (1,)
    assert again.have == {1, 2, 3, 4, 5}
    again.all()
    assert contents(tmp_path) == EXPECTED | {"photos/a": b"mine"}
